"""The keys of structures: names, derived structures, and shape between contours."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from ..errors import UsageError
from .section import NamesFile, Section, Text, unique

# A larger one is a mistake of units, and the space around it would fill the memory.
Margin = Annotated[float, Field(ge=-100, le=100)]


class SixMargins(Section):
    """Margins in mm, up to 100; negative ones shrink."""

    left: Margin = 0.0
    right: Margin = 0.0
    anterior: Margin = 0.0
    posterior: Margin = 0.0
    superior: Margin = 0.0
    inferior: Margin = 0.0


def _one_or_six(value: object) -> str:
    return "six" if isinstance(value, dict | SixMargins) else "one"


def _name_or_expression(value: object) -> str:
    return "expression" if isinstance(value, dict | Expression) else "name"


def _different(sources: tuple[str | Expression, ...]) -> tuple[str | Expression, ...]:
    unique(tuple(source for source in sources if isinstance(source, str)))
    return sources


class Expression(Section):
    """Structures combined, then given a margin, then clipped."""

    operation: Literal["union", "intersection", "subtract", "xor", "crop"] = Field(
        "union",
        description="how the sources are combined; subtract takes all others from the first, crop "
        "keeps what of the first lies between the ends of all others from feet to head",
    )
    sources: Annotated[tuple[Source, ...], Field(min_length=1), AfterValidator(_different)] = Field(
        description="ROI names, standard names, other derived structures, or expressions with the "
        "same keys but name"
    )
    margin_mm: Annotated[
        Annotated[Margin, Tag("one")] | Annotated[SixMargins, Tag("six")],
        Discriminator(_one_or_six),
    ] = Field(0.0, description="one margin, or six directions, around the combined sources")
    within: Source | None = Field(None, description="clip the result to this structure")
    minus: Source | None = Field(None, description="take this structure from the result")

    @model_validator(mode="after")
    def _landmarks(self) -> Expression:
        if self.operation == "crop" and len(self.sources) < 2:
            raise ValueError("crop needs a structure and at least one landmark as sources")
        return self

    @property
    def names(self) -> set[str]:
        """All names that it needs, however deep."""
        parts = [*self.sources, *(p for p in (self.within, self.minus) if p is not None)]
        return set().union(*({p} if isinstance(p, str) else p.names for p in parts))


Source = Annotated[
    Annotated[Text, Tag("name")] | Annotated[Expression, Tag("expression")],
    Discriminator(_name_or_expression),
]


class Derived(Expression):
    """A structure made from others."""

    name: Text = Field(description="name of the new structure")


Expression.model_rebuild()
Derived.model_rebuild()


def _derivable(derived: tuple[Derived, ...]) -> tuple[Derived, ...]:
    unique(tuple(item.name for item in derived))
    try:
        TopologicalSorter({item.name: item.names for item in derived}).prepare()
    except CycleError as error:
        path = " <- ".join(error.args[1])
        raise ValueError(f"derived structures need each other in a circle: {path}") from None
    return derived


class StructureKeys(Section):
    """Names and shapes of structures."""

    names: NamesFile | None = Field(
        None,
        description="YAML that maps ROI names to standard names: exact, patterns (regular "
        "expressions), synonyms, and the same under sites. Names of AAPM TG-263 in any spelling "
        "are known without it",
    )
    derived: Annotated[tuple[Derived, ...], AfterValidator(_derivable)] = Field(
        (),
        description="structures made from others, each with name, operation (union, intersection, "
        "subtract, xor, crop), sources, and on request margin_mm (one number or left, right, "
        "anterior, posterior, superior, inferior), within, minus; a source may be such an "
        "expression itself. `rtpipeline config --derived REGION` prints examples",
        examples=[
            "- {name: PTV_eval, operation: intersection, sources: [PTV, BODY], margin_mm: -3}"
        ],
    )
    end_caps: Literal["half-slice", "none", "adaptive"] = Field(
        "half-slice",
        description="how far a structure reaches beyond its end contours: half a slice, not at "
        "all, or by the trend of its last cross-sections",
    )
    between_planes: Literal["interpolate", "slab"] = Field(
        "interpolate",
        description="shape between contour planes; slab repeats each contour over its slice, as "
        "some planning systems do",
    )
    voxelise: Literal["coverage", "centre"] = Field(
        "coverage",
        description="a voxel belongs to a label when at least half of it is covered, or when its "
        "centre is inside",
    )
    tolerance_mm: Annotated[float, Field(ge=0)] = Field(
        3.0, description="mm, of surface Dice where two sources of a structure are compared"
    )


def derived_templates() -> dict[str, Path]:
    """The files of examples that come with RT Pipeline, by body region."""
    folder = Path(__file__).resolve().parents[1] / "structures" / "templates"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def derived_template(region: str) -> str:
    """The examples for a body region, to be put into a configuration and adapted. Raises
    `UsageError` for an unknown region."""
    known = derived_templates()
    if region not in known:
        raise UsageError(
            f"there are no derived structures for {region!r}; there are for {', '.join(known)}"
        )
    return known[region].read_text(encoding="utf-8")
