"""Pieces of HTML in which every text is escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape


class Markup(str):
    """Text that is HTML already; all else is escaped where it is put in."""

    __slots__ = ()


def text(value: object) -> str:
    """Return what may stand between tags and in attributes."""
    return value if isinstance(value, Markup) else escape(str(value))


def name_of(method: str) -> Markup:
    """Return a method's name, which may be broken where words are."""
    return Markup("_<wbr>".join(text(word) for word in method.split("_")))


def element(tag: str, *content: object, **attributes: object) -> Markup:
    """Return an element; ``class_`` is its class, attributes that are None are left out."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{written}>{''.join(map(text, content))}</{tag}>")


def section(title: str, *content: object) -> Markup:
    """Return a section with its heading, or nothing where there is nothing to say."""
    said = [part for part in content if part]
    return Markup(element("section", element("h2", title), *said) + "\n") if said else Markup()


def table(head: Sequence[object], rows: Iterable[Sequence[object]], words: Sequence[int] = ()) -> Markup:
    """Return a table whose first column heads its rows, in a box that scrolls where it is too wide.

    Columns hold numbers but for the first and ``words``. Cells say which column they are of, for narrow screens.
    """

    def cell(column: int, value: object) -> Markup:
        if not column:
            return element("th", value, scope="row")
        return element("td", value, class_="text" if column in words else None, data_of=head[column] if head else None)

    body = "".join(element("tr", *(cell(i, value) for i, value in enumerate(row))) + "\n" for row in rows)
    tops = (element("th", name, class_="text" if i in words else None, scope="col") for i, name in enumerate(head))
    top = element("thead", element("tr", *tops)) if head else ""
    return Markup(element("table", top, element("tbody", Markup(body)), class_=None if head else "facts") + "\n")


def picture(png: bytes, alternative: str, **attributes: object) -> Markup:
    """Return an image that carries its own bytes."""
    written = "".join(f' {name.rstrip("_")}="{escape(str(value))}"' for name, value in attributes.items())
    return Markup(f'<img alt="{escape(alternative)}" src="{source(png)}"{written}>')


def source(png: bytes) -> str:
    """Return the address of a picture that is the picture itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
