"""A clock is believed only while it advances, as finely as it must, at the pace of the others."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.clocks import COARSEST, Fault, Watch, name

MILLISECOND = 1_000_000


class Machine:
    """A simulated computer: true time passes with every reading, and each clock may tell it wrongly."""

    def __init__(self, per_read=200):
        self.time = self.offset = self.slept = self.worked = 0
        self.pace, self.step, self.frozen, self.per_read = 1.0, 1, None, per_read

    def passes(self, nanoseconds, busy=1.0):
        self.time += nanoseconds
        self.worked += int(busy * nanoseconds)

    def sleep(self, nanoseconds):
        self.slept += nanoseconds

    def clock(self):
        self.passes(self.per_read)
        now = int(self.time * self.pace) + self.offset if self.frozen is None else self.frozen
        return now // self.step * self.step

    def freeze(self):
        self.frozen = self.clock()

    def others(self):
        return {Fault.PACE: self._raw, Fault.SUSPENDED: lambda: self._raw() + self.slept}

    def _raw(self):
        self.passes(self.per_read)
        return self.time

    def watch(self, *others):
        chosen = {fault: read for fault, read in self.others().items() if fault in others} if others else self.others()
        return Watch(self.clock, chosen, lambda: self.worked)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(100, 10**10), st.floats(0, 1)), min_size=1, max_size=20),
    st.integers(1, 10**7),
    st.floats(-0.0005, 0.0005),
)
def test_a_good_clock_is_never_accused_however_long_a_reading_takes_and_however_ntp_slews(laps, per_read, slew):
    machine = Machine(per_read)
    machine.pace = 1 + slew
    watch = machine.watch()
    for passed, busy in laps:
        machine.passes(passed, busy)
        assert watch.check() is None
    assert not watch.faults
    assert not watch.broken


def test_a_clock_that_stands_still_is_found_and_nothing_it_says_later_is_believed():
    machine = Machine()
    watch = machine.watch()
    machine.passes(MILLISECOND)
    assert watch.check() is None
    machine.freeze()
    watch.check()  # it ran for a part of this
    machine.passes(MILLISECOND)
    assert watch.check() is Fault.STALLED
    machine.frozen = None
    machine.passes(MILLISECOND)
    watch.check()
    assert watch.broken


def test_a_counter_that_crawls_is_told_by_the_work_that_was_done_meanwhile():
    machine = Machine()
    machine.pace = 1e-6
    watch = machine.watch("nothing to compare with")
    machine.passes(1000 * MILLISECOND)
    assert watch.check() is Fault.STALLED


def test_a_clock_that_goes_back_is_broken_for_good():
    machine = Machine()
    watch = machine.watch()
    machine.offset = -10 * MILLISECOND
    machine.passes(MILLISECOND)
    assert watch.check() is Fault.BACK
    machine.passes(MILLISECOND)
    assert watch.check() is None
    assert watch.broken


@pytest.mark.parametrize("jump", [MILLISECOND, 60_000 * MILLISECOND])
def test_a_jump_forward_spoils_the_lap_it_fell_into_and_no_other(jump):
    machine = Machine()
    watch = machine.watch()
    machine.offset = jump
    machine.passes(5 * MILLISECOND)
    assert watch.check() is Fault.PACE
    machine.passes(5 * MILLISECOND)
    assert watch.check() is None
    assert not watch.broken
    assert watch.faults == {Fault.PACE: 1}


@pytest.mark.parametrize("pace", [0.9, 0.98, 1.02, 1.5])
def test_a_pace_that_is_off_by_more_than_a_histogram_can_show_is_found(pace):
    machine = Machine()
    machine.pace = pace
    watch = machine.watch()
    machine.passes(20 * MILLISECOND)
    assert watch.check() is Fault.PACE


def test_a_machine_that_was_suspended_spoils_one_lap():
    machine = Machine()
    watch = machine.watch()
    machine.sleep(3_000 * MILLISECOND)
    machine.passes(5 * MILLISECOND)
    assert watch.check() is Fault.SUSPENDED
    machine.passes(5 * MILLISECOND)
    assert watch.check() is None
    assert not watch.broken


def test_the_self_test_says_how_fine_the_clock_is_and_how_far_from_the_hardware():
    machine = Machine(per_read=100)
    machine.step, machine.pace = 1000, 1.0001
    found = machine.watch().self_test()
    assert found.faults == ()
    assert found.resolution == 1000
    assert 0.5e-4 < found.departure < 1e-2


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda machine: machine.freeze(), Fault.STALLED),
        (lambda machine: setattr(machine, "step", 2 * COARSEST), Fault.COARSE),
        (lambda machine: setattr(machine, "pace", 1.1), Fault.PACE),
        (lambda machine: setattr(machine, "pace", -1.0), Fault.BACK),
    ],
)
def test_the_self_test_finds_what_is_wrong(spoil, fault):
    machine = Machine(per_read=1000)
    spoil(machine)
    watch = machine.watch()
    assert watch.self_test().faults == (fault,)
    assert watch.faults[fault] == 1
    assert watch.broken == fault.lasts


def test_whether_it_is_broken_may_be_asked_while_a_fault_is_found(monkeypatch):
    machine = Machine()
    watch = machine.watch()
    machine.offset = MILLISECOND
    assert watch.check() is Fault.PACE
    lasts = Fault.lasts.fget

    def meanwhile(fault):
        """As if another thread had its turn here."""
        watch.faults[Fault.SUSPENDED] += 1
        return lasts(fault)

    monkeypatch.setattr(Fault, "lasts", property(meanwhile))
    assert not watch.broken


def test_the_clock_of_this_machine_passes_and_stays_in_step_while_others_are_busy():
    watch = Watch()
    found = watch.self_test()
    assert found.faults == ()
    assert 0 < found.resolution < 100_000
    stop = threading.Event()
    busy = [threading.Thread(target=lambda: [None for _ in iter(stop.is_set, True)]) for _ in range(3)]
    for thread in busy:
        thread.start()
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        sum(range(1000))
        assert watch.check() is None
    stop.set()
    for thread in busy:
        thread.join()


def test_the_clock_has_a_name():
    assert name().startswith("CLOCK_") or name()
