"""Names of folders that every file system takes."""

from __future__ import annotations

import hashlib
import re

_UNCHANGED = re.compile(r"[A-Z0-9][A-Z0-9_-]{0,31}")
_HASHED_ENDING = re.compile(r".*-[0-9A-F]{8}")
_RESERVED = {"CON", "PRN", "AUX", "NUL", "RESULTS", "LOGS", "CLUSTER"} | {
    f"{port}{digit}" for port in ("COM", "LPT") for digit in range(10)
}


def folder_name(text: str, limit: int = 40) -> str:
    """A name for a folder that is safe on every file system and different for different texts.

    Short upper-case identifiers stay as they are. Everything else becomes ASCII letters, digits,
    `_` and `-`, cut to fit, and ends with `-` and 8 hex digits of the text's SHA-256, so that texts
    that differ in case, accents, spaces or beyond `limit` stay apart on case-insensitive systems
    too. Never a separator, a dot, a device name of Windows or a folder name of RT Pipeline's own.
    Raises `ValueError` for an empty text.
    """
    if not text:
        raise ValueError("an empty text is no name for a folder")
    plain_enough = _UNCHANGED.fullmatch(text) and len(text) <= limit
    if plain_enough and text not in _RESERVED and not _HASHED_ENDING.fullmatch(text):
        return text
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_-")[: limit - 9].rstrip("_-")
    return f"{stem or 'x'}-{mark}"
