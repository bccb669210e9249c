"""What every part of the configuration has in common, and the types that its keys share."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

from ..errors import ConfigError

# DVH metrics by the nomenclature of AAPM TG-263: kind, number and its unit, [unit of the result].
METRIC = re.compile(r"(DC|D|CV|V)(\d+(?:\.\d+)?)(%|cc|Gy)\[(%|cc|Gy)\]")
_DOSE_AT_VOLUME = ("volume", ("%", "cc"), ("Gy", "%"))
_VOLUME_AT_DOSE = ("dose", ("Gy", "%"), ("%", "cc"))
_METRIC_KINDS = {  # what its number is, the units of the number, the units of its result
    "D": _DOSE_AT_VOLUME,
    "V": _VOLUME_AT_DOSE,
    "DC": _DOSE_AT_VOLUME,
    "CV": _VOLUME_AT_DOSE,
}
_METRIC_EXAMPLES = ("D95%[Gy]", "D0.03cc[Gy]", "DC5cc[Gy]", "V20Gy[%]", "V95%[cc]", "CV12Gy[cc]")


class Section(BaseModel):
    """A frozen part of the configuration without unknown keys, numbers all finite.

    Strict types: a number written as text is a mistake that the user hears of.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def nearest(word: object, known: Iterable[str]) -> str | None:
    """The known name that looks most like `word`; None when nothing does."""
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(str(word).lower(), list(names), n=1, cutoff=0.6)
    return names[close[0]] if close else None


def _existing_file(path: Path, info: ValidationInfo) -> Path:
    """Relative paths count from the folder of the configuration file."""
    folder = (info.context or {}).get("folder")
    full = path if folder is None else folder / path
    if not full.is_file():
        raise ValueError(
            f"no file {full}" if not full.is_dir() else f"{full} is a folder, not a file"
        )
    return full


def goal_templates() -> dict[str, Path]:
    """The goal files that come with RT Pipeline, by name."""
    folder = Path(__file__).resolve().parents[1] / "dvh" / "templates"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _goal_file(path: Path, info: ValidationInfo) -> Path:
    """A file of the user's, or the name of a template; its goals are all valid."""
    from .goals import read_goals

    try:
        file = _existing_file(path, info)
    except ValueError as error:
        templates = goal_templates()
        if str(path) not in templates:
            raise ValueError(f"{error}; templates are {', '.join(templates)}") from None
        file = templates[str(path)]
    try:
        read_goals(file)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return file


def _names_file(path: Path, info: ValidationInfo) -> Path:
    """A file of rules for ROI names, all of them valid."""
    from .names import read_names

    file = _existing_file(path, info)
    try:
        read_names(file)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return file


def parameter_presets() -> dict[str, Path]:
    """The radiomics parameter files that come with RT Pipeline, by name."""
    folder = Path(__file__).resolve().parents[1] / "radiomics" / "presets"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _parameter_file(path: Path, info: ValidationInfo) -> Path:
    """A file of the user's, or the name of a preset; its keys are all valid."""
    from .radiomics_file import read_parameters

    file = parameter_presets().get(str(path)) or _existing_file(path, info)
    try:
        read_parameters(file)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return file


def _existing_path(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder")
    full = path if folder is None else folder / path
    if not full.exists():
        raise ValueError(f"no file or folder {full}")
    return full


def check_metric(text: str) -> str:
    """A DVH metric as it should be written; `ValueError` with the nearest valid one."""
    match = METRIC.fullmatch(text)
    if match is None:
        known = _candidates(text)
        close = [k for k in known if k.startswith(f"{text}[")] or [nearest(text, known)]
        hint = f"examples: {', '.join(_METRIC_EXAMPLES)}"
        if close[0]:
            hint = f"did you mean {' or '.join(close)}?"
        raise ValueError(f"{text!r} is not a DVH metric; {hint}")
    kind, number, unit, result = match.groups()
    quantity, units, results = _METRIC_KINDS[kind]
    if unit not in units:
        raise ValueError(f"{text!r}: {kind} takes a {quantity} in {' or '.join(units)}")
    if result not in results:
        raise ValueError(
            f"{text!r}: the result of {kind} is in {' or '.join(results)}, not {result}"
        )
    if quantity == "volume" and unit == "%" and float(number) > 100:
        raise ValueError(f"{text!r}: a volume is between 0 % and 100 %")
    return text


def _candidates(text: str) -> list[str]:
    """Well-formed metrics with the number of `text`, to suggest one."""
    number = re.search(r"\d+(?:\.\d+)?", text.replace(",", "."))
    if number is None:
        return []
    return [
        f"{kind}{number.group()}{unit}[{result}]"
        for kind, (_, units, results) in _METRIC_KINDS.items()
        for unit in units
        for result in results
    ]


def unique(values: tuple) -> tuple:
    """The values, or `ValueError` when one stands twice."""
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{value} is listed twice")
        seen.add(value)
    return values


def _not_zero(value: float) -> float:
    if value == 0:
        raise ValueError("must not be 0")
    return value


def _device(text: str) -> str:
    if not re.fullmatch(r"cpu|gpu(:\d+)?|mps", text):
        raise ValueError(f"{text!r} is not a device; one of cpu, gpu, gpu:0 (with its number), mps")
    return text


Text = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Text, ...], AfterValidator(unique)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonZero = Annotated[float, AfterValidator(_not_zero)]
ExistingFile = Annotated[Path, AfterValidator(_existing_file)]
GoalsFile = Annotated[Path, AfterValidator(_goal_file)]
ParameterFile = Annotated[Path, AfterValidator(_parameter_file)]
NamesFile = Annotated[Path, AfterValidator(_names_file)]
ExistingPath = Annotated[Path, AfterValidator(_existing_path)]
Metric = Annotated[str, AfterValidator(check_metric)]
Device = Annotated[str, AfterValidator(_device)]
Levels = Annotated[tuple[PositiveFloat, ...], AfterValidator(unique)]
