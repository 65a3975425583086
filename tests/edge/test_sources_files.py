"""Windows out of files of samples: text and sound, what is in them, what is wrong with them, and how much they take."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
import wave
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.capture import open_source
from edge.errors import InputError
from edge.samples.preprocessing import Preprocessing
from edge.samples.table import LONGEST_LINE, Lines
from edge.sources import Fault
from edge.wire.codes import SourceFault
from tests.edge.windows import Model, taken

XYZ = Preprocessing(channels=("x", "y", "z"))


@pytest.fixture
def write(tmp_path):
    def write(content, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return f"{path.suffix[1:]}:{path}"

    return write


def windows(spec, model):
    """The windows of a source that has nothing to complain of."""
    found = taken(open_source(spec, model))
    assert not [item for item in found if isinstance(item, Fault)]
    return found


def values(found):
    return [window.x.ravel().tolist() for window in found]


# text


@pytest.mark.parametrize(
    "text",
    [
        "1,2\n3,4\n5,6\n7,8\n",
        "1;2\r\n3;4\r\n5;6\r\n7;8",
        "1\t2\n\n3\t4\n5\t6\n7\t8\n",
        " 1 2\n3  4 \n5 6\n7 8\n",
        "ax,ay\n1,2\n3,4\n5,6\n7,8\n",
        '\ufeff"ax" ; "ay"\n1;2\n3;4\n5;6\n7;8\n',
        '1.0,+2\n3e0,0.4E1\n5.,6\n 7 ,"8"\n',
    ],
)
def test_any_usual_way_to_write_numbers_is_read(write, text):
    assert values(windows(write(text), Model((2, 2)))) == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_columns_go_by_name_or_number_or_as_the_model_calls_them(write):
    spec = write("t,z,y,x\n0,3,2,1\n1,6,5,4\n")
    for options, model, expected in (
        ("?columns=x,y,z", Model((1, 3)), [[1, 2, 3], [4, 5, 6]]),
        ("?columns=3,z", Model((1, 2)), [[1, 3], [4, 6]]),
        ("", Model((1, 3), preprocessing=XYZ), [[1, 2, 3], [4, 5, 6]]),
        ("", Model((4,)), [[0, 3, 2, 1], [1, 6, 5, 4]]),
    ):
        assert values(windows(spec + options, model)) == expected


def test_classes_go_by_name_or_index_and_a_window_has_that_of_most_samples(write):
    text = "v,class\n1,b\n2,b\n3,a\n4,c\n5,2\n6,2.0\n7,\n8,unknown\n9,7\n"
    found = windows(write(text) + "?label=class", Model((3,)))
    assert [window.truth for window in found] == [1, 2, None]
    assert values(found) == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    for text, truth in (("1,b\n2,b\n3,a\n", 1), ("1,a\n2,0\n3,b\n", 0)):
        found = windows(write(text) + "?label=1", Model((3,)))
        assert [window.truth for window in found] == [truth]


def test_rates_hops_and_scaling_are_as_said(write):
    spec = write("\n".join(str(10 + 2 * (i % 2 == 0)) for i in range(100)))
    model = Model((10,), preprocessing=Preprocessing(rate=50.0, offset=(10.0,), scale=(2.0,)))
    found = windows(spec + "?hop=50%25", model)
    assert len(found) == 19
    assert values(found)[1] == [0.0, 1.0] * 0 + [0.0 if i % 2 else 1.0 for i in range(5, 15)]
    assert len(windows(spec + "?hop=0.1s", model)) == 19
    assert len(windows(spec + "?rate=100", model)) == 5


def test_what_is_no_sample_is_left_out_counted_and_the_first_is_named(write):
    lines = [f"{i},{i}" for i in range(12)]
    lines[3:3] = ["x,y", "1", "1,2,3", "nan,1", "inf,1", "1e60,1", ",1", "\x00\x01"]
    source = open_source(write("\n".join(lines)), Model((2, 2)))
    found = taken(source)
    (fault,) = [item for item in found if isinstance(item, Fault)]
    assert fault.kind is SourceFault.BAD_INPUT
    assert "data.csv: line 4: not all of its cells are numbers: 'x,y'" in fault.cause
    assert source.faults == {SourceFault.BAD_INPUT: 8}
    good = [window.x for window in found if not isinstance(window, Fault)]
    assert np.ravel(good).tolist() == [i // 2 for i in range(24)]


@pytest.mark.parametrize(
    ("text", "query", "said"),
    [
        ("1,2,3\n", "", "3 channels, and the model's input [2, 2] takes 2"),
        ("a,b\n1,2\n", "?columns=a,c", "has no channel 'c'"),
        ("a,b\n1,2\n", "?columns=a", "1 channel, and the model's input [2, 2] takes 2"),
        ("a,b\n1,2\n", "?label=d&columns=a,b", "has no channel 'd'"),
        ("a,b\n1,2\n", "?delimiter=x", "it has rate, columns, label, hop"),
        ("a,b\n1,2\n", "?hop=0", "hop"),
        ("", "", "no column of values"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_at_once(write, text, query, said):
    with pytest.raises(InputError) as caught:
        open_source(write(text) + query, Model((2, 2)))
    assert said in str(caught.value)
    assert caught.value.hint


def test_of_a_large_file_no_more_is_read_than_is_asked_for(write):
    spec = write("1.5,2.5\n" * 1_000_000)
    tracemalloc.start()
    source = open_source(spec, Model((1000, 2)))
    assert source.take(9).sequence == 0
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()
    source.close()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_lines_are_the_same_in_any_pieces(data, cuts):
    cuts = [0, *sorted(cuts), len(data)]
    lines = Lines()
    found = [line for a, b in pairwise(cuts) for line in lines.feed(data[a:b])]
    found += lines.finish()
    expected = data.split(b"\n")
    assert found == expected[:-1] + [expected[-1]] * bool(expected[-1])


def test_an_endless_line_takes_no_memory_and_counts_once():
    lines = Lines()
    for _ in range(500):
        assert lines.feed(b"1" * 10_000) == []
        assert len(lines._pending) <= LONGEST_LINE
    assert lines.feed(b"1\n2\n3") == [None, b"2"]
    assert lines.finish() == [b"3"]


def test_junk_in_place_of_a_table_gives_faults_and_nothing_else(write):
    rng = random.Random(1)
    for size in (1, 100, 200_000):
        try:
            source = open_source(write(rng.randbytes(size)), Model((4,)))
        except InputError:
            continue
        assert all(isinstance(item, Fault) for item in taken(source))


# sound


def sound(x, width=2, rate=16000):
    """A .wav of PCM; ``x`` [t, channels] from -1 to 1."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(x.shape[1])
        out.setsampwidth(width)
        out.setframerate(rate)
        wide = np.round(x * (2 ** (8 * width - 1) - 1)).astype(np.int64)
        if width == 1:
            wide += 128
        out.writeframes(b"".join(int(v).to_bytes(width, "little", signed=width > 1) for v in wide.ravel()))
    return file.getvalue()


def tone(count, channels=1):
    return np.stack([np.sin(np.arange(count) * 0.05 * (c + 1)) for c in range(channels)], axis=1)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_pcm_of_any_width_is_numbers_from_minus_1_to_1(write, width):
    x = tone(5000, 2)
    found = windows(write(sound(x, width), "x.wav"), Model((1000, 2)))
    assert len(found) == 5
    np.testing.assert_allclose(np.concatenate([w.x for w in found]), x, atol=4 / 2 ** (8 * width) + 1e-7)


def test_a_channel_is_chosen_and_the_rate_becomes_the_models(write):
    x = tone(8820, 2)
    model = Model((800,), preprocessing=Preprocessing(rate=16000.0))
    found = windows(write(sound(x, rate=44100), "x.wav") + "?channels=1", model)
    assert len(found) == 4  # of 3200 samples
    at = np.arange(3200) * 44100 / 16000
    heard = np.concatenate([w.x for w in found])
    np.testing.assert_allclose(heard[50:-50], np.sin(at * 0.1)[50:-50], atol=0.01)


def test_sound_of_the_wrong_kind_is_refused_with_a_way_out(write):
    pcm = sound(tone(100))
    floating = pcm[:20] + struct.pack("<H", 3) + pcm[22:]
    for content, said in (
        (floating, "unknown format"),
        (pcm[:30], "cannot be read as sound"),
        (b"RIFF" + bytes(60), "cannot be read as sound"),
        (b"", "cannot be read as sound"),
        (sound(tone(100), rate=1).replace(struct.pack("<I", 1) + struct.pack("<I", 2), bytes(8), 1), "0 Hz"),
    ):
        with pytest.raises(InputError) as caught:
            open_source(write(content, "x.wav"), Model((50,)))
        assert said in caught.value.cause
        assert "ffmpeg" in caught.value.hint
    with pytest.raises(InputError, match="2 channels"):
        open_source(write(sound(tone(100, 2)), "x.wav"), Model((50,)))
    with pytest.raises(InputError, match="takes 40"):  # a spectrogram
        open_source(write(pcm, "x.wav"), Model((49, 40)))


def test_sound_that_is_cut_short_is_played_as_far_as_it_goes(write):
    found = taken(open_source(write(sound(tone(100))[:-51], "x.wav"), Model((25,))))
    assert [getattr(item, "sequence", item.__class__) for item in found] == [0, 1, Fault]
    assert "its last 26 frames are missing" in found[-1].cause


def test_damaged_sound_is_an_input_error_or_a_fault(write):
    rng = random.Random(0)
    data = sound(tone(60))
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(60)] = rng.randrange(256)
        try:
            source = open_source(write(bytes(damaged), "x.wav"), Model((20,)))
        except InputError:
            continue
        taken(source)
