"""Names of target volumes by the rules of AAPM TG-263: a type, a classifier, a number,
then imaging, organ and dose.

`PTV_7000` is a dose in cGy, `PTV_70Gy` in Gy, `PTV_High` a relative level, `CTVn1` a first nodal
target, `PTV-03` cropped by 3 mm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_TYPE = r"(PTV!?|GTV|CTV|ITV|IGTV|ICTV)"
_CLASS = r"(n|p|sb|par|vas|v)?"
_STANDARD = re.compile(
    rf"{_TYPE}{_CLASS}\d?(?P<parts>(?:_[A-Za-z]\w*?|_(?:(?:CT|PT|MR|SP)\d+)+)?)"
    r"(?:_(?:High|Mid\d{0,2}|Low|\d{4,5}|\d+(?:[.p]\d+)?Gy)(?:x\d+)?)?(?:-\d\d)?(?:\^[\w+-]+)?"
)
_IMAGING = re.compile(r"(?:(?:CT|PT|MR|SP)\d+)+")
_LOOSE = re.compile(
    rf"{_TYPE}[ _-]*{_CLASS}[ _-]*(\d?)(?:(?:^|(?<=[^\d])|[ _-]+)(\d{{4}})(?:[ _-]*cgy)?|"
    r"[ _-]*(high|mid|low)|[ _-]+(\d\d)[ _-]*gy)?",
    re.IGNORECASE,
)
_TARGET = re.compile(r"[ ]*(?:PTV|GTV|CTV|ITV|IGTV|ICTV)(?![a-z]{4})", re.IGNORECASE)
_TWO_DIGITS = re.compile(rf"{_TYPE}{_CLASS}[ _-]*([2-9]\d)[ _-]*(?:gy)?", re.IGNORECASE)


def is_target_name(name: str) -> bool:
    """True when a name starts as those of targets do."""
    return _TARGET.match(name) is not None


def standard_target(name: str, organs: Mapping[str, str]) -> str:
    """The TG-263 name of a target; empty when this is none, or could be read in two ways.

    `organs` are the standard names of organs by their folded spelling.
    """
    match = _STANDARD.fullmatch(name)
    if match:
        part = match["parts"].lstrip("_")
        if not part or part.casefold() in organs or _IMAGING.fullmatch(part):
            return name
    match = _LOOSE.fullmatch(name.strip())
    if match is None:
        return ""
    kind, classifier, number, cgy, level, gray = match.groups()
    text = kind.upper() + (classifier or "").lower() + number
    if cgy:
        text += f"_{cgy}"
    if level:
        text += f"_{level.capitalize()}"
    return text + (f"_{gray}Gy" if gray else "")


def suggested_targets(name: str) -> tuple[str, ...]:
    """What `PTV70` may mean: its number can be a dose."""
    match = _TWO_DIGITS.fullmatch(name.strip())
    if match is None:
        return ()
    kind, classifier, gray = match.groups()
    return (f"{kind.upper()}{(classifier or '').lower()}_{gray}00",)
