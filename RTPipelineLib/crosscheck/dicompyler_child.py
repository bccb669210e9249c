"""All DVHs of a structure set by dicompyler-core, run as a program of its own.

    python dicompyler_child.py RTSTRUCT RTDOSE OUTPUT.json

Nothing of RT Pipeline is imported here, and nobody imports this: dicompyler-core 0.5.6 needs a name
that pydicom 3 has dropped, and this process alone gets it back.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

LAST_WITH_OLD_NAME = (0, 5, 6)


def main(structures: str, dose: str, output: str) -> None:
    """Write `{"version", "rois": {number: curve or error}}`; one bad ROI costs only itself."""
    import pydicom
    import pydicom.dicomio

    found = version("dicompyler-core")
    numbers = tuple(int(part) for part in found.split(".")[:3] if part.isdigit())
    if numbers <= LAST_WITH_OLD_NAME and not hasattr(pydicom.dicomio, "read_file"):
        pydicom.dicomio.read_file = pydicom.dcmread
    from dicompylercore import dicomparser, dvhcalc

    rois = {}
    for number, roi in dicomparser.DicomParser(structures).GetStructures().items():
        if roi["empty"]:
            continue
        try:
            dvh = dvhcalc.get_dvh(structures, dose, number)
            curve = dvh.cumulative.absolute_volume(dvh.volume)
            rois[number] = {
                "volume_cc": float(dvh.volume),
                "dose_gy": [float(edge) for edge in curve.bins],
                "at_least_cc": [float(cc) for cc in curve.counts],
            }
        except Exception as error:
            rois[number] = {"error": f"{type(error).__name__}: {error}"}
    Path(output).write_text(json.dumps({"version": found, "rois": rois}), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
