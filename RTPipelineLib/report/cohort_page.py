"""The page of a cohort."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten

from .cells import UNKNOWN, badge, counted, dose_text, link_to, nothing, table
from .content import CohortReport, CourseLine, StageRow
from .html import NO_PATIENT_ID, failures_table, page, pairs, section
from .markup import Content, Markup, element, joined

REASON = 80  # characters of a reason in the list of courses; the course's page has all


def cohort_page(facts: CohortReport) -> str:
    """The page of a cohort: its courses with the state of every stage, and all failures."""
    patients = len({line.patient_id for line in facts.courses})
    waiting = sum(bool(line.waiting) for line in facts.courses)
    counts = f"{counted(len(facts.courses), 'course')} of {counted(patients, 'patient')}, "
    counts += f"{counted(len(facts.failures), 'failure')}, {waiting} waiting for a decision"
    return page(
        facts.title,
        [element("h1", facts.title), element("p", counts)],
        [
            section("Courses", _courses(facts.courses, facts.units)),
            section("Failures", failures_table(facts.failures, "no failures")),
            section("Tables", pairs((name, counted(rows, "row")) for name, rows in facts.tables)),
            section(
                "Provenance",
                pairs(facts.provenance),
                element("p", link_to("Methods: what was done, in words", "methods.html")),
            ),
        ],
    )


def _courses(courses: Sequence[CourseLine], units: str) -> Markup:
    if not courses:
        return nothing("no courses")
    stages = list(dict.fromkeys(stage.name for line in courses for stage in line.stages))
    rows = []
    for line in courses:
        states = {stage.name: stage for stage in line.stages}
        link = link_to(line.course_id, line.href) if line.href else line.course_id
        dose: Content = line.dose_source or UNKNOWN
        if line.waiting:
            dose = joined(badge("needs-decision"), element("div", line.waiting))
        rx = UNKNOWN if line.rx_gy is None else dose_text(line.rx_gy, units)
        cells = [_state(states.get(name)) for name in stages]
        rows.append(
            [
                line.patient_id or NO_PATIENT_ID,
                link,
                *cells,
                dose,
                rx,
                ", ".join(line.flags) or UNKNOWN,
            ]
        )
    titles = ["Patient", "Course", *stages, "Dose", f"Prescribed [{units}]", "Flags"]
    last = len(titles) - 1
    long = {0, 1, last - 2, last}
    return table("Courses", titles, rows, numbers={last - 1}, long=long)


def _state(stage: StageRow | None) -> Markup:
    if stage is None:
        return element("span", "not run", class_="soft")
    short = shorten(stage.reason, REASON, placeholder=" …")
    reason = element("div", short, class_="soft state", title=stage.reason) if short else None
    return joined(badge(stage.status), reason)
