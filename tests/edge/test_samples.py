"""From samples to windows: held against plain numpy, and the same however the samples are divided into chunks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import InputError
from edge.samples import Cutter, Samples, Signal, check_channels
from edge.samples.layout import layout
from edge.samples.preprocessing import Preprocessing, faults
from edge.samples.resample import Resampler, ratio
from edge.samples.windows import Windower, hop_of

NO_MARKS = (np.empty(0, np.int64), np.empty(0, np.int64))


def noise(count, channels=2, seed=0):
    return np.random.default_rng(seed).normal(size=(count, channels)).astype(np.float32)


def marks_of(labels):
    """Marks at every sample whose label is not negative."""
    places = np.flatnonzero(np.asarray(labels) >= 0)
    return places, np.asarray(labels, np.int64)[places]


def in_chunks(x, labels, cuts):
    """The samples in chunks that end at ``cuts``, each with its marks."""
    for part, named in zip(np.split(x, cuts), np.split(np.asarray(labels, np.int64), cuts), strict=True):
        yield part, marks_of(named)


def resampled(x, up, down, cuts=()):
    resampler = Resampler(up, down)
    parts = [resampler.feed(part, NO_MARKS)[0] for part in np.split(x, cuts)]
    return np.concatenate([part for part in (*parts, resampler.finish()) if part.size])


def by_definition(x, up, down):
    """The same filter applied as textbooks have it: zeros between samples, one convolution, every ``down``-th kept."""
    half = 10 * max(up, down)
    sinc = np.sinc(np.arange(-half, half + 1) / max(up, down)) * np.kaiser(2 * half + 1, 5.0)
    pad = 2 * half // up + 2
    held = np.concatenate([np.repeat(x[:1], pad, 0), x, np.repeat(x[-1:], pad, 0)]).astype(float)
    stuffed, ones = np.zeros((len(held) * up, x.shape[1])), np.zeros(len(held) * up)
    stuffed[::up], ones[::up] = held, 1.0
    gain = np.convolve(ones, sinc, "same")
    smooth = np.stack([np.convolve(channel, sinc, "same") for channel in stuffed.T], axis=1) / gain[:, None]
    return smooth[pad * up :: down][: -(-len(x) * up // down)]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 80), st.lists(st.integers(0, 80), max_size=5))
def test_resampling_is_what_its_definition_says_in_any_chunks(up, down, count, cuts):
    x = noise(count)
    np.testing.assert_allclose(resampled(x, up, down, sorted(cuts)), by_definition(x, up, down), atol=1e-9)


def test_what_is_constant_stays_so_from_the_first_sample_to_the_last():
    np.testing.assert_allclose(resampled(np.full((50, 1), 9.81), 7, 5), 9.81, rtol=1e-12)


@pytest.mark.parametrize(("given_rate", "wanted"), [(360, 250), (44100, 16000), (50, 200), (100, 30)])
def test_a_tone_below_half_of_both_rates_passes_and_one_above_the_new_one_does_not(given_rate, wanted):
    up, down = ratio(wanted, given_rate)
    count = 2000
    lower = min(given_rate, wanted)
    t, new_t = np.arange(count) / given_rate, np.arange(-(-count * up // down)) / wanted
    inside = slice(len(new_t) // 4, -len(new_t) // 4)
    tone = resampled(np.sin(2 * np.pi * 0.2 * lower * t)[:, None], up, down)[:, 0]
    np.testing.assert_allclose(tone[inside], np.sin(2 * np.pi * 0.2 * lower * new_t)[inside], atol=0.01)
    if wanted < given_rate / 1.2:
        above = resampled(np.sin(2 * np.pi * 0.6 * wanted * t)[:, None], up, down)[:, 0]
        assert np.abs(above[inside]).max() < 0.02


def test_much_slower_sampling_takes_bounded_memory_and_gives_the_right_count():
    assert len(resampled(noise(3500, 1), 1, 1000, [100, 101, 3000])) == 4


@pytest.mark.parametrize(
    ("wanted", "given_rate", "parts"),
    [(250, 360, (25, 36)), (16000, 44100, (160, 441)), (50, 50, (1, 1)), (200, 50, (4, 1)), (1 / 3, 1, (1, 3))],
)
def test_ratios_are_in_lowest_terms(wanted, given_rate, parts):
    assert ratio(wanted, given_rate) == parts


def test_rates_too_far_apart_are_refused():
    for wanted, given_rate in ((1, 44100), (44100, 1)):
        with pytest.raises(InputError, match="cannot become"):
            ratio(wanted, given_rate)


def cut(windower, x, labels, cuts):
    found = []
    for part, marks in in_chunks(x, labels, cuts):
        found += [(window.tolist(), truth) for window, truth in windower.feed(part, marks)]
    return found


labelled = st.lists(st.integers(-1, 2), min_size=1, max_size=60)


@settings(max_examples=150, deadline=None)
@given(labelled, st.integers(1, 9), st.integers(1, 15), st.lists(st.integers(0, 60), max_size=6))
def test_one_window_every_hop_of_the_class_of_most_of_its_samples(labels, length, hop, cuts):
    x = noise(len(labels))
    expected = []
    for begin in range(0, len(labels) - length + 1, hop):
        here = [label for label in labels[begin : begin + length] if label >= 0]
        truth = max(sorted(set(here)), key=here.count) if here else None
        expected.append((x[begin : begin + length].tolist(), truth))
    assert cut(Windower(length, hop), x, labels, sorted(cuts)) == expected


@settings(max_examples=150, deadline=None)
@given(labelled, st.integers(1, 9), st.lists(st.integers(0, 60), max_size=6))
def test_one_window_around_each_mark_that_has_room_for_it(labels, length, cuts):
    x = noise(len(labels))
    begins = [(place - length // 2, label) for place, label in enumerate(labels) if label >= 0]
    expected = [(x[b : b + length].tolist(), label) for b, label in begins if 0 <= b <= len(x) - length]
    assert cut(Windower(length, None), x, labels, sorted(cuts)) == expected


def test_no_more_is_kept_than_a_window_and_a_chunk():
    for hop in (1, 500, None):
        windower = Windower(100, hop)
        for _ in range(200):
            list(windower.feed(noise(40), (np.arange(40), np.zeros(40, np.int64))))
            assert len(windower._kept) <= 140
            assert len(windower._marks) <= 140


@pytest.mark.parametrize(
    ("text", "hop"), [(None, 200), ("50", 50), ("0.5s", 25), ("50%", 100), ("100%", 200), ("2s", 100), ("150%", 300)]
)
def test_a_hop_is_in_samples_seconds_or_parts_of_a_window(text, hop):
    assert hop_of(text, 200, 50.0) == hop


@pytest.mark.parametrize("text", ["0.5", "0", "0%", "0.001s", "-5", "x", "5 s", "1e3", "", "9" * 40])
def test_another_hop_is_refused(text):
    with pytest.raises(InputError) as caught:
        hop_of(text, 200, 50.0)
    assert "50%" in caught.value.hint


def test_a_hop_in_seconds_needs_a_rate():
    with pytest.raises(InputError, match="rate"):
        hop_of("0.5s", 200, None)


@pytest.mark.parametrize(
    ("shape", "channels", "length", "first"),
    [
        ((200, 6), 6, 200, False),
        ((6, 200), 6, 200, True),
        ((1, 200, 6), 6, 200, False),
        ((187, 1), 1, 187, False),
        ((16000,), 1, 16000, False),
        ((10,), 10, 1, False),
        ((1, 1), 1, 1, False),
        ((6, 6), 6, 6, False),
    ],
)
def test_where_time_is_in_a_models_input(shape, channels, length, first):
    found = layout(shape, channels)
    assert (found.length, found.channels, found.channels_first) == (length, channels, first)
    window = noise(length, channels)
    arranged = found.arranged(window)
    assert arranged.shape == shape
    assert arranged.flags.c_contiguous
    assert not np.shares_memory(arranged, window)
    np.testing.assert_array_equal(arranged.ravel(), (window.T if first else window).ravel())


@pytest.mark.parametrize(("shape", "channels"), [((200, 6), 5), ((200,), 3), ((96, 96, 3), 3), ((1,), 2)])
def test_channels_that_do_not_fill_the_input_are_refused(shape, channels):
    with pytest.raises(InputError) as caught:
        layout(shape, channels)
    assert str(list(shape)) in caught.value.cause


def test_values_are_scaled_by_what_is_stated():
    x = noise(5, 3)
    stated = Preprocessing(offset=(1.0, 2.0, 3.0), scale=(0.5,))
    np.testing.assert_allclose(stated.scaled(x), (x - [1, 2, 3]) / 0.5, rtol=1e-6)
    assert stated.scaled(x).dtype == np.float32
    assert Preprocessing().scaled(x) is x


def test_windows_are_normalised_each_by_itself_and_what_is_constant_becomes_0():
    window = np.concatenate([noise(50, 2) * 7 + 100, np.full((50, 1), 0.1, np.float32)], axis=1)
    standard = Preprocessing(normalize="standard").normalized(window)
    np.testing.assert_allclose(standard[:, :2].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(standard[:, :2].std(0), 1, atol=1e-6)
    within = Preprocessing(normalize="range").normalized(window)
    assert (within[:, :2].min(0) == 0).all()
    assert (within[:, :2].max(0) == 1).all()
    assert (standard[:, 2] == 0).all()
    assert (within[:, 2] == 0).all()
    image = Preprocessing(normalize="range").normalized(noise(12, 3).reshape(3, 4, 3))
    assert image.max() == 1
    assert (image.max(axis=(0, 1)) == 1).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rate": 0.0}, "rate is 0"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"channels": ("a", "a")}, "not different names"),
        ({"channels": ("a", "")}, "not different names"),
        ({"channels": tuple("abcde")}, "channels are 5"),
        ({"offset": (1.0, 2.0, 3.0)}, "offset is 3 numbers"),
        ({"channels": tuple("abcdef"), "scale": (1.0, 2.0)}, "scale is 2 numbers"),
        ({"scale": (0.0,)}, "scale holds 0"),
        ({"scale": (1e-60,)}, "scale holds 0"),
        ({"offset": (float("inf"),)}, "offset holds NaN, infinity"),
        ({"normalize": "z"}, "none of none, standard, range"),
    ],
)
def test_a_statement_that_cannot_be_done_is_a_fault(wrong, said):
    assert any(said in fault for fault in faults(Preprocessing(**wrong), (200, 6)))


def test_a_statement_that_can_be_done_is_none():
    for shape, fine in (
        ((200, 6), Preprocessing(50.0, tuple("abcdef"), (1.0,) * 6, (2.0,), "standard")),
        ((6, 200), Preprocessing(50.0, tuple("abcdef"))),
        ((96, 96, 1), Preprocessing(channels=("grey",), offset=(127.5,), scale=(127.5,))),
        ((96, 96, 3), Preprocessing(channels=("red", "green", "blue"))),
        ((16000,), Preprocessing(16000.0, ("microphone",))),
    ):
        assert not list(faults(fine, shape))


def test_a_cutter_resamples_then_scales_then_cuts_in_any_chunks():
    x = noise(300)
    stated = Preprocessing(rate=25.0, offset=(1.0, 0.0), scale=(2.0, 4.0))
    labels = np.arange(300) // 80
    expected = (by_definition(x, 1, 2) - [1, 0]) / [2, 4]
    for cuts in ([], [1, 2, 150], list(range(10, 300, 10))):
        cutter = Cutter(Signal(2, 50.0), (40, 2), stated)
        found = [piece for part, marks in in_chunks(x, labels, cuts) for piece in cutter.feed(Samples(part, marks))]
        found += cutter.finish()
        assert [truth for _, truth in found] == [0, 1, 2]
        np.testing.assert_allclose(np.concatenate([window for window, _ in found]), expected[:120], atol=1e-5)


def test_windows_around_beats_are_around_them_at_the_new_rate():
    beats = [40, 90, 150]
    x = np.zeros((200, 1), np.float32)
    x[beats] = 1.0
    labels = np.full(200, -1)
    labels[beats] = [1, 0, 2]
    for rate in (180.0, 500.0):
        cutter = Cutter(Signal(1, 360.0, centred=True), (20, 1), Preprocessing(rate=rate))
        found = [*cutter.feed(Samples(x, marks_of(labels))), *cutter.finish()]
        assert [truth for _, truth in found] == [1, 0, 2]
        assert all(abs(int(np.argmax(window[:, 0])) - 10) <= 1 for window, _ in found)


def test_after_a_gap_no_window_holds_both_sides_of_it():
    cutter = Cutter(Signal(1), (4,), None)
    ones, twos = np.ones((6, 1)), np.full((6, 1), 2.0)
    found = [*cutter.feed(Samples(ones)), *cutter.finish(), *cutter.feed(Samples(twos))]
    assert [window.tolist() for window, _ in found] == [[1, 1, 1, 1], [2, 2, 2, 2]]


def test_channels_go_by_name_or_number():
    assert check_channels(("V5", "0"), ("MLII", "V5"), "record 100") == [1, 0]
    for wrong in ("V1", "2", "-1", "٣"):
        with pytest.raises(InputError, match="record 100 has no channel"):
            check_channels((wrong,), ("MLII", "V5"), "record 100")
