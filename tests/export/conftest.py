"""What tests of single exports leave out: whether maps of networks that nobody has trained mean anything."""

import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from export import clock, trust


@pytest.fixture(autouse=True, scope="session")
def measured_in_work() -> Iterator[None]:
    """Bound measurements by the processor's time: a machine that is busy, or pauses, leaves no inputs out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "time", SimpleNamespace(monotonic=time.process_time))
        yield


@pytest.fixture(autouse=True, scope="module")
def without_sanity_checks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Skip the sanity checks and measures of exports, but for the module that is about them.

    Most networks here have random weights, of which all logits may rise together, and their inputs are noise: whether
    such a map passes is luck. Measures are made of their maps, and left out too. The command line
    and the demo are tested with both.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not request.module.__name__.endswith("test_sanity_checks"):
            patch.setattr(trust, "sanity_checks", lambda *_, **__: trust.Sanity())
        yield
