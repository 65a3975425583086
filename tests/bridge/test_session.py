"""What a host concludes from what arrives: sessions, losses on the link, drops on the board, and figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.explanation import Explanation
from edge.latency import Phase
from edge.wire.records import Error, Health, Latency, Log, Map, Received, Result
from firmware_bridge import session
from firmware_bridge.maps import Attribution
from firmware_bridge.session import Mark, Timing, Tracker, printable
from firmware_bridge.summary import Account, Summary, record_name
from tests.edge.wire_samples import EXAMPLES
from tests.link import chunks

SESSION = replace(EXAMPLES[0], labels=("walk", "run", "rest"), methods=("gradcam", "ig"))
OTHER = replace(SESSION, session=b"8 others")
HEALTH = next(record for record in EXAMPLES if isinstance(record, Health))


def result(sequence, class_index=0, truth=None):
    return Result(sequence=sequence, class_index=class_index, scores=(0.5, 0.3, 0.2), time=0, truth=truth)


def latency(sequence, **more):
    return Latency(sequence=sequence, phases={Phase.PREDICT: 1000}, methods={1: 3000}, **more)


def attribution(sequence, method=0):
    e = Explanation(np.ones(3, np.float32), 0, method="gradcam", map=np.array([0, 1, 2, 3], np.float32))
    (piece,) = chunks(sequence, e, method, "int8")
    return piece


class Link:
    """Feeds a tracker records with the numbers that frames have."""

    def __init__(self):
        self.tracker = Tracker()
        self.number = 0
        self.events = []

    def bring(self, *records, skip=0, number=None):
        for record in records:
            self.number = self.number + skip if number is None else number
            received = Received(self.number, 0 if record is None else record.code, record)
            self.events += self.tracker.feed(received)
            self.number += 1
            number = None
        return self.tracker.account


@pytest.fixture
def link():
    return Link()


def test_a_session_from_its_beginning(link):
    account = link.bring(SESSION, result(0, truth=0), attribution(0), latency(0), result(1, 1, truth=0))
    assert account.session == SESSION
    assert (account.results, account.labelled, account.correct, account.maps) == (2, 2, 1, 1)
    assert (account.joined, account.lost_frames, account.missing_results) == (0, 0, 0)
    assert [type(event) for event in link.events] == [type(SESSION), Result, Attribution, Timing, Result]


def test_a_map_says_at_which_layer_it_is(link):
    link.bring(replace(SESSION, layers=("conv", "embedding")), attribution(0, method=1), attribution(1, method=0))
    assert [event.layer for event in link.events if isinstance(event, Attribution)] == ["embedding", "conv"]


def test_durations_are_named_and_in_nanoseconds(link):
    slow = replace(SESSION, clock_hz=1_000_000)
    link.bring(slow, latency(0))
    assert link.events[-1] == Timing(0, {"predict": 1_000_000}, {"ig": 3_000_000})
    assert link.tracker.phases["predict"].quantiles().count == 1
    assert link.tracker.methods["ig"].quantiles().p50 == pytest.approx(3_000_000, rel=0.01)


def test_unknown_phases_and_methods_go_by_their_number(link):
    link.bring(SESSION, Latency(sequence=0, phases={30: 5}, methods={9: 6}))
    assert link.events[-1] == Timing(0, {"phase 30": 5}, {"method 9": 6})


def test_coming_late_is_not_a_loss(link):
    account = link.bring(SESSION, result(500), number=800)
    assert (account.joined, account.lost_frames, account.missing_results) == (800, 0, 0)


def test_a_gap_in_the_frames_is_a_loss_on_the_link(link):
    account = link.bring(SESSION, result(0))
    link.bring(result(4), skip=9)
    assert account.lost_frames == 9
    assert account.missing_results == 3
    assert account.dropped["Result"] == 0


def test_a_gap_in_the_results_alone_is_a_drop_on_the_board(link):
    dropped = replace(HEALTH, dropped={Result.code: 3, Map.code: 7}, final=False)
    account = link.bring(SESSION, result(0), result(4), dropped)
    assert account.lost_frames == 0
    assert account.missing_results == 3
    assert account.dropped == {"Result": 3, "Map": 7}


def test_frame_numbers_wrap(link):
    account = link.bring(SESSION, number=0xFFFFFFFE)
    link.bring(result(0), number=0xFFFFFFFF)
    link.bring(result(1), number=0)
    link.bring(result(2), number=3)
    assert account.lost_frames == 2
    assert len(link.tracker.accounts) == 1


def test_a_repeated_introduction_changes_nothing(link):
    account = link.bring(SESSION, result(0), SESSION, result(1))
    assert len(link.tracker.accounts) == 1
    assert account.results == 2


def test_another_introduction_is_a_new_session(link):
    first = link.bring(SESSION, *(result(i) for i in range(5)))
    second = link.bring(OTHER, number=0)
    link.bring(result(0))
    assert first is not second
    assert (first.results, second.results) == (5, 1)
    assert (second.session, second.lost_frames, second.missing_results) == (OTHER, 0, 0)


def test_a_new_session_whose_first_frames_were_lost_says_so(link):
    link.bring(SESSION, result(0))
    account = link.bring(OTHER, number=4)
    assert account.lost_frames == 4


@pytest.mark.parametrize("windows", [50, 500])
def test_a_board_that_begins_anew_is_noticed_before_it_says_who_it_is(link, windows):
    link.bring(SESSION, *(result(i) for i in range(windows)))
    link.bring(result(0, 2), number=1)
    assert not link.tracker.sure
    link.bring(attribution(0), latency(0))
    assert len(link.events) == windows + 1  # the rest waits for its session
    account = link.bring(OTHER)
    assert link.tracker.sure
    assert (account.session, account.lost_frames, account.frames, account.results) == (OTHER, 1, 4, 1)
    assert [type(event) for event in link.events[-4:]] == [type(OTHER), Result, Attribution, Timing]
    assert [account.results for account in link.tracker.accounts] == [windows, 1]


def test_a_frame_that_comes_again_is_discarded(link):
    account = link.bring(SESSION, result(0), result(1), attribution(1))
    link.bring(result(1), number=2)
    link.bring(SESSION, number=0)
    link.bring(result(2), number=4)
    assert (account.results, account.frames, account.lost_frames, account.stale_frames) == (3, 5, 0, 2)
    assert link.tracker.sure
    assert [type(event) for event in link.events] == [type(SESSION), Result, Result, Attribution, Result]


def test_a_frame_that_comes_too_late_is_lost_and_discarded(link):
    account = link.bring(SESSION, result(0))
    link.bring(result(2), number=3)
    link.bring(result(1), number=2)
    link.bring(result(3), number=4)
    assert (account.results, account.lost_frames, account.stale_frames) == (3, 1, 1)
    assert [event.sequence for event in link.events[1:]] == [0, 2, 3]


def test_a_result_that_a_board_repeats_for_a_window_sent_twice_is_discarded(link):
    account = link.bring(SESSION, result(0), attribution(0), result(0), result(1))
    assert link.tracker.sure
    assert (account.results, account.frames, account.lost_frames, account.stale_frames) == (2, 5, 0, 1)
    link.bring(result(1, class_index=1))
    assert not link.tracker.sure  # that is another answer to the same window: of another session


def later(session, time):
    return replace(session, time=time)


def test_a_long_stretch_that_comes_again_is_no_new_session(link):
    account = link.bring(SESSION, *(result(i) for i in range(200)))
    link.bring(*(result(i) for i in range(50, 200)), result(200), number=51)
    assert (account.results, link.tracker.sure) == (200, False)
    link.bring(later(SESSION, 2_000), result(201))
    assert link.tracker.accounts == [account]
    assert (account.results, account.lost_frames, account.stale_frames) == (202, 0, 150)
    assert [event.sequence for event in link.events if isinstance(event, Result)] == list(range(202))


def test_a_large_gap_waits_for_the_session_to_say_that_it_is_still_the_same(link):
    account = link.bring(SESSION, result(0))
    link.bring(result(100), skip=100)
    link.bring(result(101))
    assert (account.results, link.tracker.sure) == (1, False)
    link.bring(later(SESSION, 2_000))
    assert (account.results, account.lost_frames, link.tracker.sure) == (3, 100, True)


def test_after_the_port_was_lost_nothing_is_attributed_before_a_session_has_come(link):
    old = link.bring(SESSION, result(0))
    link.tracker.doubt()
    link.bring(result(7), number=2)  # looks like the next frame of the old session
    assert old.results == 1
    new = link.bring(OTHER, number=3)
    assert (old.results, new.results, new.lost_frames) == (1, 1, 2)


def test_a_session_that_is_over_does_not_come_back(link):
    link.bring(SESSION, *(result(i) for i in range(20)))
    account = link.bring(OTHER, result(0), number=0)
    link.bring(SESSION, number=0)
    link.bring(result(1), number=2)
    assert link.tracker.account is account
    assert (account.session, account.results, account.stale_frames) == (OTHER, 2, 1)
    assert link.tracker.sure


def test_a_session_record_that_comes_too_late_takes_nothing_back(link):
    account = link.bring(SESSION, *(result(i) for i in range(100)))
    link.bring(result(101), number=102)
    link.bring(later(SESSION, 2_000), number=101)  # which had been missing
    link.bring(result(101), number=102)
    link.bring(result(102), number=103)
    assert link.tracker.sure
    assert (account.results, account.lost_frames, account.stale_frames) == (102, 1, 2)


def test_a_session_record_that_comes_after_its_successors_settles_a_doubt_and_no_more(link):
    account = link.bring(SESSION, result(0))
    link.bring(result(100), number=101)
    link.bring(result(102), number=103)
    link.bring(later(SESSION, 2_000), number=102)
    link.bring(result(102), number=103)
    link.bring(result(103), number=104)
    assert link.tracker.sure
    assert [event.sequence for event in link.events if isinstance(event, Result)] == [0, 100, 102, 103]
    assert (account.frames + account.lost_frames, account.stale_frames) == (105, 2)


def test_a_frame_that_fits_by_chance_raises_doubt_that_a_session_ends(link):
    """One left over from an earlier session, say."""
    account = link.bring(SESSION, result(0))
    link.bring(Log(time=0, level=20, text="misplaced"), number=60)
    link.bring(result(1), number=2)
    assert not link.tracker.sure
    link.bring(later(SESSION, 2_000), number=50)
    assert not link.tracker.sure
    link.bring(later(SESSION, 3_000), result(2), number=70)
    assert link.tracker.sure
    assert (account.frames + account.lost_frames, account.results, account.stale_frames) == (72, 2, 2)


def test_a_board_that_begins_anew_with_numbers_that_fit_is_known_by_its_windows(link):
    old = link.bring(SESSION, *(result(i) for i in range(20)))
    link.bring(result(3), result(4), number=25)
    assert (old.results, link.tracker.sure) == (20, False)
    new = link.bring(OTHER)
    assert (old.results, old.lost_frames, new.results, new.lost_frames) == (20, 0, 2, 25)


def test_what_comes_before_the_introduction_waits_for_it_in_bounded_memory(link):
    for i in range(1000):
        link.bring(result(i), attribution(i))
    assert link.events == []
    assert link.tracker.unattributed == 2000
    account = link.bring(SESSION)
    assert [type(event) for event in link.events] == [type(SESSION), *[Result, Attribution] * 128]
    assert (account.results, account.maps) == (128, 128)
    assert link.tracker.unattributed == 2000 - 256


def test_what_a_session_left_behind_that_nobody_introduced_is_no_part_of_the_next_one(link):
    """Leftovers in the pipe, goodbye included: counted as nobody's, and in no total."""
    failure = Error(time=0, kind="InputError", cause="c", hint="h", sequence=3)
    leftovers = [result(90, truth=0), attribution(90), latency(90), failure, replace(HEALTH, dropped={Map.code: 5})]
    stale = link.bring(*leftovers, number=300)
    assert link.events == []
    assert not stale.ended
    account = link.bring(SESSION, result(0), number=0)
    assert link.tracker.accounts == [account]
    assert (account.results, account.labelled, account.maps, account.failed) == (1, 0, 0, 0)
    assert account.dropped.total() == account.lost_frames == 0
    assert link.tracker.phases == link.tracker.methods == {}
    assert link.tracker.unattributed == len(leftovers)
    assert link.events == [SESSION, result(0)]


def test_a_log_line_is_for_people_whoever_wrote_it(link):
    line = Log(time=0, level=30, text="warm")
    link.bring(line)
    assert link.events == [line]


def test_labels_fall_back_to_numbers(link):
    assert link.tracker.label(1) == "class 1"
    link.bring(SESSION)
    assert link.tracker.label(1) == "run"
    assert link.tracker.label(77) == "class 77"


def test_errors_logs_and_unknown_records(link):
    failure = Error(time=0, kind="InputError", cause="c", hint="h", sequence=3)
    line = Log(time=0, level=30, text="warm")
    account = link.bring(SESSION, failure, replace(failure, sequence=None), line, None, result(0))
    assert account.failed == 1
    assert account.lost_frames == 0
    assert link.events[-2:] == [line, result(0)]


def test_warm_up_and_wrong_clocks_are_in_no_histogram_and_counted(link):
    link.bring(SESSION, latency(0, warm_up=True), latency(1, valid=False), latency(2, valid=False, warm_up=True))
    assert link.tracker.phases == link.tracker.methods == {}
    link.bring(latency(3), latency(4))
    assert (link.tracker.warm_up, link.tracker.rejected) == (1, 2)
    assert link.tracker.phases["predict"].count == link.tracker.methods["ig"].count == 2
    timings = [event for event in link.events if isinstance(event, Timing)]
    assert [(timing.valid, timing.warm_up) for timing in timings[:3]] == [(True, True), (False, False), (False, True)]


def test_a_goodbye_ends_a_session(link):
    assert not link.bring(SESSION, replace(HEALTH, final=False)).ended
    assert link.bring(HEALTH).ended


def test_events_count_alike_whether_they_come_off_the_wire_or_out_of_a_recording(link):
    error = Error(time=1, kind="InputError", cause="", hint="", sequence=2)
    link.bring(SESSION, result(0, 1, truth=1), attribution(0), latency(0), result(1, 0, truth=1), error, HEALTH)
    link.number = 0
    link.bring(OTHER, result(7))
    tracker = Tracker()
    for event in link.events:
        tracker.take(event)
    unknown = {"frames": 0, "joined": 0, "lost_frames": 0}  # only the wire tells
    assert tracker.accounts == [replace(account, **unknown) for account in link.tracker.accounts]
    assert tracker.accounts[0].correct == 1
    assert tracker.phases["predict"].quantiles() == link.tracker.phases["predict"].quantiles()
    assert tracker.answered == result(7)


def summary(tracker):
    return Summary(1.0, tuple(tracker.accounts), {}, {}, 0, earlier=tracker.earlier)


sequences = st.integers(0, 9)
records = st.one_of(
    st.builds(result, sequences, st.integers(0, 2), st.none() | st.integers(0, 2)),
    st.builds(attribution, sequences),
    st.builds(lambda n: Error(time=0, kind="", cause="", hint="", sequence=n), st.none() | sequences),
    st.builds(lambda n: replace(HEALTH, dropped={Map.code: n, Result.code: 1}), st.integers(0, 3)),
)
lives = st.tuples(
    st.integers(0, 20),  # which session it is, now and then one that has been
    st.integers(0, 2),  # frames lost before it
    st.lists(records, max_size=8).map(lambda some: sorted(some, key=lambda one: getattr(one, "sequence", 0) or 0)),
)


@given(st.lists(lives, max_size=8), st.integers(1, 3))
def test_the_figures_are_those_of_all_sessions_however_few_are_kept_whole(lives, kept):
    few, all_ = Link(), Link()
    for name, lost, sent in lives:
        introduced = replace(SESSION, session=name.to_bytes(8, "big"))
        all_.bring(introduced, number=lost)
        all_.bring(*sent)
        with mock.patch.object(session, "KEPT_ACCOUNTS", kept):
            few.bring(introduced, number=lost)
            few.bring(*sent)
    accounts, found = all_.tracker.accounts, summary(few.tracker)
    assert list(found.accounts) == accounts[-kept:]
    assert found.totals.sessions == len(accounts)
    assert found.windows == sum(account.results for account in accounts)
    assert found.maps == sum(account.maps for account in accounts)
    assert found.labelled == sum(account.labelled for account in accounts)
    correct = sum(account.correct for account in accounts)
    assert found.accuracy == (correct / found.labelled if found.labelled else None)
    assert found.failed == sum(account.failed for account in accounts)
    assert found.lost_frames == sum(account.lost_frames for account in accounts)
    assert found.stale_frames == sum(account.stale_frames for account in accounts)
    assert found.missing_results == sum(account.missing_results for account in accounts)
    assert found.dropped == sum((account.dropped for account in accounts), Counter())


def test_what_is_kept_of_sessions_is_bounded_and_the_last_ones_are_known_again(link):
    sessions = [replace(SESSION, session=n.to_bytes(8, "big")) for n in range(session.SEEN + 100)]
    for one in sessions:
        link.bring(one, result(0), number=0)
    assert len(link.tracker.accounts) == session.KEPT_ACCOUNTS
    assert summary(link.tracker).totals.sessions == summary(link.tracker).windows == len(sessions)
    account = link.bring(sessions[100], number=0)  # its account is long gone
    assert (account.session, account.stale_frames) == (sessions[-1], 1)


def test_another_thread_always_finds_a_session_that_is_on():
    """Whatever is done to the list of accounts, it is never empty in between."""

    class Watched(list):
        def __delitem__(self, where):
            super().__delitem__(where)
            assert self

        def pop(self, where=-1):
            found = super().pop(where)
            assert self
            return found

    link = Link()
    link.tracker.accounts = Watched([Account()])
    for n in range(session.KEPT_ACCOUNTS + 2):
        link.bring(replace(SESSION, session=n.to_bytes(8, "big")), number=0)


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (Mark("a\x1b[2Jb\nc"), Mark("a\ufffd[2Jb\nc")),
        (Timing(1, {"pre\x07dict": 3}, {"\x9bm": 4}), Timing(1, {"pre\ufffddict": 3}, {"\ufffdm": 4})),
        (replace(SESSION, labels=("walk", "\x1b]0;")), replace(SESSION, labels=("walk", "\ufffd]0;"))),
    ],
)
def test_no_text_commands_the_terminal(event, shown):
    assert printable(event) == shown
    assert printable(shown) == shown


def test_records_have_names():
    assert record_name(3) == "Map"
    assert record_name(99) == "record 99"
