"""What each flag of a dose decision means, and what a person can do about it."""

from __future__ import annotations

from collections.abc import Mapping

_TABLE = "under dose in overrides.yaml"

SENTENCES: Mapping[str, str] = {
    "accumulated": "courses were added on request; no recovery between them is assumed",
    "alternative-plans": "alternative plans are never summed; name the one that was given "
    + _TABLE,
    "alternatives-both-delivered": "alternative plans both have treatment records; name what "
    "counts " + _TABLE,
    "delivered-differs-from-planned": "the dose is that of the fractions given, not of those "
    f"planned; check the treatment records, or set the weights {_TABLE}",
    "dose-type-chosen": "a plan has physical and effective doses; that of its modality was used. "
    f"Name the other one {_TABLE} (doses) if it is the one wanted",
    "dose-type-missing": "a dose without DoseType was read as PHYSICAL; export it with one",
    "dose-types-differ": "physical and effective doses are never added; report them apart, or "
    "export them in one type",
    "dose-without-plan": "the plan of a dose is not among the files; export it too",
    "duplicate-dose": "one dose is there more than once and was used once; nothing is to be done",
    "fraction-recorded-twice": "a fraction has more meterset than planned and counts once; check "
    "the treatment records",
    "frames-differ": "the doses lie in different frames of reference; export the registration, or "
    "let one be offered (dose.registration: offer)",
    "more-fractions-than-planned": "the records hold more fractions than planned; check them, or "
    f"set the weights {_TABLE}",
    "plan-excluded": "a plan made to verify or test, or a rejected one, does not count; link or "
    f"name it {_TABLE} (plans) if it was given",
    "plan-rejected": f"the only plan was rejected; name it {_TABLE} (plans) if it was given",
    "plan-sum-term": "PLAN_SUM, which is no DICOM term, was read as MULTI_PLAN; check that it is "
    "the sum of the plans it references",
    "plan-unapproved": "the dose is that of a plan that is not approved; approve it, or export the "
    "approved one",
    "record-incomplete": f"treatment records do not tell what was given; set the weights {_TABLE}",
    "registration-unapproved": "an offered registration waits; look at it and accept it by its UID "
    f"{_TABLE} (registrations)",
    "sum-of-parts": "the dose of a plan was added from its beams or fraction groups, which "
    "cover it whole; nothing is to be done",
    "unapproved-plan-left-out": "only the approved plan counts; name the others "
    f"{_TABLE} (plans) if they were given",
    "uneven-delivery": "the beams of a plan were given unevenly, one weight does not fit all; name "
    f"doses and weights {_TABLE} (doses)",
    "user-decision": "a person decided which doses count (overrides.yaml)",
}


def sentence_of(flag: str) -> str:
    """The sentence of a flag; its own words where it has none."""
    return SENTENCES.get(flag) or flag.replace("-", " ")
