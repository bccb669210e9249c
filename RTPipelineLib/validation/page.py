"""The page of a validation, to sign and keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..report.cells import badge, counted, table
from ..report.html import page
from ..report.markup import element, joined
from .cases import Case

_TITLES = ["Case", "Expected", "Found", "Difference", "Limit", "Unit", "Result", "Source"]


def validation_page(cases: Sequence[Case], about: Mapping[str, str]) -> str:
    """All cases by group, with versions and machine (`about`) and room for signatures."""
    failed = sum(not case.passed for case in cases)
    verdict = f"{counted(failed, 'case')} failed" if failed else "All cases passed"
    head = [
        element("h1", "Validation of this installation"),
        element("p", badge("fail" if failed else "pass"), f" {verdict}, of {len(cases)}."),
        element(
            "p",
            "Every number is compared with a closed form, a worked example or what the generator "
            "of the synthetic patients wrote, never with an earlier result of this program. Files "
            "are written as DICOM and read again on the way.",
        ),
    ]
    pairs = [joined(element("dt", name), element("dd", value)) for name, value in about.items()]
    groups = dict.fromkeys(case.group for case in cases)
    sections = [
        element("section", element("h2", "Installation"), element("dl", joined(*pairs))),
        *(element("section", element("h2", group), _table(group, cases)) for group in groups),
        element("section", element("h2", "Reviewed by"), _signatures()),
    ]
    return page("Validation", head, sections)


def _table(group: str, cases: Sequence[Case]):  # type: ignore[no-untyped-def]
    rows = [
        [
            case.name,
            f"{case.expected:.6g}",
            f"{case.found:.6g}",
            f"{case.difference:+.2g}",
            f"{case.limit:.2g}",
            case.unit,
            badge("pass" if case.passed else "fail"),
            case.source,
        ]
        for case in cases
        if case.group == group
    ]
    return table(group, _TITLES, rows, numbers={1, 2, 3, 4}, long={0, 7})


def _signatures():  # type: ignore[no-untyped-def]
    rows = [[" ", " ", " "], [" ", " ", " "]]
    return table("Signatures", ["Name", "Date", "Signature"], rows)
