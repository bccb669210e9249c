"""Sections of a course's page that judge: clinical goals, and other people's DVHs beside ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .cells import UNKNOWN, badge, counted, dose_text, is_number, nothing, shown, table
from .content import Row, Value
from .markup import Content, Markup, element, joined

_COMPARED = ("volume", "Dmean", "D95%", "D50%", "D2%")


def goals_section(rows: Sequence[Row], units: str) -> Markup:
    """The goals of a course, those of structures that it does not have folded away."""
    if not rows:
        return nothing("no goals are configured (dvh.goals)")
    here = [row for row in rows if row.get("roi_name")]
    absent = [row for row in rows if not row.get("roi_name")]
    parts = [_goals("Clinical goals", here, units) if here else nothing("no goal has a structure")]
    if absent:
        goals = counted(len(absent), "goal")
        title = element("summary", f"{goals} of structures that are not in this course")
        names = dict.fromkeys(str(row.get("structure")) for row in absent)
        parts.append(element("details", title, element("p", ", ".join(names))))
    return joined(*parts)


def _goals(name: str, rows: Sequence[Row], units: str) -> Markup:
    titles = ["ROI", "Goal", "Tolerable", "Value", "Result", "Priority", "Dose", "Why", "Source"]
    body = [
        [
            shown(row.get("roi_name")),
            f"{row['metric']} {row['operator']} {_with_unit(row.get('limit'), row, units)}",
            _with_unit(row.get("tolerance"), row, units),
            _with_unit(row.get("value"), row, units),
            badge(str(row["result"])),
            _whole(row.get("priority")),
            shown(row.get("dose_source")),
            shown(row.get("reason")),
            shown(row.get("goal_source")),
        ]
        for row in rows
    ]
    return table(name, titles, body, numbers={2, 3, 5}, long={7, 8})


def comparison_section(rows: Sequence[Row], units: str) -> Markup:
    """One line for every structure and program: our value, theirs, and what does not agree."""
    if not rows:
        return nothing("nothing to compare with")
    lines: dict[tuple[Value, ...], dict[str, Row]] = {}
    for row in rows:
        key = (row.get("roi_name"), row.get("program"), row.get("dose_source"))
        lines.setdefault(key, {})[str(row.get("metric") or "")] = row
    several = len({key[2] for key in lines}) > 1
    titles: list[Content] = ["ROI", "Compared with"]
    titles += [f"{m} [{'cc' if m == 'volume' else units}]" for m in _COMPARED]
    titles += ["Agrees", "Notes", *(["Dose"] if several else [])]
    body = []
    for (name, program, dose), metrics in lines.items():
        pairs: list[Content] = [_pair(metrics.get(metric), units) for metric in _COMPARED]
        line: list[Content] = [shown(name), shown(program), *pairs, _verdict(metrics.values())]
        first = next(iter(metrics.values()))
        notes = "; ".join(filter(None, (str(first.get(k) or "") for k in ("reason", "flags"))))
        body.append([*line, notes or UNKNOWN, *([shown(dose)] if several else [])])
    numbers = set(range(2, 2 + len(_COMPARED)))
    places = table("Comparison", titles, body, numbers=numbers, long={3 + len(_COMPARED)})
    note = "Ours, then theirs. Differences, tolerances and their reasons are in the tables."
    return joined(places, element("p", note, class_="soft"))


def _pair(row: Row | None, units: str) -> Content:
    if row is None:
        return UNKNOWN
    texts = []
    for value in (row.get("value"), row.get("other_value")):
        is_dose = row.get("unit") == "Gy"
        number = float(value) if is_number(value) else None
        plain = UNKNOWN if number is None else f"{number:.2f}"
        texts.append(dose_text(number, units) if is_dose and number is not None else plain)
    pair = f"{texts[0]} | {texts[1]}"
    return element("b", pair) if row.get("agrees") is False else pair


def _verdict(rows: Iterable[Row]) -> Content:
    rows = list(rows)
    differing = [str(row.get("metric")) for row in rows if row.get("agrees") is False]
    if differing:
        return joined(badge("differs"), Markup(" "), ", ".join(differing))
    agreeing = any(row.get("agrees") is True for row in rows)
    return badge("agrees") if agreeing else UNKNOWN


def _with_unit(value: Value, row: Row, units: str) -> str:
    if not is_number(value):
        return UNKNOWN
    unit = str(row.get("unit") or "")
    if unit == "Gy":
        return f"{dose_text(float(value), units)} {units}"
    text = f"{float(value):.4g}"
    return text if unit == "1" else f"{text} {unit}"


def _whole(value: Value) -> str:
    return f"{int(value)}" if is_number(value) else UNKNOWN
