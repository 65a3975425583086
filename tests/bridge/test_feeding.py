import re
from types import SimpleNamespace

import numpy as np
import pytest

from edge.errors import InputError, LinkError
from edge.sources import Window as Input
from edge.wire.records import Ack, Request, Result, Session, Window
from firmware_bridge import feeding
from firmware_bridge.errors import BoardError, EmulatorError
from firmware_bridge.feeding import Feeder, Wishes
from firmware_bridge.session import Timing
from tests.bridge.firmware import bundle

DIGEST = bytes([1, 2, 3, 4, *bytes(28)])


def session(digest=DIGEST):
    return Session(
        protocol=1,
        session=bytes(8),
        time=0,
        clock_hz=1,
        board="a board",
        software="",
        runtime="",
        model="tiny",
        model_digest=digest,
        input_shape=(4,),
        methods=("contrast", "saliency"),
        labels=(),
    )


class Board:
    """What a feeder sees of a board: ``answer`` gives the events that a record brings about."""

    url = "a port"

    def __init__(self, answer, introduced=None):
        self.tracker = SimpleNamespace(account=SimpleNamespace(session=introduced))
        self.answer, self.said, self.events, self.moments, self.full = answer, [], [], [], 0

    def send(self, record):
        if self.full:
            self.full -= 1
            return None
        self.said.append(record)
        self.events += self.answer(len(self.said) - 1, record)
        return len(self.said) - 1

    def poll(self, seconds):
        events, self.events = self.events, []
        self.moments = [0.0] * len(events)
        return events


class Rows:
    def __init__(self, *rows):
        self.windows = [Input(i, np.array(row, np.float32), 0, truth=i) for i, row in enumerate(rows)]

    @property
    def ended(self):
        return not self.windows

    def take(self, seconds):
        return self.windows.pop(0)


def obedient(number, record):
    """Do as a board does that has answered nothing yet."""
    if isinstance(record, Request):
        return [Ack(request=number)]
    if record.size == 0:
        return [Ack(request=number, refused="no size", sequence=None)]
    done = record.offset + len(record.data) == record.size
    return [answer(record.sequence), timing(record.sequence)] if done else []


def answer(sequence):
    return Result(sequence=sequence, class_index=0, scores=(1.0,), time=0)


def timing(sequence):
    return Timing(sequence, {}, {}, True, False)


@pytest.fixture
def hurry(monkeypatch):
    """Wait for what will not come only as long as is needed to see that it is waited for."""
    for name in ("AGAIN", "PATIENCE", "_HELLO"):
        monkeypatch.setattr(feeding, name, 0.05)
    monkeypatch.setattr(feeding, "_ASK", 0.01)


def fed(board, *rows, wishes=None, count=None, failure=None):
    feeder = Feeder(board, Rows(*rows), bundle(), failure)
    events = []
    for said in feeder.polls(wishes or Wishes(), count):
        assert len(said) == len(board.moments)
        events += said
    return feeder, events


def test_windows_are_stored_as_the_model_has_them_and_numbered_after_those_before():
    def experienced(number, record):
        return [Ack(request=number, refused="no size", sequence=41)] if not record.size else obedient(number, record)

    board = Board(experienced, session())
    feeder, events = fed(board, [0, 1, -1, 100], [0.5, 0, 0, 0])
    assert feeder.answered == 2
    sent = [record for record in board.said if record.size]
    assert [record.sequence for record in sent] == [42, 43]
    assert [record.truth for record in sent] == [0, 1]
    assert np.frombuffer(sent[0].data, np.int8).tolist() == [1, 3, -1, 127]
    assert [type(event) for event in events] == [Result, Timing] * 2  # of the question before nothing is shown


def test_a_count_ends_it_and_chunks_are_as_large_as_the_link_allows():
    board = Board(obedient, session())
    assert fed(board, [1, 2, 3, 4], [1, 2, 3, 4], count=1)[0].answered == 1
    sizes = [(chunk.offset, len(chunk.data), chunk.size) for chunk in feeding.chunks(7, bytes(1200))]
    assert sizes == [(0, 512, 1200), (512, 512, 1200), (1024, 176, 1200)]


def test_a_source_without_windows_gets_no_answer():
    assert fed(Board(obedient, session()))[0].answered == 0


def test_wishes_are_told_and_acknowledged_before_the_first_window():
    board = Board(obedient, session())
    fed(board, [1, 2, 3, 4], wishes=Wishes(3, ("saliency",)))
    wish = next(record for record in board.said if isinstance(record, Request))
    assert (wish.explain, wish.methods, wish.acknowledge) == (3, (1,), True)
    with pytest.raises(InputError, match="no method 'lime'"):
        fed(Board(obedient, session()), wishes=Wishes(None, ("lime",)))


def test_a_window_without_an_answer_is_sent_again(monkeypatch):
    monkeypatch.setattr(feeding, "AGAIN", 0.05)
    heard = []

    def deaf_at_first(number, record):
        if record.size:
            heard.append(record)
        return obedient(number, record) if len(heard) != 1 else []

    assert fed(Board(deaf_at_first, session()), [1, 2, 3, 4])[0].answered == 1
    assert heard[0] == heard[1]


def test_an_acknowledgement_stands_for_a_latency_that_was_lost():
    def without_latency(number, record):
        return [Ack(request=number, sequence=record.sequence)] if record.size else obedient(number, record)

    assert fed(Board(without_latency, session()), [1, 2, 3, 4], [1, 2, 3, 4])[0].answered == 2


def test_what_is_asked_first_is_asked_again_where_a_frame_is_lost(monkeypatch):
    monkeypatch.setattr(feeding, "_ASK", 0.01)
    lost = {"Window": 2, "Request": 3}

    def on_a_bad_line(number, record):
        kind = type(record).__name__
        lost[kind] -= 1
        return [] if lost[kind] >= 0 else obedient(number, record)

    board = Board(on_a_bad_line, session())
    assert fed(board, [1, 2, 3, 4], wishes=Wishes(3))[0].answered == 1
    asked = [type(record).__name__ for record in board.said]
    assert asked == ["Window"] * 3 + ["Request"] * 4 + ["Window"]


def test_events_beside_the_hidden_refusal_keep_their_moments():
    def busy(number, record):
        if record.size:
            return obedient(number, record)
        return [answer(7), Ack(request=number, refused="no size", sequence=7), timing(7)]

    board = Board(busy, session())
    poll = board.poll

    def numbered(seconds):
        events = poll(seconds)
        board.moments = [float(place) for place in range(len(events))]
        return events

    board.poll = numbered
    polls = Feeder(board, Rows([1, 2, 3, 4]), bundle()).polls(Wishes())
    assert next(polls) == [answer(7), timing(7)]
    assert board.moments == [0.0, 2.0]


def test_a_full_line_is_waited_for():
    board = Board(obedient, session())
    board.full = 5
    assert fed(board, [1, 2, 3, 4])[0].answered == 1


def silent(number, record):
    return []


def mute(number, record):
    return obedient(number, record) if isinstance(record, Window) and not record.size else []


def unwilling(number, record):
    return (
        [Ack(request=number, refused="no such thing", hint="ask for less")] if record.size else obedient(number, record)
    )


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize(
    ("board", "wishes", "error", "says"),
    [
        (Board(silent), Wishes(), LinkError, "no SESSION"),
        (Board(silent, session()), Wishes(), LinkError, "did not say which window"),
        (Board(mute, session()), Wishes(), LinkError, "no answer to window 0"),
        (Board(mute, session()), Wishes(3), LinkError, "did not acknowledge"),
        (Board(unwilling, session()), Wishes(), BoardError, "refuses: no such thing"),
        (Board(obedient, session(bytes(32))), Wishes(), BoardError, "not the bundle's"),
    ],
)
def test_what_goes_wrong_is_said(board, wishes, error, says):
    with pytest.raises(error, match=says) as raised:
        fed(board, [1, 2, 3, 4], wishes=wishes)
    assert raised.value.hint


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([0, 0.3, -64.9, 63.4], None),  # a step beyond the ends rounds to them, or nearly
        ([0.5, 64, 0, 0], r"window 1: 25\.00% of the values .* -64\.5 to 63, and are clipped: they are from 0 to 64 "),
        ([-128, 127, 0, 3], r"50\.00% .*whole numbers of int8: stored values already"),
        ([0, 127, 100, 3], r"50\.00% .*whole numbers of int8: stored"),
        ([0, 255, 128, 3], r"50\.00% .* raw bytes"),
        ([1e30, 0, 0, 0], r"25\.00% .*scale windows as for training"),
    ],
)
def test_of_values_beyond_the_input_one_window_tells(caplog, row, says):
    fed(Board(obedient, session()), [0, 1, 2, 3], row, [1e9] * 4 if says else row)
    assert len(caplog.records) == bool(says)
    assert not says or re.search(says, caplog.text)


def test_bytes_of_a_uint8_model_may_be_stored_values():
    window = Input(0, np.array([0, 255, 128, 3], np.float32), 0)
    micro = bundle().manifest.micro
    assert "of uint8: stored values" in feeding.clipped(micro, np.iinfo(np.uint8), window)
    assert "raw bytes" in feeding.clipped(micro, np.iinfo(np.int8), window)


def test_a_window_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"window 0 is \[3\]"):
        fed(Board(obedient, session()), [1, 2, 3])


def test_a_board_that_dies_ends_it():
    with pytest.raises(EmulatorError, match="it burns"):
        fed(Board(mute, session()), [1, 2, 3, 4], failure=lambda: "it burns")
