"""A program that is kept to certain processors, and one that asks for what is not there."""

from __future__ import annotations

import argparse
import os

import pytest

from edge.arguments import processors
from edge.errors import InputError
from edge.processors import pin

linux = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system knows no affinity")


@pytest.fixture
def allowed():
    before = os.sched_getaffinity(0)
    yield before
    os.sched_setaffinity(0, before)


@linux
def test_the_program_runs_on_the_processors_it_was_given(allowed):
    one = {max(allowed)}
    pin(one)
    assert os.sched_getaffinity(0) == one


@linux
@pytest.mark.parametrize("more", [{4095}, {4095, 4094}])
def test_a_processor_that_is_not_there_is_refused_and_nothing_has_changed(allowed, more):
    for wanted in (more, {min(allowed), *more}):
        with pytest.raises(InputError, match=r"processor .*4095 cannot be had") as caught:
            pin(wanted)
        assert str(min(allowed)) in caught.value.hint
        assert os.sched_getaffinity(0) == allowed


def test_a_system_without_affinity_says_so(monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    with pytest.raises(InputError, match="this system"):
        pin({0})


def test_lists_of_processors():
    assert processors("0") == {0}
    assert processors("0,2-4,3") == {0, 2, 3, 4}
    for text in ("", "a", "1-", "-1", "3-1", "0,", "1-2-3", "99999999", "0-99999999999"):
        with pytest.raises((ValueError, argparse.ArgumentTypeError)):
            processors(text)
