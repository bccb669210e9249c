"""What the structures of a course are called, and how two sources of one agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .cells import UNKNOWN, badge, is_number, nothing, shown, table
from .content import Row
from .markup import Content, Markup, element, joined

_AGREEMENT = (
    ("Dice", "dice", 3),
    ("HD95 [mm]", "hausdorff95_mm", 1),
    ("Mean distance [mm]", "mean_surface_distance_mm", 2),
    ("Surface Dice", "surface_dice", 3),
    ("Added path [mm]", "added_path_length_mm", 0),
)


def structures_section(names: Sequence[Mapping[str, object]], agreement: Sequence[Row]) -> Markup:
    """Every structure with its standard name, or with the names that are offered where none was
    found; then what programs drew against what people drew."""
    if not names:
        return nothing("no structures")
    body = [
        [
            shown(row.get("roi_name")),
            shown(row.get("source")),
            _standard(row),
            shown(row.get("found_by")),
            f"{row['volume_cc']:.2f}" if is_number(row.get("volume_cc")) else UNKNOWN,
            "; ".join(row.get("conflicts") or ()) or UNKNOWN,
        ]
        for row in names
    ]
    titles = ["ROI", "Source", "Standard name", "Found by", "Volume [cc]", "Against it"]
    parts = [table("Names of structures", titles, body, numbers={4}, long={5})]
    if agreement:
        parts += [element("h3", "Agreement between sources"), _agreement(agreement)]
    return joined(*parts)


def _standard(row: Mapping[str, object]) -> Content:
    if row.get("roi_standard_name"):
        return str(row["roi_standard_name"])
    offered = ", ".join(row.get("suggestions") or ())
    note = element("span", f" perhaps {offered}", class_="soft") if offered else None
    return joined(badge("no name"), note)


def _agreement(rows: Sequence[Row]) -> Markup:
    body = []
    for row in rows:
        values = [row.get(column) for _, column, _ in _AGREEMENT]
        numbers = [
            f"{value:.{digits}f}" if is_number(value) else UNKNOWN
            for value, (_, _, digits) in zip(values, _AGREEMENT, strict=True)
        ]
        pair = [f"{row.get(f'roi_name_{side}')} ({row.get(f'source_{side}')})" for side in "ab"]
        flags = str(row.get("flags") or "").replace(";", ", ")
        body.append([shown(row.get("roi_standard_name")), *pair, *numbers, flags or UNKNOWN])
    titles = ["Structure", "Reference", "Compared with it", *(title for title, _, _ in _AGREEMENT)]
    places = set(range(3, 3 + len(_AGREEMENT)))
    long = {1, 2, 3 + len(_AGREEMENT)}
    return table("Agreement", [*titles, "Flags"], body, numbers=places, long=long)
