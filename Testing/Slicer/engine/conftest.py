"""A course of synthetic DICOM, made once."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def dicom(tmp_path_factory: pytest.TempPathFactory):
    """The DICOM folder of one synthetic lung patient."""
    from RTPipelineLib.phantoms.cohort import make_cohort

    folder = tmp_path_factory.mktemp("dicom")
    make_cohort(folder, patients=["DEMO-LUNG"])
    return folder


@pytest.fixture
def shown(scene, dicom):
    """That course in the scene."""
    from RTPipelineLib.scene.display import show_course
    from RTPipelineLib.scene.opening import find_courses

    (course,) = find_courses(dicom)
    return show_course(course)
