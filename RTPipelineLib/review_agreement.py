"""Whether two reviewers say the same: Cohen's kappa over what both have judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from .review import COMMENT, SUPERSEDED

Pair = tuple[str, str]


def cohen_kappa(pairs: Sequence[Pair]) -> tuple[float, float | None]:
    """Share of equal verdicts, and kappa: the agreement beyond chance over what chance leaves
    (Cohen, Educ Psychol Meas 20 (1960) 37). None where both only ever say the same one thing."""
    if not pairs:
        raise ValueError("no pairs")
    number = len(pairs)
    observed = sum(one == other for one, other in pairs) / number
    first, second = (Counter(pair[n] for pair in pairs) for n in (0, 1))
    chance = sum(first[verdict] * second[verdict] for verdict in first) / number**2
    if chance == 1:
        return observed, None
    return observed, (observed - chance) / (1 - chance)


def agreement_rows(reviews: Iterable[Mapping[str, str]]) -> list[dict[str, object]]:
    """Rows of `results/reviewer_agreement`, one for each two reviewers who judged the same course
    or structure: of rows of `results/reviews` the last verdict of each counts, also one that is out
    of date; comments do not."""
    judged: dict[str, dict[tuple[str, ...], str]] = {}
    for row in reviews:
        if row["verdict"] != COMMENT and row["state"] != SUPERSEDED:
            place = (row["patient_id"], row["course_id"], row["item"], row["source"])
            judged.setdefault(row["reviewer"], {})[place] = row["verdict"]
    rows: list[dict[str, object]] = []
    for one, other in combinations(sorted(judged), 2):
        common = sorted(judged[one].keys() & judged[other].keys())
        if not common:
            continue
        pairs = [(judged[one][place], judged[other][place]) for place in common]
        observed, kappa = cohen_kappa(pairs)
        rows.append(
            {
                "reviewer_a": one,
                "reviewer_b": other,
                "items": len(pairs),
                "agreement": observed,
                "kappa": kappa,
            }
        )
    return rows
