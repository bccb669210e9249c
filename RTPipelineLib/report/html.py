"""Reports as self-contained HTML: no network, no script, readable on paper and aloud."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from importlib import resources
from textwrap import shorten

from ..model import PrescriptionLevel
from .cells import UNKNOWN, badge, counted, dose_text, is_number, link_to, nothing, shown, table
from .codebook import find_entry
from .content import (
    CohortReport,
    CourseLine,
    CourseReport,
    Notice,
    ObjectRow,
    Row,
    StageRow,
    Value,
)
from .figures import dvh_plot, plot_script
from .markup import Content, Markup, element, joined
from .verdicts import comparison_section, goals_section

RESEARCH_USE = "For research use, not for clinical decisions."
NO_PATIENT_ID = "(no PatientID)"
REASON = 80  # characters of a reason in the list of courses; the course's page has all

# Columns of the metrics on the page; the whole table is in the Parquet file.
METRICS_SHOWN = (
    "volume_cc",
    "dose_coverage_percent",
    "rx_gy",
    "Dmean_Gy",
    "Dmin_Gy",
    "D98%_Gy",
    "D95%_Gy",
    "D50%_Gy",
    "D2%_Gy",
    "Dmax_Gy",
    "D0.03cc_Gy",
    "V95%_%",
    "HI",
    "CI_Paddick",
    "gEUD_Gy",
)


# -- pages ----------------------------------------------------------------------------------------


def course_page(facts: CourseReport) -> str:
    """The page of one course."""
    title = f"{facts.patient_id} / {facts.course_id}"
    own = {"patient_id", "course_id"}
    failures = [{k: v for k, v in row.items() if k not in own} for row in facts.failures]
    back = element("p", link_to("All courses", facts.index_href)) if facts.index_href else None
    head = [
        back,
        element("h1", "Course ", facts.course_id),
        element("p", "Patient ", element("b", facts.patient_id or NO_PATIENT_ID)),
    ]
    return page(
        title,
        head,
        [
            _section("Stages", _stages(facts.stages)),
            _section("Problems", _failures(failures, "no problems")),
            _section("Decisions", _pairs(facts.decisions)),
            _section("Quality control", _notices(facts.flags)),
            _section("Prescription", _prescription(facts.prescription, facts.units)),
            _section("Dose-volume histogram", _plot(facts)),
            _section("Clinical goals", goals_section(facts.goals, facts.units)),
            _section("Metrics", _metrics(facts.metrics, facts.units)),
            _section("Other calculations", comparison_section(facts.comparisons, facts.units)),
            _section("Objects and links", _objects(facts.objects)),
            _section("Provenance", _pairs(facts.provenance), _inputs(facts.inputs)),
        ],
        plot_script() if facts.curves else "",
    )


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
            _section("Courses", _courses(facts.courses, facts.units)),
            _section("Failures", _failures(facts.failures, "no failures")),
            _section("Tables", _pairs((name, counted(rows, "row")) for name, rows in facts.tables)),
            _section(
                "Provenance",
                _pairs(facts.provenance),
                element("p", link_to("Methods: what was done, in words", "methods.html")),
            ),
        ],
    )


def page(title: str, head: Sequence[Content], sections: Sequence[Content], script: str = "") -> str:
    """A page that needs nothing but itself: no other file, no network, and no script but the one
    that it is given."""
    style = resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    if script:
        digest = b64encode(sha256(script.encode()).digest()).decode()
        policy += f"; script-src 'sha256-{digest}'"
    document = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=policy),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", f"{title} - RT Pipeline"),
            element("link", rel="icon", href="data:,"),
            element("style", Markup(style)),
        ),
        element(
            "body",
            element("p", RESEARCH_USE, class_="notice", role="note"),
            element("header", joined(*head)),
            element("main", joined(*sections)),
            element("footer", element("p", f"RT Pipeline. {RESEARCH_USE}")),
            element("script", Markup(script)) if script else None,
        ),
        lang="en",
    )
    return f"<!DOCTYPE html>\n{document}\n"


# -- sections -------------------------------------------------------------------------------------


def _section(title: str, *content: Content) -> Markup:
    return element("section", element("h2", title), *content)


def _pairs(pairs: Iterable[tuple[str, str]]) -> Markup:
    items = [joined(element("dt", name), element("dd", value)) for name, value in pairs]
    return element("dl", joined(*items)) if items else nothing("nothing noted")


def _notices(notices: Sequence[Notice]) -> Markup:
    if not notices:
        return nothing("nothing was found")
    order = {"error": 0, "warning": 1}
    items = [
        element("li", badge(n.severity), " ", element("b", n.id), " ", n.message)
        for n in sorted(notices, key=lambda n: order.get(n.severity, 2))
    ]
    return element("ul", joined(*items), class_="plain")


def _stages(stages: Sequence[StageRow]) -> Markup:
    if not stages:
        return nothing("no stage has run")
    rows = [
        [
            s.name,
            badge(s.status),
            s.reason,
            UNKNOWN if s.seconds is None else f"{s.seconds:.1f}",
        ]
        for s in stages
    ]
    return table("Stages", ["Stage", "Status", "Reason", "Seconds"], rows, numbers={3}, long={2})


def _failures(failures: Sequence[Row], none: str) -> Markup:
    if not failures:
        return nothing(none)
    known = ("patient_id", "course_id", "stage", "item", "severity", "error", "file")
    columns = [name for name in known if any(row.get(name) for row in failures)]
    rows = [
        [
            badge(str(row[c])) if c == "severity" and row.get(c) else shown(row.get(c))
            for c in columns
        ]
        for row in failures
    ]
    long = {n for n, name in enumerate(columns) if name in ("error", "file", "item")}
    named = {"patient_id": "Patient", "course_id": "Course", "error": "Message"}
    titles = [named.get(name, name.capitalize()) for name in columns]
    return table("Failures", titles, rows, long=long)


def _prescription(levels: Sequence[PrescriptionLevel], units: str) -> Markup:
    if not levels:
        return nothing("no prescription is known; metrics relative to it are empty")
    rows = [
        [
            level.name,
            level.roi_name
            or (f"ROI {level.roi_number}" if level.roi_number is not None else UNKNOWN),
            dose_text(level.dose_gy, units),
            UNKNOWN if level.fractions is None else level.fractions,
            level.source,
        ]
        for level in sorted(levels, key=lambda level: -level.dose_gy)
    ]
    titles = ["Level", "Target", f"Dose [{units}]", "Fractions", "Source"]
    return table("Prescription", titles, rows, numbers={2, 3})


def _plot(facts: CourseReport) -> Markup:
    if not facts.curves:
        return nothing("no curves; see the stages above for the reason")
    note = element("p", facts.bands, class_="soft") if facts.bands else None
    files = [link_to(title, path) for title, path in facts.plots]
    plots = element("p", "Files: ", joined(*files), class_="soft") if files else None
    return joined(dvh_plot(facts.curves, facts.units), note, plots)


def _metrics(rows: Sequence[Row], units: str) -> Markup:
    if not rows:
        return nothing("no metrics; see the stages above for the reason")
    several = [c for c in ("source", "dose_source") if len({row.get(c) for row in rows}) > 1]
    numbers = [c for c in METRICS_SHOWN if any(is_number(row.get(c)) for row in rows)]
    columns = ["roi_name", *several, *numbers, "flags"]
    body = [[_metric(row, c, units) for c in columns] for row in rows]
    titles = [_metric_title(c, units) for c in columns]
    places = {columns.index(c) for c in numbers}
    note = "Empty cells are not known or not applicable; all columns are in dvh/metrics.parquet."
    if any(f"{c}_low" in row for row in rows for c in numbers):
        note += " Small below a value: the ends of its band (see the dose-volume histogram)."
    metrics = table("Metrics", titles, body, numbers=places, long={len(columns) - 1})
    return joined(metrics, element("p", note, class_="soft"))


def _metric_title(column: str, units: str) -> Content:
    entry = find_entry("dvh_metrics", column)
    plain = {"roi_name": "ROI", "dose_coverage_percent": "In grid [%]", "flags": "Flags"}
    plain |= {"volume_cc": "Volume [cc]", "rx_gy": f"Prescribed [{units}]", "source": "Source"}
    plain |= {"dose_source": "Dose"}
    title = plain.get(column)
    if title is None:
        name, _, unit = column.rpartition("_")
        known = {"Gy": units, "%": "%", "cc": "cc"}
        title = f"{name} [{known[unit]}]" if unit in known else column.replace("_", " ")
    return element("abbr", title, title=entry.definition) if entry else title


def _metric(row: Row, column: str, units: str) -> Content:
    """One cell: the value, and below it the band around it where there is one."""
    value = row.get(column)
    if column == "flags":
        flags = [flag for flag in str(value or "").split(";") if flag]
        badges = joined(*(element("span", flag, class_="badge calm") for flag in flags))
        return element("div", badges, class_="flags")
    ends = [row.get(f"{column}_{end}") for end in ("low", "high")]
    text = _number(value, column, units)
    if not any(is_number(end) for end in ends):
        return text
    low, high = (_number(end, column, units) for end in ends)
    return joined(text, element("div", f"{low} to {high}", class_="soft ends"))


def _number(value: Value, column: str, units: str) -> str:
    if not is_number(value):
        return shown(value)
    if column.lower().endswith("_gy"):
        return dose_text(float(value), units)
    return f"{value:.1f}" if column.endswith(("%", "percent")) else f"{value:.2f}"


def _objects(objects: Sequence[ObjectRow]) -> Markup:
    if not objects:
        return nothing("no objects")
    rows = [
        [
            item.kind,
            item.label or UNKNOWN,
            item.date or UNKNOWN,
            joined(*(element("div", link) for link in item.links)) or UNKNOWN,
            ", ".join(item.flags) or UNKNOWN,
            element("code", item.uid),
        ]
        for item in objects
    ]
    titles = ["Kind", "Label", "Date", "Linked to", "Flags", "UID"]
    return table("Objects and links", titles, rows, long={1, 3, 4, 5})


def _inputs(inputs: Sequence[tuple[str, str]]) -> Markup:
    if not inputs:
        return Markup("")
    items = [element("li", name, " ", element("code", digest)) for name, digest in inputs]
    summary = element("summary", f"{counted(len(inputs), 'input file')} with SHA-256")
    return element("details", summary, element("ul", joined(*items), class_="plain"))


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
