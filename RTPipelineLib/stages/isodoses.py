"""One dose as its structures meet it: its prescription, and how far its isodoses reach."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..dose.prescription import level_for
from ..dvh.engine import DvhOptions, compute_dvh
from ..dvh.metrics import IsodoseVolumes, isodose_volumes
from ..model import DVH, Contours, Dose, Mask, Prescription


@dataclass(frozen=True)
class DoseSource:
    """One dose as it stands in the tables: its name, its grid and the prescription that goes with
    it."""

    name: str
    dose: Dose
    prescription: Prescription
    plan_uids: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    def level_of(self, roi: Contours | Mask) -> float | None:
        """The prescribed dose in Gy that the structure's relative metrics refer to."""
        level, _ = level_for(roi.name, roi.number, roi.is_target, self.prescription)
        return level.dose_gy if level else None


@dataclass(frozen=True, eq=False)
class External:
    """The outline of the patient in one structure set, and its DVH."""

    roi: Contours | Mask
    dvh: DVH


def externals_of(computed: Iterable[tuple[Contours | Mask, DVH | None]]) -> dict[str, External]:
    """The External of each structure set by its UID; of several the largest, and none that has no
    volume in the dose grid."""
    found: dict[str, External] = {}
    for roi, dvh in computed:
        if roi.interpreted_type.upper() != "EXTERNAL" or dvh is None or not dvh.known_cc > 0:
            continue
        other = found.get(roi.structure_set_uid)
        if other is None or dvh.volume_cc > other.dvh.volume_cc:
            found[roi.structure_set_uid] = External(roi, dvh)
    return found


class Isodoses:
    """Isodose volumes of one dose for the indices of its targets, calculated when first asked for:
    inside the External of the target's structure set, where there is one."""

    def __init__(self, source: DoseSource, externals: Mapping[str, External]) -> None:
        self.source = source
        self.externals = externals
        self._volumes: dict[str, IsodoseVolumes] = {}

    def under(self, dose: Dose, options: DvhOptions) -> Isodoses:
        """Those of another dose; the same when they cannot differ: without an External, shifting a
        dose changes none of its isodose volumes."""
        planned = self.source.dose
        if dose is planned or (not self.externals and dose.array_gy is planned.array_gy):
            return self
        externals = {
            uid: replace(external, dvh=compute_dvh(external.roi, dose, options))
            for uid, external in self.externals.items()
        }
        return Isodoses(replace(self.source, dose=dose), externals)

    def of(self, roi: Contours | Mask) -> IsodoseVolumes | None:
        """The isodose volumes for a target with a prescription; None for other structures."""
        if not roi.is_target or self.source.level_of(roi) is None:
            return None
        uid = roi.structure_set_uid
        if uid not in self._volumes:
            external = self.externals.get(uid)
            self._volumes[uid] = isodose_volumes(self.source.dose, external and external.dvh)
        return self._volumes[uid]
