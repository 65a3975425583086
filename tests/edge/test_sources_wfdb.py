"""Records of heart beats as PhysioNet keeps them, written here by the book, and read."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest

from edge.capture import open_source
from edge.errors import InputError
from edge.samples.preprocessing import Preprocessing
from edge.sources import Fault, wfdb
from tests.edge.windows import Model, taken

CODES = {"N": 1, "L": 2, "V": 5, "A": 8, "/": 12, "+": 28}
BEATS = [(3, "N"), (100, "V"), (250, "+"), (300, "A"), (400, "L"), (3000, "N"), (3990, "N")]
COUNT = 4000


def pairs_of_12_bits(digits):
    """Format 212: two samples in three bytes, the high bits of both in the middle one."""
    flat = [int(digit) & 0xFFF for digit in digits.ravel()]
    return b"".join(
        bytes([a & 255, (a >> 8) | (b >> 8) << 4, b & 255]) for a, b in zip(flat[::2], flat[1::2], strict=True)
    )


def annotations(beats):
    """Words of code and distance; longer distances and words for people go before or behind."""
    words, before = b"", 0
    for place, symbol in beats:
        distance, before = place - before, place
        if distance > 1023:
            words += struct.pack("<HHH", 59 << 10, distance >> 16, distance & 0xFFFF)
            distance = 0
        words += struct.pack("<H", CODES[symbol] << 10 | distance)
        if symbol == "+":
            words += struct.pack("<H", 63 << 10 | 3) + b"(N\0" + b"\0"
        words += struct.pack("<H", 60 << 10 | 5)
    return words + bytes(2)


@pytest.fixture
def digits():
    return np.random.default_rng(0).integers(-2047, 2048, (COUNT, 2))


@pytest.fixture
def record(tmp_path, digits):
    def record(bits=212, digits=digits, header=None, beats=BEATS):
        data = pairs_of_12_bits(digits) if bits == 212 else digits.astype("<i2").tobytes()
        (tmp_path / "r1.dat").write_bytes(data)
        lines = [f"r1 {digits.shape[1]} 360 {len(digits)}"]
        lines += [f"r1.dat {bits} 100({50 + c})/mV 12 0 0 0 0 lead {c}" for c in range(digits.shape[1])]
        (tmp_path / "r1.hea").write_text(header or "\n".join([*lines, "# a comment", ""]))
        (tmp_path / "r1.atr").write_bytes(annotations(beats))
        return f"wfdb:{tmp_path / 'r1'}"

    return record


@pytest.mark.parametrize("bits", [16, 212])
def test_signals_are_in_their_unit(record, digits, bits):
    found = taken(open_source(record(bits), Model((1000, 2))))
    expected = (digits - [50, 51]) / 100
    np.testing.assert_allclose(np.concatenate([w.x for w in found]), expected, rtol=1e-6)
    assert [w.truth for w in found] == [None] * 4


def test_three_signals_of_12_bits_share_bytes_across_frames(record):
    digits = np.random.default_rng(1).integers(-2047, 2048, (COUNT, 3))
    found = taken(open_source(record(digits=digits) + "?channels=2,lead 0", Model((COUNT, 2))))
    np.testing.assert_allclose(found[0].x, ((digits - [50, 51, 52]) / 100)[:, [2, 0]], rtol=1e-6)


def test_windows_lie_around_beats_and_have_their_class(record, digits):
    found = taken(open_source(record() + "?channels=lead 1&symbols=NL,A,V", Model((100,))))
    assert [w.truth for w in found] == [2, 1, 0, 0]  # the first and the last beat have no room, + is no beat
    for window, place in zip(found, (100, 300, 400, 3000), strict=True):
        np.testing.assert_allclose(window.x, (digits[place - 50 : place + 50, 1] - 51) / 100, rtol=1e-6)


def test_or_every_hop_with_the_class_of_most_beats(record):
    found = taken(open_source(record() + "?symbols=NL,A,V&windows=every&hop=500", Model((500, 2))))
    assert [w.truth for w in found] == [0, None, None, None, None, None, 0, 0]
    assert len(found) == 8


def test_beats_stay_where_they_are_at_another_rate(record):
    spikes = np.zeros((COUNT, 1), int)
    places = [500, 1801, 3000]
    spikes[places] = 1000
    spec = record(digits=spikes, beats=[(place, "V") for place in places])
    model = Model((80,), preprocessing=Preprocessing(rate=250.0))
    found = taken(open_source(spec + "?symbols=N,A,V", model))
    assert [w.truth for w in found] == [2, 2, 2]
    assert all(abs(int(w.x.argmax()) - 40) <= 1 for w in found)


def test_samples_that_are_marked_as_missing_are_left_out(record, digits):
    digits[700:710, 0] = -2048
    source = open_source(record(digits=digits), Model((1330, 2)))
    found = taken(source)
    assert "10 samples from 0 on are marked as missing" in next(f.cause for f in found if isinstance(f, Fault))
    x = np.concatenate([w.x for w in found if not isinstance(w, Fault)])
    np.testing.assert_allclose(x, (np.delete(digits, range(700, 710), 0) - [50, 51]) / 100, rtol=1e-6)


def test_beats_stay_where_they_are_behind_samples_that_are_missing(record, digits):
    digits[700:710] = -2048
    found = taken(open_source(record(digits=digits) + "?channels=0&symbols=N", Model((100,))))
    np.testing.assert_allclose(found[-1].x, (digits[2950:3050, 0] - 50) / 100, rtol=1e-6)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", "cannot be read"),
        ("r1 2 360 4000\nr1.dat 212 200\n", "1 of 2 signals"),
        ("r1 1 fast 4000\nr1.dat 212 200\n", "cannot be read"),
        ("r1 1 0 4000\nr1.dat 212 200\n", "0 samples per second"),
        ("r1 1 360 4000\nr1.dat 310 200\n", "format 310"),
        ("r1 1 360 4000\nr1.dat 212x4 200\n", "several samples per frame"),
        ("r1 1 360 4000\n../r1.dat 212 200\n", "names the signal file '../r1.dat'"),
        ("r1 2 360 4000\nr1.dat 212 200\nr2.dat 212 200\n", "2 files"),
        ("r1 1 360 4000\nr1.dat 212 nan\n", "no gain"),
        ("r1/3 2 360 4000\n", "0 of 2 signals"),
    ],
)
def test_what_is_not_read_here_is_refused(record, header, said):
    with pytest.raises(InputError) as caught:
        open_source(record(header=header or "\n"), Model((100,)))
    assert said in caught.value.cause
    assert caught.value.hint


def test_options_that_do_not_fit_are_refused(record, tmp_path):
    spec = record()
    for options, said in (
        ("?symbols=N,A,V,L", "4 groups, and the model has 3 classes"),
        ("?symbols=N,X", "no symbol 'X'"),
        ("?channels=V5", "no channel 'V5'"),
        ("?symbols=N&hop=3", "have no hop"),
        ("?windows=beats", "need symbols"),
        ("?symbols=N&annotations=qrs", "r1.qrs"),
    ):
        with pytest.raises(InputError) as caught:
            open_source(spec + options, Model((100, 2)))
        assert said in caught.value.cause
    with pytest.raises(InputError, match=r"no\.hea"):
        open_source(f"wfdb:{tmp_path / 'no'}", Model((100, 2)))


def test_damaged_records_are_input_errors_or_faults(record, tmp_path):
    spec, rng = record() + "?symbols=NL,A,V", random.Random(0)
    files = {name: (tmp_path / name).read_bytes() for name in ("r1.hea", "r1.atr")}
    for _ in range(300):
        for name, data in files.items():
            damaged = bytearray(data)
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            (tmp_path / name).write_bytes(damaged[: rng.randrange(len(damaged))] if rng.random() < 0.2 else damaged)
        try:
            taken(open_source(spec, Model((100, 2))))
        except InputError as error:
            assert error.hint


def test_every_code_has_one_symbol():
    assert len(set(wfdb.SYMBOLS.values())) == 39
    assert {symbol: code for code, symbol in wfdb.SYMBOLS.items()}.items() >= CODES.items()
