"""How a source is named, and what is said of a name that is not right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import spec
from edge.errors import InputError


@dataclass(frozen=True)
class Options:
    rate: float | None = None
    baud: int = 115200
    seed: int = 0
    retry: bool = True
    columns: tuple[str, ...] = ()
    label: str | None = None
    format: Literal["text", "binary"] = "text"


def read(query):
    return spec.read_options(Options, spec.parse(f"serial:/dev/ttyACM0?{query}"))


def test_a_spec_has_a_scheme_a_location_and_options():
    found = spec.parse("csv:C:/data/a%3Fb.csv?rate=250&columns=ax,ay&label=a%26b")
    assert (found.scheme, found.location) == ("csv", "C:/data/a?b.csv")
    assert found.options == {"rate": "250", "columns": "ax,ay", "label": "a&b"}
    assert spec.parse("npz:x.npz") == spec.Spec("npz", "x.npz", {})


def test_options_have_types_and_defaults():
    assert read("") == Options()
    assert read("rate=12.5&baud=9600&retry=no&columns=a, b&label=x&format=binary&seed=0") == Options(
        12.5, 9600, 0, False, ("a", "b"), "x", "binary"
    )


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("speed=3", "it has rate, baud, seed, retry, columns, label, format"),
        ("rate=fast", "option rate='fast' is not a number"),
        ("rate=0", "a number above 0"),
        ("rate=nan", "a number above 0"),
        ("rate=inf", "a number above 0"),
        ("baud=9600.5", "a whole number"),
        ("baud=-1", "a whole number above 0"),
        ("seed=-1", "a whole number of 0 or more"),
        ("retry=true", "one of yes, no"),
        ("columns=a,,b", "a list with commas"),
        ("format=json", "one of text, binary"),
        ("rate", "'rate' has no value"),
        ("rate=", "'rate' has no value"),
        ("rate=1&rate=2", "'rate' is given twice"),
    ],
)
def test_an_option_that_is_not_right_is_refused_by_name(query, said):
    with pytest.raises(InputError) as caught:
        read(query)
    assert said in str(caught.value)
    assert caught.value.hint


@given(st.text())
def test_any_text_is_a_spec_or_an_input_error(text):
    try:
        spec.read_options(Options, spec.parse(text))
    except InputError as error:
        assert error.hint
