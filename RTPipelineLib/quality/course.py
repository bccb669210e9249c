"""All checks of one course."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from ..dose.sentences import SENTENCES
from . import doses, flags, structures
from .model import ERROR, SEVERITIES, WARNING, Check, CourseFacts, Finding

_SAID = frozenset(SENTENCES.values())
log = logging.getLogger(__name__)


def stages(facts: CourseFacts) -> Iterator[Finding]:
    """A stage failed, or met a problem on its way."""
    for name, record in facts.records.items():
        problems = [
            problem
            for problem in record.get("problems") or ()
            # What a flag of the dose says has a check of its own.
            if problem["severity"] in (ERROR, WARNING) and problem["message"] not in _SAID
        ]
        for problem in problems:
            yield Finding(problem["severity"], f"{name}: {problem['message']}", problem["item"])
        if record["status"] in ("failed", "partial") and not problems:
            yield Finding(ERROR, f"{name} is {record['status']}: {record['reason']}", name)


CHECKS = (
    Check("stages", "stages that failed or met a problem", "stages/*.json", stages),
    *flags.CHECKS,
    *doses.CHECKS,
    *structures.CHECKS,
)


@dataclass(frozen=True)
class Result:
    """What one check found; `state` is `passed`, `found`, `skipped` (by the user) or `failed` (the
    check itself, whose `findings` then say so)."""

    check: Check
    state: str
    findings: tuple[Finding, ...] = ()


def check_course(facts: CourseFacts, skip: Collection[str] = ()) -> list[Result]:
    """Run every check; one that fails costs itself only."""
    results = []
    for check in CHECKS:
        if check.id in skip:
            results.append(Result(check, "skipped"))
            continue
        try:
            found = tuple(dict.fromkeys(check.find(facts)))
        except Exception as error:  # the boundary: unforeseen facts cost one check
            log.exception("check %s", check.id)
            sentence = (
                f"the check {check.id} failed ({type(error).__name__}: {error}); please report it"
            )
            results.append(Result(check, "failed", (Finding(ERROR, sentence),)))
            continue
        found = tuple(sorted(found, key=lambda f: -SEVERITIES.index(f.severity)))
        results.append(Result(check, "found" if found else "passed", found))
    return results
