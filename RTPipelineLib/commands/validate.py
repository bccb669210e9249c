"""`rtpipeline validate`: what this installation computes, against what is known."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from . import ALL_DONE, SOME_FAILED, show

if TYPE_CHECKING:
    from ..validation.cases import Case


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "-o", "--output", metavar="OUT.html", type=Path, help="one page to sign and keep"
    )


def main(arguments: argparse.Namespace) -> int:
    """Run every case; status 3 when one fails."""
    import tempfile
    from collections import Counter

    from ..platform import write_text
    from ..validation.cases import GROUPS
    from ..validation.page import validation_page

    cases: list[Case] = []
    for group in GROUPS:
        with tempfile.TemporaryDirectory() as folder:
            found = list(group(Path(folder)))
        cases += found
        passed = Counter(case.passed for case in found)
        show(f"  {found[0].group:<20} {passed[True]} passed, {passed[False]} failed")
        for case in found:
            if not case.passed:
                show(
                    f"    FAILED {case.name}: {case.found:.6g} {case.unit}, expected "
                    f"{case.expected:.6g} within {case.limit:.2g}"
                )
    failed = sum(not case.passed for case in cases)
    show(f"{len(cases)} cases, {failed} failed")
    if arguments.output is not None:
        write_text(arguments.output, validation_page(cases, _about()))
    return SOME_FAILED if failed else ALL_DONE


def _about() -> dict[str, str]:
    """Versions and machine."""
    import platform
    from datetime import UTC, datetime
    from importlib.metadata import PackageNotFoundError, version

    from .. import __version__
    from .doctor import CORE

    def of(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "missing"

    return {
        "RT Pipeline": __version__,
        "Python": platform.python_version(),
        "System": platform.platform(),
        "Processor": platform.processor() or platform.machine(),
        "Packages": ", ".join(f"{name} {of(name)}" for name, _ in CORE),
        "Date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }
