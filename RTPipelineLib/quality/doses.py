"""Checks of prescriptions, plans and doses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .model import ERROR, INFO, WARNING, Check, CourseFacts, Finding, Row


def _levels(facts: CourseFacts) -> Sequence[Row]:
    return (facts.dose.get("prescription") or {}).get("levels") or ()  # type: ignore[union-attr]


def _sources(facts: CourseFacts) -> Sequence[Row]:
    return facts.dose.get("sources") or ()  # type: ignore[return-value]


def _plan_name(uid: str, plan: Row) -> str:
    return f"plan {plan.get('label')!r}" if plan.get("label") else f"plan {uid}"


def _used_plans(facts: CourseFacts) -> dict[str, Row]:
    """The plans whose doses the course counts; all of them where nothing was decided."""
    parts = (facts.dose.get("decision") or {}).get("parts") or ()  # type: ignore[union-attr]
    used = {part["plan_uid"] for part in parts if not part["problem"]}
    return {uid: plan for uid, plan in facts.plans.items() if uid in used or not used}


def dose_decision(facts: CourseFacts) -> Iterable[Finding]:
    """Which doses make up the course is not settled."""
    decision: Mapping = facts.dose.get("decision") or {}  # type: ignore[assignment]
    if decision.get("status") == "needs-decision":
        reason = (decision.get("evidence") or ["the evidence does not settle it"])[-1]
        yield Finding(
            WARNING,
            f"it is not settled which doses make up the course: {reason}. Each plan's dose is "
            "reported alone; choose in overrides.yaml (dose)",
        )
    for part in decision.get("parts") or ():
        if part["problem"]:
            plan = facts.plans.get(part["plan_uid"], {})
            yield Finding(
                ERROR,
                f"{_plan_name(part['plan_uid'], plan)}: {part['problem']}",
                part["plan_uid"],
            )


def prescription(facts: CourseFacts) -> Iterable[Finding]:
    """No prescription, or one that no object states."""
    levels = _levels(facts)
    if not levels and _sources(facts):
        yield Finding(
            WARNING,
            "no prescription is known, so that metrics relative to it are empty: give it in a "
            "table (prescription.file) or in overrides.yaml",
        )
    sentences = {
        "inferred-from-name": (
            WARNING,
            "{name}: {dose:g} Gy was read from the name of the ROI; confirm it in a table "
            "(prescription.file)",
        ),
        "beam-dose": (
            INFO,
            "{name}: {dose:g} Gy is the sum of the plan's beam doses times the fractions; no "
            "prescribed dose is stated",
        ),
    }
    for level in levels:
        if level["source"] in sentences:
            severity, sentence = sentences[level["source"]]
            words = sentence.format(name=level["name"], dose=level["dose_gy"])
            yield Finding(severity, words, str(level["roi_name"] or level["name"]))


def plausible_prescription(facts: CourseFacts) -> Iterable[Finding]:
    """A total or a fraction that no treatment has."""
    limits = facts.limits
    for level in _levels(facts):
        dose, fractions = float(level["dose_gy"]), level.get("fractions")
        name = str(level["roi_name"] or level["name"])
        if not 0 < dose <= limits.max_rx_gy:
            yield Finding(
                WARNING,
                f"{level['name']}: a prescription of {dose:g} Gy is outside 0 to "
                f"{limits.max_rx_gy:g} Gy (quality.max_rx_gy); is it in cGy, or several plans "
                "added?",
                name,
            )
        if fractions and dose / int(fractions) > limits.max_fraction_gy:
            yield Finding(
                WARNING,
                f"{level['name']}: {dose:g} Gy in {fractions} fractions is "
                f"{dose / int(fractions):.3g} Gy each, more than {limits.max_fraction_gy:g} Gy "
                "(quality.max_fraction_gy)",
                name,
            )


def approval(facts: CourseFacts) -> Iterable[Finding]:
    """A plan that nobody approved."""
    for uid, plan in _used_plans(facts).items():
        state = str(plan.get("approval") or "").upper()
        if state == "REJECTED":
            yield Finding(ERROR, f"{_plan_name(uid, plan)} was rejected", uid)
        elif state == "UNAPPROVED":
            yield Finding(WARNING, f"{_plan_name(uid, plan)} is not approved", uid)
        elif state != "APPROVED":
            yield Finding(INFO, f"{_plan_name(uid, plan)} does not say whether it is approved", uid)


def beam_doses(facts: CourseFacts) -> Iterable[Finding]:
    """The plan's beam doses do not add up to its prescription.

    Beam Dose (300A,0084) times the planned fractions, over the fraction groups, against the
    highest target prescription of the plan (PS3.3 C.8.8.10, C.8.8.13)."""
    for uid, plan in _used_plans(facts).items():
        stated = [
            float(r["target_gy"])
            for r in plan.get("dose_references") or ()
            if r.get("type") == "TARGET" and r.get("target_gy")
        ]
        total = _beam_total(plan)
        if not stated or total is None:
            continue
        off = 100 * (total / max(stated) - 1)
        if abs(off) > facts.limits.beam_dose_percent:
            yield Finding(
                WARNING,
                f"{_plan_name(uid, plan)}: its beam doses add up to {total:.4g} Gy over all "
                f"fractions, {off:+.0f} % from the {max(stated):g} Gy that it prescribes (beam "
                "doses hold at one point, which may lie outside the target)",
                uid,
            )


def _beam_total(plan: Row) -> float | None:
    """Sum of beam doses times fractions; None when a treatment beam has none."""
    kinds = {b["number"]: b.get("delivery_type") for b in plan.get("beams") or ()}
    total = 0.0
    for group in plan.get("fraction_groups") or ():
        beams = [b for b in group["beams"] if kinds.get(b["number"]) in (None, "", "TREATMENT")]
        doses = [b["dose_gy"] for b in beams]
        if not doses or not group["fractions"] or any(not d for d in doses):
            return None
        total += sum(doses) * group["fractions"]
    return total or None


def target_dose(facts: CourseFacts) -> Iterator[Finding]:
    """A target receives less than it was prescribed (near-minimum and median dose, ICRU 83)."""
    for row in facts.metrics:
        rx = _number(row.get("rx_gy"))
        low, median = _number(row.get("D98%_Gy")), _number(row.get("D50%_Gy"))
        if not rx or not _has_own_level(facts, row) or low is None or median is None:
            continue
        limits = facts.limits
        for name, value, least in (
            ("D98%", low, limits.target_d98_percent),
            ("D50%", median, limits.target_d50_percent),
        ):
            if 100 * value / rx < least:
                yield Finding(
                    WARNING,
                    f"{row['roi_name']}: {name} is {value:.2f} Gy, {100 * value / rx:.0f} % of the "
                    f"{rx:g} Gy prescribed ({row['dose_source']}); is it the right dose, plan or "
                    "level?",
                    str(row["roi_name"]),
                    str(row["source"]),
                )
                break


def _has_own_level(facts: CourseFacts, row: Row) -> bool:
    """Whether a level of the prescription was written for this very target."""
    levels = [
        level
        for source in (facts.dose, *_sources(facts))
        for level in (source.get("prescription") or {}).get("levels") or ()  # type: ignore[union-attr]
    ]
    own = [level["dose_gy"] for level in levels if level["roi_name"] == row["roi_name"]]
    return row.get("rx_gy") in own


def coverage(facts: CourseFacts) -> Iterator[Finding]:
    """A structure leaves the dose grid."""
    seen = set()
    for row in facts.metrics:
        share = _number(row.get("dose_coverage_percent"))
        key = (row["source"], row["roi_name"], row.get("structure_set_uid"))
        if share is None or "outside-dose-grid" not in str(row["flags"]).split(";") or key in seen:
            continue
        seen.add(key)
        target = any(
            r.is_target
            for r in facts.rois
            if r.name == row["roi_name"] and r.source == row["source"]
        )
        yield Finding(
            ERROR if target else INFO,
            f"{row['roi_name']}: {100 - share:.1f} % of its volume lies outside the dose grid, "
            "where the dose is unknown; its mean and minimum dose are left empty",
            str(row["roi_name"]),
            str(row["source"]),
        )


def second_calculation(facts: CourseFacts) -> Iterator[Finding]:
    """The planning system's curve or a second program disagrees."""
    for row in facts.second:
        if row.get("agrees") is not None and not row["agrees"]:
            yield Finding(
                WARNING,
                f"{row['roi_name']}: {row['metric']} is {_short(row['value'])} {row['unit']} here "
                f"and {_short(row['other_value'])} {row['unit']} by {row['program']} "
                f"(difference {_short(row['difference'])}, tolerance {_short(row['tolerance'])})",
                str(row["roi_name"]),
                str(row["source"]),
            )


def _number(value: object) -> float | None:
    """A number that is one."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _short(value: object) -> str:
    number = _number(value)
    return "nothing" if number is None else f"{number:.4g}"


CHECKS = (
    Check("dose-decision", "which doses make up the course", "dose/dose.json", dose_decision),
    Check("prescription", "a stated prescription", "dose/dose.json", prescription),
    Check(
        "implausible-prescription", "size of totals and fractions", "dose/dose.json",
        plausible_prescription,
    ),
    Check("plan-approval", "approval of the plans", "course.json", approval),
    Check("beam-doses", "beam doses against prescription", "course.json", beam_doses),
    Check("target-dose", "dose of the targets", "dvh/metrics.parquet", target_dose),
    Check("dose-coverage", "structures inside the dose grid", "dvh/metrics.parquet", coverage),
    Check(
        "second-calculation", "stored curves and second programs",
        "dvh/tps.parquet, dvh/crosscheck.parquet", second_calculation,
    ),
)  # fmt: skip
