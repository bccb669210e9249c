"""What reviewers said: the verdicts on a course and its structures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ..review import ACCEPT, COMMENT, CURRENT, FLAG, OUT_OF_DATE, REJECT, SUPERSEDED
from .cells import UNKNOWN, badge, nothing, shown, table
from .content import Row
from .markup import Content, Markup, element, joined

_WORDS = {ACCEPT: "accepted", REJECT: "rejected", FLAG: "flagged", COMMENT: "comment"}


def verdicts_section(rows: Sequence[Row]) -> Markup:
    """The verdicts that stand, those on the course first; superseded ones are folded away."""
    if not rows:
        return nothing("nobody has given a verdict on this course yet")
    standing = [row for row in rows if row["state"] != SUPERSEDED]
    earlier = [row for row in rows if row["state"] == SUPERSEDED]
    standing.sort(key=lambda row: bool(row["item"]))  # stable: by time within
    parts: list[Content] = [_verdicts("Verdicts", standing)]
    if any(row["state"] == OUT_OF_DATE for row in standing):
        note = "Out of date: the results have changed since the reviewer saw them."
        parts.append(element("p", note, class_="soft"))
    if earlier:
        summary = element("summary", f"{len(earlier)} superseded by later verdicts")
        parts.append(element("details", summary, _verdicts("Superseded verdicts", earlier)))
    return joined(*parts)


def _verdicts(name: str, rows: Iterable[Row]) -> Markup:
    body = [
        [
            shown(row["item"]) if row["item"] else "the course",
            shown(row["source"]),
            badge(_WORDS.get(str(row["verdict"]), str(row["verdict"]))),
            badge(str(row["state"])),
            shown(row["reviewer"]),
            f"{str(row['time'])[:16].replace('T', ' ')} UTC",
            shown(row["comment"]),
        ]
        for row in rows
    ]
    titles = ["On", "Source", "Verdict", "State", "By", "When", "Comment"]
    return table(name, titles, body, long={6})


def verdict_summary(counts: Mapping[tuple[str, str], int]) -> Content:
    """The verdicts of a course in one cell, from how often each (verdict, state) occurs."""
    current = Counter({verdict: n for (verdict, state), n in counts.items() if state == CURRENT})
    old = sum(n for (_, state), n in counts.items() if state == OUT_OF_DATE)
    badges = [
        badge(_WORDS[verdict] if n == 1 else f"{n} {_WORDS[verdict]}", _WORDS[verdict])
        for verdict in (REJECT, FLAG, ACCEPT)
        if (n := current[verdict])
    ]
    if old:
        badges.append(badge(f"{old} {OUT_OF_DATE}", OUT_OF_DATE))
    return joined(*badges) if badges else UNKNOWN
