"""The pages of all courses, made anew where what they show has changed: a verdict, say."""

from __future__ import annotations

import logging
from pathlib import Path

from ..config import Config
from ..course import course_folders, read_course
from ..errors import DataError
from ..overrides import Overrides
from ..stages import get_stage
from .execute import execute
from .ledger import current_record, valid_record

log = logging.getLogger(__name__)


def renew_course_pages(out: Path, config: Config) -> int:
    """Run the stage `report` again in every course where it has run and no longer holds; returns in
    how many. Courses that cannot be read are left as they are: `aggregate` tells of them.

    Raises `OutputError` when a course folder cannot be written or is in use.
    """
    stage, renewed = get_stage("report"), 0
    for folder in course_folders(out):
        if valid_record(folder, stage.name) is None:
            continue
        try:
            course = read_course(folder)
        except DataError as error:
            log.warning("%s", error)
            continue
        if current_record(stage, course, folder, config, Overrides()) is None:
            execute(stage.name, folder, config, Overrides())
            renewed += 1
    return renewed
