"""What quality control found, on the page of a course."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .cells import UNKNOWN, badge, counted, nothing, table
from .content import Notice
from .markup import Markup, element, joined

_ORDER = {"error": 0, "warning": 1}


def quality_section(notices: Sequence[Notice], states: Mapping[str, str]) -> Markup:
    """The findings, the worst first, with what each check read; then what became of every check.
    `states` are check: passed, found, skipped or failed; none where quality control did not run."""
    found = nothing("nothing was found")
    if notices:
        several = any(notice.read for notice in notices)
        rows = [
            [n.id, badge(n.severity), n.message, *([n.read or UNKNOWN] if several else [])]
            for n in sorted(notices, key=lambda n: _ORDER.get(n.severity, 2))
        ]
        titles = ["Check", "Severity", "Finding", *(["Read"] if several else [])]
        found = table("Quality control", titles, rows, long={2, 3})
    if not states:
        return joined(nothing("quality control has not run; these are the flags of links"), found)
    return joined(found, _checks(states))


def _checks(states: Mapping[str, str]) -> Markup:
    """Every check with its state, folded away."""
    by_state: dict[str, list[str]] = {}
    for check, state in sorted(states.items()):
        by_state.setdefault(state, []).append(check)
    counts = ", ".join(f"{len(checks)} {state}" for state, checks in sorted(by_state.items()))
    items = [
        element("li", badge(state), " ", ", ".join(checks))
        for state, checks in sorted(by_state.items())
    ]
    summary = element("summary", f"{counted(len(states), 'check')}: {counts}")
    return element("details", summary, element("ul", joined(*items), class_="plain"))
