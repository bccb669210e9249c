"""What stands on the pages of the reports: plain values, already read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..model import PrescriptionLevel
from .cohort_stats import Band, Boxes
from .figures import Curve
from .planes import Slices

Value = str | int | float | None
Row = Mapping[str, Value]


@dataclass(frozen=True)
class Notice:
    """Something to know: an id, a severity (info, warning, error), a sentence, and what was
    read."""

    id: str
    severity: str
    message: str = ""
    read: str = ""


@dataclass(frozen=True)
class ObjectRow:
    """One DICOM object or image series of the course: what it is, and how it was linked."""

    kind: str
    label: str
    date: str
    uid: str
    links: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class StageRow:
    """One stage of one course."""

    name: str
    status: str
    reason: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class CourseReport:
    """Everything that stands on the page of a course.

    `decisions` are (question, answer with its reason), `metrics` rows of `dvh_metrics`, `failures`
    rows of `failures`, `goals` of `goals`, `comparisons` of `dvh_tps` and `dvh_crosscheck`,
    `flags` findings of quality control (of the links alone where it did not run), `checks` the
    state of every check, `verdicts` rows of `reviews`, `names` what the stage `structures` found
    for each ROI, `agreement` rows of `agreement`, `slices` the pictures,
    `plots` (title, path) of files relative to this page, `provenance` (what, value), `inputs`
    (file, SHA-256). `units` is how doses are shown, Gy or cGy; all values are in Gy. `bands` says
    what the bands around the curves mean (empty: there are none). `index_href` is the path of the
    cohort's page, relative to this one (empty: there is none).
    """

    patient_id: str
    course_id: str
    objects: tuple[ObjectRow, ...] = ()
    decisions: tuple[tuple[str, str], ...] = ()
    flags: tuple[Notice, ...] = ()
    checks: Mapping[str, str] = field(default_factory=dict)
    verdicts: tuple[Row, ...] = ()
    names: tuple[Mapping[str, object], ...] = ()
    agreement: tuple[Row, ...] = ()
    prescription: tuple[PrescriptionLevel, ...] = ()
    stages: tuple[StageRow, ...] = ()
    slices: Slices = field(default_factory=Slices)
    curves: tuple[Curve, ...] = ()
    metrics: tuple[Row, ...] = ()
    goals: tuple[Row, ...] = ()
    comparisons: tuple[Row, ...] = ()
    plots: tuple[tuple[str, str], ...] = ()
    failures: tuple[Row, ...] = ()
    provenance: tuple[tuple[str, str], ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    units: str = "Gy"
    bands: str = ""
    index_href: str = ""


@dataclass(frozen=True)
class CourseLine:
    """One course in the cohort's list; `href` is the path of its page, relative to the cohort's
    (empty: it has none), `findings` how often quality control said what (by severity), `verdicts`
    how often each (verdict, state) was given."""

    patient_id: str
    course_id: str
    href: str = ""
    stages: tuple[StageRow, ...] = ()
    dose_source: str = ""
    rx_gy: float | None = None
    waiting: str = ""
    flags: tuple[str, ...] = ()
    findings: Mapping[str, int] = field(default_factory=dict)
    verdicts: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckLine:
    """What a check of quality control found in the cohort: by severity, and in how many courses."""

    check: str
    findings: Mapping[str, int]
    courses: int


@dataclass(frozen=True)
class CohortReport:
    """Everything that stands on the cohort's page. `checks` sum up quality control, `bands` and
    `metrics` the DVHs by standard name; `tables` are (file name, number of rows)."""

    title: str = "Cohort"
    courses: tuple[CourseLine, ...] = ()
    checks: tuple[CheckLine, ...] = ()
    bands: tuple[Band, ...] = ()
    metrics: tuple[Boxes, ...] = ()
    failures: tuple[Row, ...] = ()
    tables: tuple[tuple[str, int], ...] = ()
    provenance: tuple[tuple[str, str], ...] = ()
    units: str = "Gy"
