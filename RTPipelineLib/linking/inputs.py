"""What an index of headers says, as the input of linking."""

from __future__ import annotations

from ..dicom.index import Index
from .graph import Inputs


def inputs_of(index: Index) -> Inputs:
    """Objects and series of the index. Of a UID that stands for two different contents nothing is
    used: RT objects are left out, and a series gets all files of it, which its reader refuses."""
    conflicts = {uid: paths for uid, paths, identical in index.duplicates() if not identical}
    rivals = {path: paths for paths in conflicts.values() for path in paths}

    def files_of(key: str) -> list[str]:
        files = index.series_files(key)
        return list(dict.fromkeys(p for path in files for p in (path, *rivals.get(path, ()))))

    objects = [item for item in index.objects() if item.sop_uid not in conflicts]
    return Inputs(objects, index.series(), files_of)
