"""Standard names of ROIs: by a person's decision, by the user's rules, by AAPM TG-263.

Applied is only what leaves no choice: a decision, a rule of the user's file, a name of the table or
another spelling of it (case, separators, order, side words, the table's own synonyms). What merely
looks alike is offered and never applied. A name that states a side never gets, nor is it offered,
the name of the other one.

The table holds the names of AAPM TG-263 (Mayo et al., Int J Radiat Oncol Biol Phys 100 (2018) 1057;
AAPM Report 263), in its published spelling (`Colon_Decending`, `Hypothalmus`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import cached_property

from .name_words import BOTH, LEFT, RIGHT, Words, read_words
from .target_names import is_target_name, standard_target, suggested_targets

DECIDED, EXACT, PATTERN, SYNONYM = "decided", "exact", "pattern", "synonym"
TG263, TG263_SPELLING = "tg263", "tg263-spelling"

SUGGESTIONS = 3
ALIKE = 0.75  # least likeness (difflib's ratio) of a name that is offered
SHORTEST_WORD = 4  # a shorter word in common says nothing

# Optimisation helpers and the like, which are nobody's organ.
_NOT_FOR_EVALUATION = re.compile(r"_|z[A-Z_]")
_QUALIFIER = re.compile(r"~|\^.*$")  # TG-263: partly drawn; free text
_PRV = re.compile(r"(.+?) ?prv ?(\d{1,2})?(?: ?mm)?")
_SIDE_ENDS = {LEFT: "_L", RIGHT: "_R"}


@dataclass(frozen=True)
class NameRow:
    """One row of the table: `name` for `<name>_L` and `<name>_R` when `paired`, `both` what the two
    together are called, `also` other names of the same thing."""

    name: str
    paired: bool = False
    both: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class NameRule:
    """One rule of the user: `kind` exact (the whole name, case aside), pattern (a regular
    expression found in it, case aside) or synonym (spelt in any way), and the `standard` name."""

    kind: str
    text: str
    standard: str


@dataclass(frozen=True)
class NameMatch:
    """What became of one ROI name: its standard name and how it was found (both empty: not at all),
    what stood against it, and what else it may be."""

    name: str
    standard: str = ""
    how: str = ""
    conflicts: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Candidate:
    name: str
    side: str
    words: Words


class StandardNames:
    """A table of standard names, searched by spelling.

    Raises `ValueError` when two of its names, or a name and a synonym, are spelt alike.
    """

    def __init__(self, rows: Sequence[NameRow]) -> None:
        self.rows = {row.name: row for row in rows}
        self.paired_keys = frozenset(
            key
            for row in rows
            if row.paired
            for text in (row.name, *row.also)
            for key in read_words(text).keys
        )
        self.sides: dict[str, str] = {}
        self._folded: dict[str, str] = {}
        self._found: dict[tuple[str, str], str] = {}
        for row in rows:
            self._add(row)

    def _add(self, row: NameRow) -> None:
        texts = (row.name, *row.also)
        if not row.paired:
            self._enter(row.name, self.side_of(row.name), texts)
            return
        for side, end in _SIDE_ENDS.items():
            self._enter(row.name + end, side, texts)
        if row.both:
            self._enter(row.both, "", (row.both,))
            for text in (*texts, row.both):
                self._key(BOTH, read_words(text), row.both)

    def _enter(self, name: str, side: str, texts: Iterable[str]) -> None:
        self.sides[name] = side
        self._folded[name.casefold()] = name
        if "-" in name:  # a difference (Lungs-PTV) is only itself: the order of its words matters
            return
        for text in texts:
            words = read_words(text, self.paired_keys)
            if words.side and side and words.side != side:
                raise ValueError(f"{text!r} states another side than {name}")
            self._key(side or words.side, words, name)

    def _is_suffixed(self, name: str) -> bool:
        row = self.rows.get(name[:-2])
        return row is not None and row.paired

    def _key(self, side: str, words: Words, name: str) -> None:
        for key in words.keys:
            known = self._found.setdefault((side, key), name)
            if known != name:
                raise ValueError(f"{known} and {name} are both spelt {key!r}")

    # -- looking up -------------------------------------------------------------------------------

    def side_of(self, name: str) -> str:
        """The side (`L`, `R` or empty) of a standard name, known to the table or not."""
        if name in self.sides:
            return self.sides[name]
        side = read_words(name, self.paired_keys).side
        return side if side in _SIDE_ENDS else ""

    def find(self, name: str) -> str:
        """The standard name that this is a spelling of; empty when it is none."""
        if _NOT_FOR_EVALUATION.match(name):
            return ""
        if is_target_name(name):
            return standard_target(name, self._folded)
        plain = _QUALIFIER.sub("", name)
        if plain != name:  # a name with a qualifier is another structure: itself, or nothing
            return name if self.find(plain) == plain else ""
        if name.casefold() in self._folded:
            return self._folded[name.casefold()]
        words = read_words(name, self.paired_keys)
        return self._of(words) or self._prv(words)

    def _of(self, words: Words) -> str:
        found = {self._found.get((words.side, key)) for key in words.keys} - {None}
        return found.pop() if len(found) == 1 else ""

    def _prv(self, words: Words) -> str:
        """A planning organ at risk volume, `SpinalCord_PRV05`: its organ, PRV, mm, its side."""
        match = _PRV.fullmatch(" ".join(words.words))
        if match is None:
            return ""
        base = tuple(match[1].split())
        organ = self._of(Words(base, words.side, base))
        if not organ:
            return ""
        mark = "_PRV" + (f"{int(match[2]):02d}" if match[2] else "")
        if self._is_suffixed(organ):
            return organ[:-2] + mark + organ[-2:]
        return organ + mark

    # -- offering ---------------------------------------------------------------------------------

    @cached_property
    def _candidates(self) -> tuple[_Candidate, ...]:
        texts: dict[str, list[str]] = defaultdict(list)
        for row in self.rows.values():
            names = [row.name + end for end in _SIDE_ENDS.values()] if row.paired else [row.name]
            for name in names:
                texts[name] += [row.name, *row.also]
            if row.both:
                texts[row.both].append(row.both)
        return tuple(
            _Candidate(name, self.sides[name], read_words(text, self.paired_keys))
            for name, spellings in texts.items()
            for text in spellings
        )

    def suggest(self, name: str) -> tuple[str, ...]:
        """Standard names that look like this one, the likest first; all of its own side."""
        if is_target_name(name):
            return suggested_targets(name)
        words = read_words(name, self.paired_keys)
        if not words.words:
            return ()
        side = words.side if words.side in _SIDE_ENDS else ""
        scores: dict[str, float] = {}
        for candidate in self._candidates:
            if candidate.side == side:
                score = _likeness(words, candidate.words)
                scores[candidate.name] = max(score, scores.get(candidate.name, 0.0))
        alike = sorted((-score, name) for name, score in scores.items() if score >= ALIKE)
        return tuple(name for _, name in alike[:SUGGESTIONS])


def _likeness(words: Words, other: Words) -> float:
    """0..1: equal letters, or words in common when all words of one name stand in the other."""
    ours, theirs = set(words.words), set(other.words)
    if (ours <= theirs or theirs <= ours) and max(map(len, ours & theirs), default=0) >= (
        SHORTEST_WORD
    ):
        return ALIKE + (1 - ALIKE) * len(ours & theirs) / len(ours | theirs)
    matcher = SequenceMatcher(None, "".join(words.words), "".join(other.words), autojunk=False)
    if matcher.real_quick_ratio() < ALIKE or matcher.quick_ratio() < ALIKE:
        return 0.0
    return matcher.ratio()


@dataclass(frozen=True, eq=False)
class Naming:
    """How ROIs of one structure set get their standard names.

    `decided` holds a person's decisions, `rules` those of the user's file. Among the rules an exact
    one settles what patterns and synonyms say.
    """

    table: StandardNames
    rules: tuple[NameRule, ...] = ()
    decided: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _synonyms(self) -> tuple[tuple[NameRule, StandardNames], ...]:
        """Each synonym as a table of its own, that also knows the sides of a paired organ."""
        found = []
        for rule in self.rules:
            if rule.kind == SYNONYM:
                row = self.table.rows.get(rule.standard, NameRow(rule.standard))
                own = NameRow(row.name, row.paired, row.both, (rule.text,))
                found.append((rule, StandardNames([own])))
        return tuple(found)

    def match(self, name: str) -> NameMatch:
        """The standard name of an ROI."""
        plain = name.strip()
        if plain in self.decided or name in self.decided:
            standard = self.decided.get(name) or self.decided.get(plain, "")
            return NameMatch(name, standard, DECIDED, tuple(self._contradiction(plain, standard)))
        conflicts: list[str] = []
        for kinds in ((EXACT,), (PATTERN, SYNONYM)):
            hits = self._hits(plain, kinds, conflicts)
            if len(hits) > 1:
                conflicts.append(f"rules disagree: {', '.join(sorted(hits))}")
                return NameMatch(name, conflicts=tuple(conflicts), suggestions=tuple(sorted(hits)))
            for standard, kind in hits.items():
                return NameMatch(name, standard, kind, tuple(conflicts))
        standard = self.table.find(plain)
        if standard:
            how = TG263 if standard == plain else TG263_SPELLING
            return NameMatch(name, standard, how, tuple(conflicts))
        return NameMatch(name, "", "", tuple(conflicts), self.table.suggest(plain))

    def _hits(self, name: str, kinds: Sequence[str], conflicts: list[str]) -> dict[str, str]:
        """Standard names by rules of these kinds. A pattern or synonym against the side that the
        name states is no hit but a conflict; an exact rule names this very ROI and may correct
        it."""
        hits: dict[str, str] = {}
        for rule, standard in self._results(name, kinds):
            contradiction = self._contradiction(name, standard)
            conflicts += contradiction
            if not contradiction or rule.kind == EXACT:
                hits.setdefault(standard, rule.kind)
        return hits

    def _results(self, name: str, kinds: Sequence[str]) -> Iterable[tuple[NameRule, str]]:
        for rule in self.rules:
            if rule.kind not in kinds:
                continue
            if rule.kind == EXACT and rule.text.strip().casefold() == name.casefold():
                yield rule, rule.standard
            if rule.kind == PATTERN and re.search(rule.text, name, re.IGNORECASE):
                yield rule, rule.standard
        if SYNONYM in kinds:
            for rule, own in self._synonyms:
                standard = own.find(name)
                if standard:
                    yield rule, standard

    def _contradiction(self, name: str, standard: str) -> list[str]:
        stated = read_words(name, self.table.paired_keys).side
        side = self.table.side_of(standard)
        if stated and side and stated != side:
            return [f"{name!r} states another side than {standard}"]
        return []


def shared_names(matches: Iterable[NameMatch]) -> dict[str, tuple[str, ...]]:
    """Standard names that several ROIs of one structure set have, with these ROIs."""
    rois: dict[str, list[str]] = defaultdict(list)
    for match in matches:
        if match.standard:
            rois[match.standard].append(match.name)
    return {standard: tuple(names) for standard, names in rois.items() if len(names) > 1}
