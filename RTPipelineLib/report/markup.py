"""HTML and SVG put together so that no text can become markup by accident."""

from __future__ import annotations

import re
from html import escape

_NOT_IN_HTML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML already. Everything else is escaped when it is put into an element."""

    __slots__ = ()


Content = str | int | None


def text(content: Content) -> Markup:
    """`content` as HTML: markup as it is, None as nothing, anything else escaped.

    Characters that HTML does not allow become U+FFFD.
    """
    if isinstance(content, Markup):
        return content
    if content is None:
        return Markup("")
    return Markup(escape(_NOT_IN_HTML.sub("\ufffd", str(content)), quote=True))


def element(tag: str, *children: Content, **attributes: Content) -> Markup:
    """`<tag ...>children</tag>`; attributes that are None are left out.

    `class_` writes `class`, `aria_label` writes `aria-label`. Void elements have no children.
    """
    pairs = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{text(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in ("meta", "link", "br", "hr"):
        return Markup(f"<{tag}{pairs}>")
    return Markup(f"<{tag}{pairs}>{''.join(text(child) for child in children)}</{tag}>")


def joined(*parts: Content) -> Markup:
    """Several pieces one after another, on lines of their own."""
    return Markup("\n".join(text(part) for part in parts))
