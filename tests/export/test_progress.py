"""What an export shows of itself while it works, and that its measurements end in time."""

import io
import threading
from types import SimpleNamespace

import pytest

from export import progress as module
from export.clock import within
from export.progress import StageLines
from tests.link import wait_for


@pytest.fixture
def now(monkeypatch):
    """The time, in a list, to be set."""
    now = [0.0]
    for name in ("export.progress.time", "export.clock.time"):
        monkeypatch.setattr(name, SimpleNamespace(monotonic=lambda: now[0]))
    return now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_plain_lines_where_nobody_looks():
    stream = io.StringIO()
    with StageLines(stream) as progress:
        progress("reading")
        progress("checking")
    lines = stream.getvalue().splitlines()
    assert [line.split("s  ")[1] for line in lines] == ["reading", "checking"]
    assert "\r" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_sees_the_seconds_pass(monkeypatch, now):
    monkeypatch.setattr(module, "_TICK_S", 0.01)
    stream, before = Terminal(), set(threading.enumerate())
    with StageLines(stream) as progress:
        (ticking,) = set(threading.enumerate()) - before
        progress("reading")
        now[0] = 0.1
        wait_for(lambda: "0.1 s  reading ..." in stream.getvalue())  # it counts on while the stage runs
        now[0] = 0.2
        progress("checking")
    shown = stream.getvalue()
    assert "0.2 s  reading\n" in shown  # what the stage took stays
    assert shown.rstrip("\n").endswith("s  checking")
    ticking.join(60)
    assert not ticking.is_alive()
    assert stream.getvalue() == shown, "it goes on drawing after its end"


def test_a_stage_that_fails_leaves_a_line_of_its_own():
    stream = Terminal()
    with pytest.raises(ValueError, match="no"), StageLines(stream) as progress:
        progress("reading")
        raise ValueError("no")
    assert stream.getvalue().endswith("reading\n")


def test_measuring_stops_before_an_item_that_would_not_end_in_time(now):
    done = 0
    for _ in within(0.5, range(100), at_least=1):
        now[0] += 0.2
        done += 1
    assert done == 2


def test_measuring_never_measures_nothing():
    assert list(within(0.0, range(100), at_least=2)) == [0, 1]
    assert list(within(1e9, range(3))) == [0, 1, 2]
