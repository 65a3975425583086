"""Golden vectors over the link: what a board may answer, what it may not, and what is done about a bad cable."""

from __future__ import annotations

import dataclasses
import socket
import threading
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edge.bundle import npz_bytes, seal
from edge.errors import LinkError
from edge.micro import GOLDEN
from edge.wire.codes import When
from edge.wire.framing import frame
from edge.wire.receiver import Receiver
from edge.wire.records import Ack, Latency, Map, Request, Result, Session, Settings, Window, encode
from firmware_bridge.boards import named
from firmware_bridge.build import micro_of
from firmware_bridge.errors import BoardError, FlashError, WrongAnswerError
from firmware_bridge.flash import talk
from firmware_bridge.flash.golden import hold, real, vectors
from firmware_bridge.flash.image import Image
from firmware_bridge.flash.qemu import QemuWay
from firmware_bridge.flash.sequence import Flashing
from firmware_bridge.flash.talk import Answer, Talk
from tests.bridge.test_flash import with_golden

PATIENCE = 30.0
X = np.array([[9, -3, 4, 7], [1, 2, 3, 4]], np.int8)
BUNDLE = with_golden(X)
MAP = Map(
    sequence=0, method=0, class_index=0, shape=(4,), encoding=0, scale=0.5, zero_point=0, steps=1, flags=0,
    data=b"\x7f\xff\xff\xff",
)  # fmt: skip
SESSION = Session(
    protocol=1, session=bytes(8), time=0, clock_hz=1, board="b", software="s", runtime="r", model="m", input_shape=(4,),
    model_digest=bytes.fromhex(BUNDLE.manifest.model_digest), methods=("contrast",), labels=(),
)  # fmt: skip
USED = dict(enumerate(micro_of(BUNDLE).explanations))


class Board:
    """Answers at a socket as the model ``tiny`` would, in maps of two bytes a chunk; ``spoil`` may change what it says.

    ``spoil`` gets a record and how many windows were taken before, and returns what is said instead.
    """

    def __init__(self, spoil=lambda record, taken: [record]):
        self._spoil, self._number, self.taken = spoil, 0, 0
        self.called, self.line = threading.Event(), None
        self.requests = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"socket://127.0.0.1:{self._server.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        with suppress(OSError), self._server.accept()[0] as line:
            receiver = Receiver()
            self.line = line
            self.called.set()
            while data := line.recv(65536):
                for received in receiver.feed(data):
                    for record in self._answers(received):
                        for said in self._spoil(record, self.taken):
                            line.sendall(said if isinstance(said, bytes) else self._frame(said))
                    self.taken += isinstance(received.record, Window)

    def _frame(self, record):
        self._number += 1
        return frame(encode(record, self._number - 1))

    def _answers(self, received):
        match received.record:
            case Request(what=Session.code):
                yield SESSION
                yield Settings(methods=(0,), explain=0)
            case Request() as request:
                self.requests.append(request)
                yield Ack(request=received.number)
            case Window(sequence=sequence, data=data):
                x = np.frombuffer(data, np.int8)
                best = int(x.argmax())
                scores = tuple(map(float, real(micro_of(BUNDLE).scores, x)))
                yield Result(sequence=sequence, class_index=best, scores=scores, time=0)
                contrast = np.where(np.arange(4) == best, 127, -1).astype(np.int8).tobytes()
                for chunk in range(2):
                    part = {"chunk": chunk, "chunks": 2, "data": contrast[2 * chunk :][:2]}
                    yield dataclasses.replace(MAP, sequence=sequence, class_index=best, **part)
                yield Latency(sequence=sequence, phases={})

    def close(self):
        self._server.close()


def heard(spoil=lambda record, taken: [record], patience=PATIENCE):
    """Return what each golden vector got for an answer, and the number behind the last."""
    with closing(Board(spoil)) as board, closing(Talk(board.url, 921600)) as line:
        line.introduce(PATIENCE)
        line.request(Request(explain=0, acknowledge=True), PATIENCE)
        sequence, answers = 7, []
        for vector in vectors(BUNDLE):
            sequence, answer = line.answer(sequence, vector.x, (0,), patience)
            answers.append(answer)
    return sequence, answers


def test_a_sound_board_is_believed():
    sequence, answers = heard()
    assert sequence == 9
    for answer, vector in zip(answers, vectors(BUNDLE), strict=True):
        hold(answer, vector, USED)


@pytest.mark.parametrize("lost", [Result, Map], ids=lambda kind: kind.__name__)
def test_what_got_lost_is_asked_for_again_as_another_window(lost):
    sequence, answers = heard(lambda record, taken: [] if isinstance(record, lost) and taken == 0 else [record])
    assert sequence == 10
    hold(answers[0], vectors(BUNDLE)[0], USED)


def test_a_damaged_frame_is_as_good_as_lost():
    def damage(record, taken):
        if isinstance(record, Map) and record.chunk == 1 and taken == 0:
            whole = frame(encode(record, 0))
            return [whole[:9] + bytes([whole[9] ^ 1 or 2]) + whole[10:]]
        return [record]

    sequence, answers = heard(damage)
    assert sequence == 10
    hold(answers[0], vectors(BUNDLE)[0], USED)


def test_a_window_that_nobody_heard_is_sent_again(monkeypatch):
    monkeypatch.setattr(talk, "_TIMES", 30)  # hence again after a second, of thirty

    def deaf_at_first(record, taken):
        return [] if taken == 0 and not isinstance(record, Session | Settings | Ack) else [record]

    sequence, _ = heard(deaf_at_first)
    assert sequence == 9


def test_gaps_that_do_not_end_are_told():
    with pytest.raises(LinkError, match="answers come with gaps"):
        heard(lambda record, taken: [] if isinstance(record, Map) and record.chunk == 0 else [record])


def test_a_window_that_is_refused_is_told_in_the_boards_words():
    def refuse(record, taken):
        return [Ack(request=2 + taken, refused="too small", hint="more")] if isinstance(record, Result) else []

    with pytest.raises(FlashError, match="the board refuses: too small") as caught:
        heard(lambda record, taken: [record] if isinstance(record, Session | Settings | Ack) else refuse(record, taken))
    assert caught.value.hint == "more"


@pytest.mark.parametrize(
    ("said", "count", "hint"),
    [
        (b"\xf8\x00\x80\x00" * 9, "wire_bytes", "what comes is no link: check the baud rate"),
        (Latency(sequence=0, phases={}), "frames", "the board talks, but not about this"),
    ],
    ids=["noise", "other things"],
)
def test_what_is_no_session_is_told_apart(monkeypatch, said, count, hint):
    with closing(Board(lambda record, taken: [said] * 3)) as board, closing(Talk(board.url, 9600)) as line:
        # the second is over as soon as something has come
        now = SimpleNamespace(monotonic=lambda: 1.0 if getattr(line._receiver.counts, count) else 0.0)
        monkeypatch.setattr(talk, "time", now)
        with pytest.raises(LinkError, match="no SESSION came within 1 s") as caught:
            line.introduce(1.0)
    assert caught.value.hint.startswith(hint)


def test_a_board_that_never_stops_talking_is_given_up_all_the_same():
    def chatter(record, taken):
        while True:
            yield Latency(sequence=0, phases={})

    with (
        closing(Board(chatter)) as board,
        closing(Talk(board.url, 9600)) as line,
        pytest.raises(LinkError, match="no SESSION came"),
    ):
        line.introduce(0.5)


def summing(steps=4, values=(1, 2, 3, 4), scale=0.01):
    """Return the bundle with steps to sum, and of the first vector what they come to."""
    own = dataclasses.replace(USED[0], steps=steps, nodes=(1,) * steps, weights=((1 << 15) // steps,) * steps)
    micro = dataclasses.replace(micro_of(BUNDLE), explanations=(own,))
    sums = {"contrast_attribution": np.array([values], np.int8), "contrast_scale": np.array([scale], np.float32)}
    members = {**BUNDLE.members, GOLDEN: npz_bytes(**BUNDLE.arrays(GOLDEN), **sums)}
    return seal(dataclasses.replace(BUNDLE.manifest, micro=micro), members)


class Flashed:
    """A way to flash a board that is as it should be already."""

    plan = QemuWay.plan

    def __init__(self, url):
        self.url = url
        self.connect = self.reset = self.close = lambda: ""
        self.write = self.verify = lambda image: ""


def test_sums_over_steps_are_waited_for_once_and_the_board_is_left_as_it_was():
    bundle = summing(1, (127, -1, -1, -1), MAP.scale)
    image = Image(Path("none"), b"", 0)
    with closing(Board(lambda record, taken: [] if isinstance(record, Map) and taken else [record])) as board:
        way, name = Flashed(board.url), named("qemu-mps2-an386")
        with closing(Flashing(bundle, name, way, lambda: image, 921600)) as flashing:
            *_, last = flashing.steps()
    assert "2 windows, equal in every byte: scores; of the first, too: contrast" in last.what
    settings = [(request.explain, request.methods) for request in board.requests]
    assert settings == [(When.ALWAYS, None), (When.ON_REQUEST, None), (When.ALWAYS, (0,))]


def test_what_a_board_said_before_its_reset_is_not_believed():
    other = dataclasses.replace(SESSION, model_digest=bytes(32), model="another")
    said = frame(encode(other, 0)) + frame(encode(Settings(methods=(0,), explain=0), 1))
    with closing(Board()) as board:
        way = Flashed(board.url)
        way.verify = lambda image: str(board.called.wait(60) and board.line.sendall(said))
        image = Image(Path("none"), b"", 0)
        with closing(Flashing(BUNDLE, named("qemu-mps2-an386"), way, lambda: image, 9600)) as flashing:
            assert [step.what for step in flashing.steps() if step.name == "session"] == ["b runs m, s"]


def sound() -> Answer:
    """Return the right answer to the first vector."""
    scores = tuple(map(float, real(micro_of(BUNDLE).scores, X[0])))
    return Answer(Result(sequence=0, class_index=0, scores=scores, time=0), maps={0: [MAP]})


def with_map(**changes):
    answer = sound()
    answer.maps[0] = [dataclasses.replace(MAP, **changes)]
    return answer


def with_result(**changes):
    answer = sound()
    answer.result = dataclasses.replace(answer.result, **changes)
    return answer


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (with_result(scores=(137 / 256, 125 / 256, 133 / 256, 135 / 256)), r"score 2 is 0\.5195\d+, and 0\.515625 is"),
        (with_result(scores=(0.5,)), "1 scores come, of 4 classes"),
        (with_result(class_index=3), "the answer is class 3, and 0 is right"),
        (with_map(class_index=1), "the map is of class 1, and 0 is right"),
        (with_map(shape=(2, 2)), r"shape is \[2, 2\], and \[4\] is right"),
        (with_map(full_shape=(8,)), "shape"),
        (with_map(deflated=True), "not come as it is stored"),
        (with_map(encoding=1), "not come as it is stored"),
        (with_map(scale=0.25), r"zero point are 0\.25, 0, and 0\.5, 0 are right"),
        (with_map(zero_point=1), r"zero point are 0\.5, 1, and 0\.5, 0 are right"),
        (with_map(data=b"\x7f\xff"), "2 bytes of map come, of 4"),
        (with_map(data=b"\x7f\xff\xfe\xff"), "1 of 4 bytes differ; byte 2 is -2, and -1 is right"),
    ],
)  # fmt: skip
def test_each_difference_is_found_and_named(answer, says):
    (first, _) = vectors(BUNDLE)
    hold(sound(), first, USED)
    with pytest.raises(WrongAnswerError, match=f"golden vector 0: .*{says}"):
        hold(answer, first, USED)


def test_equal_floats_are_equal_bytes():
    stored = dataclasses.replace(micro_of(BUNDLE).scores, scale=0.0037213)
    values = real(stored, np.arange(-128, 128).astype(np.int8))
    assert values.dtype == np.float32
    assert len(set(values.tolist())) == 256


def test_maps_carry_the_units_of_their_class():
    explanation = dataclasses.replace(USED[0], units=(0.3, 1.0, 1.0, 1.0))
    scale = float(np.float32(0.5) * np.float32(0.3))
    hold(with_map(scale=scale), vectors(BUNDLE)[0], {0: explanation})
    with pytest.raises(WrongAnswerError, match=r"zero point are 0\.5, 0"):
        hold(sound(), vectors(BUNDLE)[0], {0: explanation})


def test_of_yes_and_no_both_scores_are_compared():
    manifest = dataclasses.replace(BUNDLE.manifest, yes_no=True)
    vector = vectors(dataclasses.replace(BUNDLE, manifest=manifest))[0]
    once = real(micro_of(BUNDLE).scores, X[0])
    assert vector.scores.tobytes() == np.concatenate([1 - once, once]).astype(np.float32).tobytes()


def test_a_sum_over_steps_is_held_to_its_bytes_and_its_grid():
    right = {"steps": 4, "scale": float(np.float32(0.01)), "data": b"\x01\x02\x03\x04"}
    first, second = vectors(summing())
    explanations = dict(enumerate(micro_of(summing()).explanations))
    assert (first.maps["contrast"].tolist(), second.maps) == ([1, 2, 3, 4], {})
    hold(with_map(**right), first, explanations)
    for wrong, says in (
        ({"steps": 2}, "2 steps were summed, and 4"),
        ({"class_index": 2}, "of class 2"),
        ({"scale": 0.011}, r"zero point are 0\.011, 0, and 0\.0099999998, 0 are right"),
        ({"zero_point": 1}, "zero point are"),
        ({"data": b"\x01\x02\x03\x05"}, "1 of 4 bytes differ; byte 3 is 5, and 4 is right"),
    ):
        with pytest.raises(WrongAnswerError, match=says):
            hold(with_map(**right | wrong), first, explanations)


@pytest.mark.parametrize("name", ["contrast_attribution", "contrast_scale"])
def test_a_bundle_from_before_sums_were_recorded_is_refused(name):
    whole = summing()
    less = {key: array for key, array in whole.arrays(GOLDEN).items() if key != name}
    with pytest.raises(BoardError, match=f"has no {name} to compare") as caught:
        vectors(seal(whole.manifest, {**whole.members, GOLDEN: npz_bytes(**less)}))
    assert caught.value.hint.startswith("export it again")
