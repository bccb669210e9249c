"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]

# Shared machines stall for seconds, so no deadlines; on CI the same examples every time.
settings.register_profile("rtpipeline", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("rtpipeline")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Reference data of other people, which is not part of the repository; skips without it."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the reference data ../shared/data is not on this machine")
    return folder
