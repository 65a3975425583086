"""What people read: one line per event, a summary at the end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge.explanation import Flag
from edge.latency import Histogram, duration
from edge.wire.records import Ack, Error, Log, Settings, Spread
from firmware_bridge import lines
from firmware_bridge.clock import Bounds
from firmware_bridge.maps import InputWindow
from firmware_bridge.session import LinkChange, Mark, Timing, Tracker
from firmware_bridge.summary import Account, Summary
from tests.bridge.test_recording import MAP
from tests.bridge.test_session import HEALTH, SESSION, result


@pytest.fixture
def tracker():
    tracker = Tracker()
    tracker.account.session = SESSION
    return tracker


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (SESSION, "session 0001020304050607: watch (000102030405), litert 2.1.0, 1 thread, Raspberry Pi Zero 2 W"),
        (result(7, 1), "     7  run 0.300"),
        (result(7, 1, truth=1), "     7  run 0.300  right"),
        (result(7, 1, truth=2), "     7  run 0.300  wrong: rest"),
        (Timing(7, {"predict": 1_234_567}, {"ig": 45_600}), "     7  predict 1.23 ms  ig 45.6 µs"),
        (Timing(7, {"predict": 1_000_000}, {}, warm_up=True), "     7  predict 1 ms  warm-up"),
        (Timing(7, {"predict": 0}, {}, valid=False), "     7  predict 0 µs  invalid: the clock was wrong"),
        (replace(HEALTH, dropped={}), "goodbye: produced 70000, dropped nothing, 1 waiting, 45 MB, 52 °C"),
        (replace(HEALTH, memory=20_608, dropped={}), "goodbye: produced 70000, dropped nothing, 1 waiting, 20.6 kB"),
        (Settings(methods=(0,), explain=0, kept=1), "settings: as fast as it goes, gradcam always, 1 window kept"),
        (Log(time=0, level=30, text="warm"), "warning: warm"),
        (Error(time=0, kind="InputError", cause="c", hint="h", sequence=3), "InputError at window 3: c\n  hint: h"),
        (Error(time=0, kind="InputError", cause="c", hint=""), "InputError: c"),
        (LinkChange(up=False, why="lost port x"), "link: lost port x"),
        (Settings(methods=(0,), explain=0), "settings: as fast as it goes, gradcam always"),
        (Settings(methods=(), explain=2, rate=2.5, alarms=(1,)), "settings: 2.5 windows/s, nothing on-alarm (run)"),
        (Settings(methods=(9,), explain=77), "settings: as fast as it goes, method 9 code 77"),
        (Spread(time=1, phases={2: (9, 1000, 2000, 3000, 4000)}, methods={}), "board: predict 1 µs (p99 3 µs)"),
        (Spread(time=1, phases={}, methods={}), "board: nothing timed yet"),
        (Spread(time=1, phases={}, methods={}, warm_up=3), "board: 3 windows of warm-up left out"),
        (Ack(request=4), "request 4 done"),
        (Ack(request=4, refused="too old", hint="ask earlier"), "request 4 refused: too old\n  hint: ask earlier"),
        (Mark("ouch"), "mark: ouch"),
        (InputWindow(7, np.eye(3, dtype=np.float32), 0.1), "     7  input |███|"),
    ],
)  # fmt: skip
def test_an_event_is_a_line(tracker, event, said):
    assert lines.line(event, tracker).startswith(said)


def test_a_session_says_whether_its_time_is_emulated(tracker):
    assert lines.line(replace(SESSION, clock="emulated SysTick"), tracker).endswith("Rev 1.0, emulated time")
    assert lines.line(replace(SESSION, clock="SysTick"), tracker).endswith("Rev 1.0")


def test_what_a_board_repeats_is_said_when_it_has_changed(tracker):
    news, settings, health = lines.News(tracker), Settings(methods=(0,), explain=0), replace(HEALTH, final=False)
    assert all(news.of(event) == lines.line(event, tracker) for event in (SESSION, settings, health))
    later = replace(SESSION, time=SESSION.time + 9), settings, replace(health, time=health.time + 9)
    assert [news.of(event) for event in later] == [None] * 3
    for event in (replace(settings, inputs=True), replace(health, produced=70_001), result(7, 1), result(7, 1)):
        assert news.of(event) == lines.line(event, tracker)
    for event in (replace(SESSION, session=bytes(8)), replace(settings, inputs=True), replace(health, produced=70_001)):
        assert news.of(event) is not None  # another session says it for itself


def test_a_little_more_memory_is_nothing_new_and_much_more_is(tracker):
    news, health = lines.News(tracker), replace(HEALTH, final=False, memory=20_000)
    said = [news.of(replace(health, memory=size)) for size in (20_000, 20_200, 19_000, 21_900, 22_100, 22_000, 40_000)]
    assert [text and text.split(", ")[3] for text in said] == ["20.0 kB", None, None, None, "22.1 kB", None, "40.0 kB"]
    assert "19.0 kB" in news.of(replace(health, memory=19_000))
    assert "19.1 kB" in news.of(replace(health, memory=19_100, stalls=9))


def test_a_map_is_a_profile_with_its_residual_and_flags(tracker):
    values = np.zeros((48, 2), np.float32)
    values[24] = 1
    shown = lines.line(replace(MAP, values=values, residual=-0.125), tracker)
    assert "|            █           |" in shown
    assert "residual -0.125" in shown
    assert "SMALL_MARGIN" in shown
    assert "DEADLINE" in shown


def test_a_map_that_is_not_of_the_input_names_its_layer(tracker):
    shown = lines.line(replace(MAP, flags=Flag.NOT_AT_INPUT, layer="embedding/lookup"), tracker)
    assert shown.endswith("NOT_AT_INPUT but at embedding/lookup")
    assert "embedding" not in lines.line(replace(MAP, layer="embedding/lookup"), tracker)


def test_a_map_of_a_class_that_is_not_the_answer_names_it(tracker):
    tracker.take(result(MAP.sequence, 2))
    assert f"{MAP.method} for run |" in lines.line(replace(MAP, class_index=1), tracker)
    assert f"{MAP.method} |" in lines.line(replace(MAP, class_index=2), tracker)
    assert f"{MAP.method} |" in lines.line(replace(MAP, class_index=1, sequence=MAP.sequence + 1), tracker)


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        (np.array([0, 1, 2, 4, 8]), 8, " ▁▂▄█"),
        (np.array([0.0, 0, 0]), 8, "   "),
        (np.array([-8, 4, 0]), 8, "█▄ "),
        (np.array([[0, 0], [4, 4], [0, 1]]), 8, " █▁"),
        (np.array([[[0], [0], [5]]]), 8, "  █"),  # one row of three columns
        (np.eye(8)[:, :1] * 3, 4, "█   "),
        (np.float32(1e-38) * np.ones(4), 2, "██"),
    ],
)
def test_profiles_show_where_a_map_is_large(values, width, drawn):
    assert lines.profile(values.astype(np.float32), width) == drawn


@pytest.mark.parametrize(
    ("nanoseconds", "said"),
    [(0, "0 µs"), (1_500, "1.5 µs"), (999_400, "999 µs"), (1_234_567, "1.23 ms"), (2.5e9, "2.5 s")],
)
def test_durations_have_the_unit_that_suits_them(nanoseconds, said):
    assert duration(nanoseconds) == said


def figures(**more):
    histogram = Histogram()
    histogram.add(1_000_000)
    included = Histogram()
    included.add(0)
    included.add(-1)  # a clock that went back
    plain = {
        "seconds": 2.0,
        "accounts": (),
        "phases": {"predict": histogram.quantiles()},
        "methods": {"ig": histogram.quantiles(), "gradcam": included.quantiles()},
        "frames": 100,
        "payload_bytes": 20_000,
        "wire_bytes": 21_000,
        "bad": {},
        "skipped_bytes": 0,
        "unknown_records": 0,
        "unknown_keys": 0,
        "incomplete_maps": 0,
        "refused_maps": 0,
        "unattributed": 0,
        "reconnects": 0,
    }
    return Summary(**plain | more)


def test_the_ending_says_what_matters():
    said = lines.ending(figures())
    assert "ig takes 1.00 times a prediction" in said
    assert "gradcam comes with the prediction" in said
    assert "link: 10.0 kB/s, 50 frames/s" in said
    assert "link lost 0 frames, 0 damaged, 0 results missing, board dropped nothing" in said


def test_the_ending_says_what_each_board_gave_up():
    account = Account(session=SESSION, health=replace(HEALTH, degraded={3: 2}, thinned={2: 5}))
    assert "board: deadline: 2 late, link: 5 coarser" in lines.ending(figures(accounts=(account,)))


def test_what_the_deadline_the_link_and_the_source_took_is_said(tracker):
    health = replace(HEALTH, degraded={0: 3, 2: 1}, thinned={1: 7}, source={3: 2, 0: 0}, link_rate=11_520)
    said = "deadline: 3 fewer-steps, 1 no-explanation, link: 7 largest-only, source: 2 lost-window"
    assert f"{said}, link carries 11.5 kB/s" in lines.line(health, tracker)
    assert lines.toll(replace(HEALTH, degraded={}, thinned={}, source={}, link_rate=None)) == []


def test_a_moment_has_no_rates():
    assert figures(seconds=2.0).goodput == 10_000
    short = figures(seconds=0.04, round_trip=2_000_000)
    assert short.goodput is None
    assert "\nlink: 20.0 kB in 100 frames, round trip 2 ms\n" in lines.ending(short)


def test_what_two_clocks_can_tell_is_shown_with_how_far_it_may_be_off():
    least, most = Histogram(), Histogram()
    least.add(9_000_000)
    most.add(11_000_000)
    bounds = Bounds(least.quantiles(), most.quantiles())
    said = lines.ending(figures(end_to_end=bounds, warm_up=7, rejected=2, clock_jumps=3)).splitlines()
    end = next(number for number, line in enumerate(said) if line.startswith("  end to end"))
    assert said[end].split()[3:] == [*["9.96", "ms"] * 3, "10", "ms"]
    assert said[end + 1].split() == ["give", "or", "take", *["1.04", "ms"] * 3, "1", "ms"]
    assert said[end + 2] == "  7 windows of warm-up and 2 windows timed by a wrong clock left out"
    assert "2 windows timed by a wrong clock, 3 jumps of the board's clock" in said[-1]


def test_losses_are_told_one_by_one():
    said = lines.losses(
        figures(
            bad={"crc": 2, "cobs": 1}, skipped_bytes=77, incomplete_maps=1, refused_maps=2, unattributed=4, reconnects=5
        )
    )
    for part in (
        "3 damaged, 77 B skipped, ",
        "3 maps in pieces",
        "1 impossible durations",
        "4 records of an unknown session",
        "5 reconnects",
    ):
        assert part in said


def test_bytes_of_no_frame_are_not_told_as_damage():
    """Whoever opens a port in the midst of a frame hears its rest."""
    assert lines.losses(figures(skipped_bytes=332)).startswith("link lost 0 frames, 0 damaged, 332 B skipped, ")
