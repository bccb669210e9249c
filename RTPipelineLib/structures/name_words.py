"""The words of ROI names: what is left and right, and what is only another spelling.

Systems and people write the same name as `Lung_L`, `LT LUNG`, `lung left` or `LungLt`. Here a name
becomes words in one spelling, and the side that it states. Nothing is guessed: a name that states
no side has none, a name that states both together (`Lung L+R`) has `BOTH`, and one that states
different sides in different places is `UNCLEAR`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass

LEFT, RIGHT, BOTH = "L", "R", "both"
UNCLEAR = "?"

_SIDES = {
    LEFT: "l lt left li links linke linker linkes sin sinister sinistra sinistro sx gauche izq "
    "izquierda izquierdo esquerda esquerdo",
    RIGHT: "r rt right re rechts rechte rechter rechtes dex dext dexter dextra dextro dx droit "
    "droite dcha derecha derecho direita direito destra destro",
    BOTH: "lr rl both bilat bilateral bilaterally beide beids",
}
SIDE_WORDS = {word: side for side, words in _SIDES.items() for word in words.split()}

# Names of parts that lie on one side without saying so.
_ONE_SIDED_PARTS = {"lll": LEFT, "lul": LEFT, "rll": RIGHT, "rml": RIGHT, "rul": RIGHT}

# Side words that people glue to an organ: LTLUNG, RPAROTID, lunglt.
_GLUED = {"left": LEFT, "right": RIGHT, "lt": LEFT, "rt": RIGHT, "l": LEFT, "r": RIGHT}
# A counted side, `lt2` or `r1`; not `l2`, which is a vertebra.
_COUNTED = re.compile(r"(left|right|lt|rt|r)\d+")

# One spelling for words that mean the same; on the right the words of AAPM TG-263.
_SPELLINGS = {
    "nerve": "nrv",
    "nerves": "nrv",
    "gland": "glnd",
    "glands": "glnd",
    "muscle": "musc",
    "muscles": "musc",
    "artery": "a",
    "vein": "v",
    "space": "spc",
    "cartilage": "cartlg",
    "process": "proc",
    "plexus": "plex",
    "plexuses": "plexs",
    "femoral": "femur",
    "submandibular": "submand",
    "sublingual": "subling",
    "constrictor": "constrict",
    "constrictors": "constrict",
    "vesicle": "ves",
    "vesicles": "ves",
    "vessel": "ves",
    "vessels": "ves",
    "oesophagus": "esophagus",
    "symphysis": "symphys",
    "lymphnode": "ln",
    "lymphnodes": "ln",
    "cervical": "cerv",
    "lumbar": "lum",
    "thoracic": "thor",
    "tumour": "tumor",
    "vertebra": "vb",
    "temporalis": "temporal",
    "optical": "optic",
}
_PAIRS_OF_WORDS = {("lymph", "node"): "ln", ("lymph", "nodes"): "ln", ("cranial", "nrv"): "cn"}

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[^\W_]+")
_LEADING_ZERO = re.compile(r"(?<!\d)0+(?=\d)")


@dataclass(frozen=True)
class Words:
    """A name as words: `words` without those that state a side, and the `side` that they state
    (`L`, `R`, `both`, `?` or empty). `spelt` are the same words as they were written."""

    words: tuple[str, ...]
    side: str
    spelt: tuple[str, ...]

    @property
    def keys(self) -> frozenset[str]:
        """Spellings by which two names are the same: run together, or whatever their order."""
        return frozenset(("".join(self.words), "".join(self.spelt), " ".join(sorted(self.words))))


def read_words(name: str, paired: Collection[str] = ()) -> Words:
    """The words of a name and the side that it states.

    `paired` are the keys of organs that exist on both sides: to them a side word may be glued
    (`LTLUNG`).
    """
    sides: list[set[str]] = [set()]  # one for each run of side words
    words: list[str] = []
    spelt: list[str] = []
    for token in _tokens(name):
        if token in SIDE_WORDS:
            sides[-1].add(SIDE_WORDS[token])
            continue
        side, organ = _unglued(token, paired)
        counted = _COUNTED.fullmatch(token)
        if counted:
            side = LEFT if token.startswith("l") else RIGHT
        sides += [{side or _ONE_SIDED_PARTS.get(token, "")}, set()]
        words.append(_SPELLINGS.get(organ, organ))
        spelt.append(organ)
    return Words(_joined_pairs(words), _one_side(sides), tuple(spelt))


def _one_side(runs: Iterable[set[str]]) -> str:
    """The side that runs of side words state."""
    stated = [run - {""} for run in runs]
    found = {BOTH if len(run) > 1 else next(iter(run)) for run in stated if run}
    if len(found) > 1:
        return UNCLEAR
    return found.pop() if found else ""


def _tokens(name: str) -> list[str]:
    """Runs of letters and digits, cut where a small letter meets a capital, in one case."""
    plain = unicodedata.normalize("NFKD", name)
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    found = []
    for word in _WORD.findall(plain):
        parts = [part.casefold() for part in _CAMEL.sub(" ", word).split()]
        found += [_LEADING_ZERO.sub("", part) for part in parts]
    return found


def _unglued(token: str, paired: Collection[str]) -> tuple[str, str]:
    """(side, organ) of a token such as `ltlung`; ("", token) when nothing is glued to it."""
    if token in paired:
        return "", token
    found = set()
    for word, side in _GLUED.items():
        for rest in (token.removeprefix(word), token.removesuffix(word)):
            if rest != token and rest in paired:
                found.add((side, rest))
    return found.pop() if len(found) == 1 else ("", token)


def _joined_pairs(words: list[str]) -> tuple[str, ...]:
    joined: list[str] = []
    for word in words:
        pair = _PAIRS_OF_WORDS.get((joined[-1], word)) if joined else None
        if pair:
            joined[-1] = pair
        else:
            joined.append(word)
    return tuple(joined)
