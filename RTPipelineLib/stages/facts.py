"""Facts that stages left in a course folder, read back for tables, reports and the next stage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..course import Course, flag_ids
from ..errors import DataError
from ..model import Prescription, PrescriptionLevel


def read_facts(folder: Path, name: str) -> dict:
    """A stage's JSON file, `{}` when the stage left none. Raises `DataError` for a damaged one."""
    path = folder / name
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); run with --force to make it anew"
        ) from error


def read_rows(folder: Path, name: str) -> tuple[dict[str, object], ...]:
    """The rows of a stage's table, unknown values None; none when the stage did not write it."""
    import pandas

    if not (folder / name).exists():
        return ()
    frame = pandas.read_parquet(folder / name)
    return tuple(frame.astype(object).where(frame.notna(), None).to_dict("records"))


def prescription_from(facts: Mapping[str, object]) -> Prescription:
    """The prescription that the stage `dose` wrote."""
    data = facts.get("prescription") or {}
    levels = tuple(PrescriptionLevel(**level) for level in data.get("levels") or ())
    return Prescription(levels, tuple(data.get("flags") or ()))


def course_row(course: Course, folder: Path, out: Path) -> dict[str, object]:
    """The course's row in `results/courses`, without the stages' states."""
    facts = _dose_facts(folder)
    decision = facts.get("decision") or {}
    prescription = prescription_from(facts).course
    total = [s["name"] for s in facts.get("sources") or () if s["role"] == "total"]
    image = course.planning_image
    plans = course.of_kind("rtplan")
    return {
        "patient_id": course.patient_id,
        "course_id": course.course_id,
        "folder": folder.relative_to(out).as_posix(),
        "plan_labels": ";".join(p.label for p in plans),
        "plan_uids": ";".join(p.sop_uid for p in plans),
        "image_modality": image.modality if image else "",
        "image_files": len(image.files) if image else 0,
        "image_series": len(course.images),
        "structure_sets": len(course.of_kind("rtstruct")),
        "plans": len(plans),
        "doses": len(course.of_kind("rtdose")),
        "dose_decision": decision.get("status") or "",
        "dose_reason": (decision.get("evidence") or [""])[-1],
        "dose_source": total[0] if total else "",
        "rx_gy": prescription.dose_gy if prescription else None,
        "rx_source": prescription.source if prescription else "none",
        "flags": flag_ids(course.flags),
    }


def _dose_facts(folder: Path) -> dict:
    """Facts of the stage `dose`; a damaged file is the stage's failure, told by its record."""
    try:
        return read_facts(folder, "dose/dose.json")
    except DataError:
        return {}
