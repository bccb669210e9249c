"""What a person decided: read from `overrides.yaml` of a course and from a file outside the output.

A course's own file holds the keys below. A file given with `--overrides` holds the same under
`courses: {"<patient_id>/<course_id>": {...}}`, and wins; being outside, it survives the output
folder.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from .course import Course
from .dose.choices import Choices
from .errors import ConfigError
from .platform import write_text

if TYPE_CHECKING:
    from .config import Config

log = logging.getLogger(__name__)

OVERRIDES_FILE = "overrides.yaml"

TEMPLATE = """\
# What a person decided about this course; read back by every run. Delete a key to undo it.
#
# planning_image: 1.2.3            # Series Instance UID of the image that the contours belong to
# links:                           # what an object belongs to, by SOP Instance UID
#   1.2.3.4: [1.2.3.5]
# dose:
#   plans: {1.2.3.4: 1.0, Boost: 0.4}  # which plans count, by UID or label, and their weight:
#                                    # 1 the whole plan, 0.4 for 10 of 25 fractions, 0 not at all
#   doses: {1.2.3.6: 1.0}            # or the exact sum, by SOP Instance UID of the doses
#   normalisation: {1.2.3.7: 60.0}   # Gy for which the value 1 of a RELATIVE dose stands
#   registrations: [1.2.3.8]         # of several that join two frames of reference the one to
#                                    # use, and offered ones that you have looked at and accept
# prescription:                    # replaces what the plans say
#   - {name: PTV_High, roi: PTV1, dose_gy: 70, fractions: 35}
# names:                           # standard name of an ROI
#   "LT LUNG": Lung_L
# eqd2:                            # these keys of the configuration's dose.eqd2, for this course
#   enabled: true
#   alpha_beta: {target: 10, other: 3, structures: {SpinalCord: 2}}
"""


@dataclass(frozen=True)
class Overrides:
    """The decisions about one course; empty where nobody decided."""

    planning_image: str = ""
    links: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dose: Mapping[str, object] = field(default_factory=dict)
    prescription: tuple[Mapping[str, object], ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    eqd2: Mapping[str, object] = field(default_factory=dict)

    def merged_with(self, other: Overrides) -> Overrides:
        """These decisions with those of `other` on top."""
        return Overrides(
            other.planning_image or self.planning_image,
            {**self.links, **other.links},
            other.dose or self.dose,
            other.prescription or self.prescription,
            {**self.names, **other.names},
            other.eqd2 or self.eqd2,
        )

    def applied_to(self, config: Config) -> Config:
        """The configuration as it holds for this course: with its own a/b ratios."""
        if not self.eqd2:
            return config
        from .config.keys import Eqd2

        usual = config.dose.eqd2.model_dump()
        ratios = {**usual["alpha_beta"], **self.eqd2.get("alpha_beta", {})}
        eqd2 = Eqd2.model_validate({**usual, **self.eqd2, "alpha_beta": ratios})
        dose = config.dose.model_copy(update={"eqd2": eqd2})
        return config.model_copy(update={"dose": dose})


def read_course_overrides(folder: Path) -> Overrides:
    """Decisions in the `overrides.yaml` of a course folder; empty when there is none."""
    path = folder / OVERRIDES_FILE
    return parse_overrides(_load(path), str(path)) if path.exists() else Overrides()


def read_overrides_file(path: Path) -> dict[str, Overrides]:
    """`{"<patient_id>/<course_id>": Overrides}` of a file outside the output folder."""
    data = _load(path)
    _check_keys(data, {"courses"}, str(path))
    courses = data.get("courses") or {}
    if not isinstance(courses, dict):
        raise ConfigError(f"{path}: courses must map '<patient_id>/<course_id>' to decisions")
    return {str(key): parse_overrides(value, f"{path}: {key}") for key, value in courses.items()}


def outside_decisions(outside: Mapping[str, Overrides], course: Course) -> Overrides:
    """The decisions about a course in a file outside the output folder."""
    return outside.get(f"{course.patient_id}/{course.course_id}", Overrides())


def decisions_for(
    folder: Path, course: Course, outside: Mapping[str, Overrides]
) -> Overrides | None:
    """A person's decisions about a course: its own file, with a file outside the output on top.

    None, with the reason on the log, when the course's own file is wrong: a cohort goes on without
    that course.
    """
    try:
        decisions = read_course_overrides(folder)
    except ConfigError as error:
        log.error("%s", error)
        return None
    return decisions.merged_with(outside_decisions(outside, course))


def parse_overrides(data: object, where: str) -> Overrides:
    """Check plain YAML values. Raises `ConfigError` naming `where`, the key and what was
    expected."""
    if data is None:
        return Overrides()
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected keys and values, found {type(data).__name__}")
    _check_keys(data, {item.name for item in fields(Overrides)}, where)
    links = _mapping(data, "links", where)
    dose = _mapping(data, "dose", where)
    Choices.from_mapping(dose, where)
    return Overrides(
        planning_image=str(data.get("planning_image") or ""),
        links={
            str(uid): tuple(str(t) for t in (targets if isinstance(targets, list) else [targets]))
            for uid, targets in links.items()
        },
        dose=dose,
        prescription=tuple(_levels(data.get("prescription") or [], where)),
        names={str(k): str(v) for k, v in _mapping(data, "names", where).items()},
        eqd2=_eqd2(_mapping(data, "eqd2", where), where),
    )


def _eqd2(keys: Mapping[str, object], where: str) -> Mapping[str, object]:
    """Checked by the configuration's own rules; only what was written, by names as texts."""
    if not keys:
        return {}
    from .config.keys import Eqd2
    from .config.reading import section_of

    return section_of(keys, Eqd2, f"{where}: eqd2").model_dump(exclude_unset=True)


def _levels(levels: object, where: str) -> list[Mapping[str, object]]:
    if not isinstance(levels, list):
        raise ConfigError(f"{where}: prescription must be a list of levels")
    for level in levels:
        if not isinstance(level, dict):
            raise ConfigError(f"{where}: a prescription level needs keys, found {level!r}")
        _check_keys(level, {"name", "roi", "dose_gy", "fractions"}, f"{where}: prescription")
        dose, fractions = level.get("dose_gy"), level.get("fractions")
        if not _is_positive(dose, float):
            raise ConfigError(
                f"{where}: prescription: dose_gy must be a dose in Gy, found {dose!r}"
            )
        if fractions is not None and not _is_positive(fractions, int):
            raise ConfigError(
                f"{where}: prescription: fractions must be a whole number, found {fractions!r}"
            )
    return levels


def _is_positive(value: object, kind: type) -> bool:
    numbers = int if kind is int else int | float
    is_number = isinstance(value, numbers) and not isinstance(value, bool)
    return is_number and 0 < value < math.inf


def _mapping(data: Mapping[str, object], key: str, where: str) -> dict:
    value = data.get(key) or {}
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: {key} must be keys and values, found {value!r}")
    return value


def _check_keys(data: Mapping[str, object], known: set[str], where: str) -> None:
    for key in data:
        if key not in known:
            near = get_close_matches(str(key), sorted(known), 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
            raise ConfigError(f"{where}: {key} is not a key; {hint}")


def _load(path: Path) -> dict:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        text = path.read_text(encoding="utf-8-sig")
        if all(line.lstrip()[:1] in ("", "#") for line in text.splitlines()):
            return {}  # the template as it was written: thousands of them are read at each run
        data = YAML(typ="safe", pure=True).load(text)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(data).__name__}")
    return data


def save_course_overrides(folder: Path, changes: Mapping[str, object]) -> None:
    """Put decisions into the `overrides.yaml` of a course: `changes` by key, an empty value undoes
    one. Everything else in the file stays, comments too.

    Raises `ConfigError` for decisions that no run would accept, and `OutputError` when the file
    cannot be written; it is then as it was.
    """
    from ruamel.yaml import YAML

    path = folder / OVERRIDES_FILE
    data = {**_load(path)} if path.exists() else {}
    data |= changes
    parse_overrides({key: value for key, value in data.items() if value}, str(path))
    yaml = YAML()
    yaml.width = 10_000  # no line is broken
    text = path.read_text(encoding="utf-8-sig") if path.exists() else TEMPLATE
    kept = yaml.load(text)
    comments = text if kept is None else ""
    kept = {} if kept is None else kept
    for key, value in changes.items():
        if value:
            kept[key] = value
        else:
            kept.pop(key, None)
    stream = io.StringIO()
    if kept:
        yaml.dump(kept, stream)
    write_text(path, comments + stream.getvalue())
