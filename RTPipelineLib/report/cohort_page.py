"""The page of a cohort."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from textwrap import shorten

from ..quality.model import ERROR, SEVERITIES, WARNING
from ..review import ACCEPT, CURRENT, FLAG, OUT_OF_DATE, REJECT
from .cells import UNKNOWN, badge, counted, dose_text, link_to, nothing, table
from .cohort_plots import bands_section, boxes_section
from .content import CheckLine, CohortReport, CourseLine, StageRow
from .html import NO_PATIENT_ID, contents, failures_table, page, pairs, section
from .markup import Content, Markup, element, joined
from .reviews import verdict_summary

_STANDING = ((REJECT, "rejected"), (FLAG, "flagged"), (ACCEPT, "accepted"))  # the worst first
REASON = 80  # characters of a reason in the list of courses; the course's page has all


def cohort_page(facts: CohortReport) -> str:
    """The page of a cohort: its courses with the state of every stage, and all failures."""
    patients = len({line.patient_id for line in facts.courses})
    waiting = sum(bool(line.waiting) for line in facts.courses)
    counts = f"{counted(len(facts.courses), 'course')} of {counted(patients, 'patient')}, "
    counts += f"{counted(len(facts.failures), 'failure')}, {waiting} waiting for a decision"
    methods = element("p", link_to("Methods: what was done, in words", "methods.html"))
    parts: list[tuple[str, Content]] = [
        ("Courses", _courses(facts.courses, facts.units)),
        ("Quality control", _checks(facts.checks)),
        ("Dose-volume histograms", bands_section(facts.bands, facts.units)),
        ("Metrics", boxes_section(facts.metrics, facts.units)),
        ("Failures", failures_table(facts.failures, "no failures")),
        ("Tables", pairs((name, counted(rows, "row")) for name, rows in facts.tables)),
        ("Provenance", joined(pairs(facts.provenance), methods)),
    ]
    head = [
        element("h1", facts.title),
        element("p", counts),
        element("p", _reviewed(facts.courses)),
        contents(name for name, _ in parts),
    ]
    return page(facts.title, head, [section(name, content) for name, content in parts])


def _reviewed(courses: Sequence[CourseLine]) -> str:
    """How far the review of whole courses has come: a course counts with the worst that stands."""
    counts: Counter[str] = Counter()
    for line in courses:
        standing = {verdict for verdict, state in line.verdicts if state == CURRENT}
        old = any(state == OUT_OF_DATE for _, state in line.verdicts)
        words = [word for verdict, word in _STANDING if verdict in standing]
        counts[words[0] if words else "with verdicts out of date only" if old else "not yet"] += 1
    done = ", ".join(f"{n} {word}" for word, n in counts.most_common())
    return f"Review of courses and their structures: {done}" if done else ""


def _checks(checks: Sequence[CheckLine]) -> Markup:
    if not checks:
        return nothing("quality control found nothing, or has not run")
    rows = [
        [line.check, *(str(line.findings.get(name, 0)) for name in SEVERITIES[::-1]), line.courses]
        for line in checks
    ]
    titles = ["Check", "Errors", "Warnings", "Information", "Courses"]
    whole = table("Quality control", titles, rows, numbers={1, 2, 3, 4})
    note = "The sentences stand on the courses' pages and in the table quality."
    return joined(whole, element("p", note, class_="soft"))


def _findings(findings: Mapping[str, int]) -> Content:
    """Errors and warnings of a course in one cell."""
    badges = [
        badge(counted(n, severity), severity)
        for severity in (ERROR, WARNING)
        if (n := findings.get(severity, 0))
    ]
    return joined(*badges) if badges else UNKNOWN


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
                verdict_summary(line.verdicts),
                _findings(line.findings),
                dose,
                rx,
                *cells,
                ", ".join(line.flags) or UNKNOWN,
            ]
        )
    titles = ["Patient", "Course", "Review", "Quality", "Dose", f"Prescribed [{units}]"]
    titles += [*stages, "Flags"]
    last = len(titles) - 1
    return table("Courses", titles, rows, numbers={5}, long={0, 1, 4, last})


def _state(stage: StageRow | None) -> Markup:
    if stage is None:
        return element("span", "not run", class_="soft")
    short = shorten(stage.reason, REASON, placeholder=" …")
    reason = element("div", short, class_="soft state", title=stage.reason) if short else None
    return joined(badge(stage.status), reason)
