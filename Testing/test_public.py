"""The public names, pinned, and a course opened from Python."""

from __future__ import annotations

import pytest

import RTPipelineLib
from RTPipelineLib.cli import main
from RTPipelineLib.errors import DataError
from RTPipelineLib.phantoms.cohort import make_cohort


def test_public_names():
    assert set(RTPipelineLib.__all__) == {"__version__", "compute_dvh", "open_course", "sum_doses"}
    for name in RTPipelineLib.__all__:
        assert getattr(RTPipelineLib, name)
    with pytest.raises(AttributeError, match="compute_dhv"):
        RTPipelineLib.compute_dhv  # noqa: B018 - the access is the test


def test_a_course_from_python_gives_the_numbers_of_the_table(tmp_path):
    make_cohort(tmp_path / "dicom", patients=["DEMO-HEADNECK"])
    assert main(["run", str(tmp_path / "dicom"), str(tmp_path / "out"), "--quiet"]) == 0
    (folder,) = (path.parent for path in (tmp_path / "out").glob("*/*/course.json"))
    course = RTPipelineLib.open_course(folder)
    assert course.patient_id == "DEMO-HEADNECK"
    assert course.image().array.shape == course.image().grid.shape
    (dose,) = course.doses()
    table = course.metrics().set_index("roi_name")
    for roi in course.structures():
        dvh = RTPipelineLib.compute_dvh(roi.on_image(course.image().grid), dose)
        assert dvh.volume_cc == pytest.approx(table.loc[roi.name, "volume_cc"], rel=1e-9)
        if table.loc[roi.name, "dose_coverage_percent"] == 100:
            assert dvh.D("95%") == pytest.approx(table.loc[roi.name, "D95%_Gy"], rel=1e-9)
            assert dvh.V("20Gy") == pytest.approx(table.loc[roi.name, "V20Gy_%"], rel=1e-9)
    total = RTPipelineLib.sum_doses([dose, dose])
    assert total.array_gy.max() == pytest.approx(2 * dose.array_gy.max(), rel=1e-6)


def test_what_is_no_course_is_said(tmp_path):
    with pytest.raises(DataError, match=r"is not a course folder: it has no course\.json"):
        RTPipelineLib.open_course(tmp_path)
