"""The page of one course."""

from __future__ import annotations

from collections.abc import Sequence

from ..model import PrescriptionLevel
from .cells import UNKNOWN, badge, counted, dose_text, is_number, link_to, nothing, shown, table
from .codebook import find_entry
from .content import CourseReport, ObjectRow, Row, StageRow, Value
from .figures import dvh_plot, plot_script
from .findings import quality_section
from .html import NO_PATIENT_ID, contents, failures_table, page, pairs, section
from .markup import Content, Markup, element, joined
from .naming import structures_section
from .reviews import verdicts_section
from .slices import slices_section
from .verdicts import comparison_section, goals_section

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
    parts: list[tuple[str, Content]] = [
        ("Review", verdicts_section(facts.verdicts)),
        ("Stages", _stages(facts.stages)),
        ("Problems", failures_table(failures, "no problems")),
        ("Decisions", pairs(facts.decisions)),
        ("Quality control", quality_section(facts.flags, facts.checks)),
        ("Prescription", _prescription(facts.prescription, facts.units)),
        ("Slices", slices_section(facts.slices, facts.units)),
        ("Dose-volume histogram", _plot(facts)),
        ("Clinical goals", goals_section(facts.goals, facts.units)),
        ("Metrics", _metrics(facts.metrics, facts.units)),
        ("Structures", structures_section(facts.names, facts.agreement)),
        ("Other calculations", comparison_section(facts.comparisons, facts.units)),
        ("Objects and links", _objects(facts.objects)),
        ("Provenance", joined(pairs(facts.provenance), _inputs(facts.inputs))),
    ]
    head.append(contents(name for name, _ in parts))
    sections = [section(name, content) for name, content in parts]
    return page(title, head, sections, plot_script() if facts.curves else "")


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
