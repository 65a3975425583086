"""How a source is named: ``SCHEME:LOCATION?OPTION=VALUE&OPTION=VALUE``, percent-encoded as a URL is."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any, TypeVar
from urllib.parse import unquote

from edge.errors import InputError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Spec:
    """A source as it was asked for; ``options`` are still text."""

    scheme: str
    location: str
    options: dict[str, str]


def parse(text: str) -> Spec:
    """Return the parts of a spec; InputError where an option has no value or is given twice."""
    scheme, _, rest = text.partition(":")
    location, _, query = rest.partition("?")
    options: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, equals, value = pair.partition("=")
        if not equals or not value or name in options:
            raise InputError(
                f"{text!r}: option {name!r} {'is given twice' if name in options else 'has no value'}",
                "options are written SCHEME:LOCATION?NAME=VALUE&NAME=VALUE",
            )
        options[name] = unquote(value)
    return Spec(scheme, unquote(location), options)


def read_options(kind: type[T], spec: Spec) -> T:
    """Return the options of a spec as the dataclass ``kind``; InputError naming the one that is unknown or wrong.

    Numbers are above 0, or 0 too where that is their default; lists are separated by commas; ``bool`` is yes or no.
    """
    hints = typing.get_type_hints(kind)
    known = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values = {}
    for name, text in spec.options.items():
        if name not in known:
            there = f"it has {', '.join(known)}" if known else "it has none"
            raise InputError(f"source {spec.scheme}: has no option {name!r}", there)
        try:
            values[name] = _value(hints[name], text, least_is_zero=known[name].default == 0)
        except ValueError as error:
            raise InputError(
                f"{spec.scheme}:{spec.location}: option {name}={text!r} is not {error}",
                f"as in {spec.scheme}:...?{name}={_example(hints[name])}",
            ) from error
    return kind(**values)


def _value(hint: Any, text: str, *, least_is_zero: bool) -> Any:
    """Return ``text`` as the type ``hint``; ValueError saying what it should be."""
    hint = _without_none(hint)
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return _one_of(text, typing.get_args(hint))
    if origin is tuple:
        parts = tuple(part.strip() for part in text.split(","))
        if not all(parts):
            raise ValueError("a list with commas between its parts")
        return parts
    if hint is bool:
        return _one_of(text, ("yes", "no")) == "yes"
    if hint is str:
        return text
    what = "a whole number" if hint is int else "a number"
    try:
        number = hint(text)
    except (ValueError, OverflowError) as error:
        raise ValueError(what) from error
    if not (number > 0 or (least_is_zero and number == 0)) or number == math.inf:
        raise ValueError(f"{what} {'of 0 or more' if least_is_zero else 'above 0'}")
    return number


def _one_of(text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise ValueError(f"one of {', '.join(choices)}")
    return text


def _example(hint: Any) -> str:
    hint = _without_none(hint)
    if typing.get_origin(hint) is typing.Literal:
        return str(typing.get_args(hint)[0])
    return {bool: "yes", int: "3", float: "2.5", str: "name"}.get(hint, "1,2")


def _without_none(hint: Any) -> Any:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        (hint,) = (kind for kind in typing.get_args(hint) if kind is not types.NoneType)
    return hint
