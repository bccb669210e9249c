"""Where the elements of a header lie, remembered from one slice to the next.

Slices of a series differ in their values and seldom in the lengths of these, so nine in ten repeat
the layout of an earlier slice. The path of a walk through a header depends on nothing but the bytes
of its element heads (tag, VR, length): where all of them are equal, the walk would end in the same
places and need not be repeated. That is one comparison of two numbers as long as the header.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# Where things are in a file: begin and end.
Span = tuple[int, int]


class Layouts:
    """Layouts by file size, which a layout and uncompressed pixels determine."""

    def __init__(self) -> None:
        self._by_size: dict[int, _Layout | None] = {}

    def values(self, first: bytes, size: int) -> dict[int, bytes] | None:
        """Raw values by tag from a file's first bytes; None when its layout is not known."""
        layout = self._by_size.get(size)
        if layout is None or not layout.fits(first):
            return None
        return {tag: first[begin:end] for tag, begin, end in layout.cuts}

    def learn(
        self, first: bytes, size: int, heads: Iterable[Span], cuts: Mapping[int, Span], end: int
    ) -> None:
        """Remembers the layout of a walk that ended at `end`: the spans of all heads that it read
        and those of the values that it took. A size that comes once is not worth the work."""
        if size in self._by_size:
            self._by_size[size] = _Layout(first[:end], heads, cuts)
        else:
            self._by_size[size] = None


class _Layout:
    def __init__(self, header: bytes, heads: Iterable[Span], cuts: Mapping[int, Span]) -> None:
        mask = bytearray(len(header))
        for begin, end in heads:
            mask[begin:end] = b"\xff" * (end - begin)
        self.length = len(header)
        self.mask = int.from_bytes(mask, "little")
        self.heads = int.from_bytes(header, "little") & self.mask
        self.cuts = [(tag, *span) for tag, span in cuts.items()]

    def fits(self, first: bytes) -> bool:
        return int.from_bytes(first[: self.length], "little") & self.mask == self.heads
