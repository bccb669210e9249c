"""Stage `register`: an offer is made, waits for a person, and is used once accepted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from RTPipelineLib.course import read_course
from RTPipelineLib.dicom.dose import read_dose
from RTPipelineLib.dicom.registration import read_registration
from Testing.rt_export import FRAME, OTHER_FRAME, Export

SHIFT = np.array([9.0, -6.0, 12.0])  # of the patient in the other frame of reference
OFFER = "dose: {registration: offer}"


def head(origin: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """HU of a small body with a dense and a hollow part, in voxels of 4 mm."""
    axes = [origin[a] - shift[a] + 4.0 * np.arange(n) for a, n in enumerate((40, 34, 32))]
    z, y, x = np.meshgrid(*axes[::-1], indexing="ij")
    hu = np.full(x.shape, -1000.0)
    for (cx, cy, cz), (rx, ry, rz), value in (
        ((0, 0, 0), (58, 45, 48), 40.0),
        ((20, 10, -10), (14, 12, 20), 700.0),
        ((-25, -8, 12), (16, 18, 14), -600.0),
    ):
        hu[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 < 1] = value
    return hu


@pytest.fixture
def export(tmp_path: Path) -> Export:
    export = Export(tmp_path)
    for frame, shift in ((FRAME, np.zeros(3)), (OTHER_FRAME, SHIFT)):
        origin = np.array([-78.0, -66.0, -62.0]) + shift / 2
        export.ct(head(origin, shift), origin, 4.0, frame)
    first = export.plan("A", 25)
    second = export.plan("B", 25, concurrent=first, frame=OTHER_FRAME)
    export.dose(first, 10.0)
    position = np.array([-10.0, -20.0, 30.0]) + SHIFT
    export.dose(second, 5.0, frame=OTHER_FRAME, position=position)
    return export


def test_an_offer_waits_until_a_person_accepts_it(export) -> None:
    facts = export.run(OFFER)
    assert facts["decision"]["status"] == "needs-decision"
    assert "registration-unapproved" in facts["decision"]["flags"]
    folder = export.folder
    (offer,) = json.loads((folder / "registration" / "offers.json").read_text())["offers"]
    assert offer["uid"] in facts["decision"]["evidence"][-1]
    assert offer["correlation"] > 0.8 and offer["inverse_mm"] < 2
    # Written as DICOM, from the other frame to that of the planning image; 1 mm is a quarter voxel.
    (mapping,) = read_registration(folder / offer["file"]).mappings
    frames = {mapping.from_frame_uid, mapping.to_frame_uid}
    assert frames == {FRAME, OTHER_FRAME}
    back = mapping if mapping.from_frame_uid == OTHER_FRAME else mapping.inverse()
    points = np.array([[0, 0, 0], [50, 0, 0], [0, -40, 40.0]])
    assert back.map_points(points + SHIFT) == pytest.approx(points, abs=1.0)

    course = read_course(folder)
    key = f"{course.patient_id}/{course.course_id}"
    accepted = f"courses: {{{key}: {{dose: {{registrations: [{offer['uid']}]}}}}}}"
    facts = export.run(OFFER, overrides=accepted)
    assert facts["decision"]["status"] == "decided"
    (source, *_) = facts["sources"]
    assert {"registered", "registration-accepted"} <= set(source["flags"])
    assert source["registrations"] == [offer["uid"]]
    middle = read_dose(folder / "dose" / "total.dcm").array_gy[1:-1, 1:-1, 1:-1]
    assert middle == pytest.approx(np.full(middle.shape, 15.0), abs=0.01)


def test_nothing_is_offered_unless_asked_for(export) -> None:
    facts = export.run()
    assert facts["decision"]["flags"] == ["frames-differ"]
    assert not (export.folder / "registration").exists()
    export.registration(np.eye(4))
    facts = export.run(OFFER)
    assert facts["decision"]["status"] == "decided"
    record = json.loads((export.folder / "stages" / "register.json").read_text())
    assert (record["status"], "join them all" in record["reason"]) == ("skipped", True)
