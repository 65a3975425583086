"""Windows out of live sources: pipes, serial ports and signals out of thin air."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from edge.capture import open_source
from edge.errors import InputError, LinkError
from edge.latency import clock
from edge.samples.preprocessing import Preprocessing
from edge.sources import Fault, Window, stdin
from edge.wire.codes import SourceFault
from edge.wire.framing import frame
from edge.wire.port import Port
from firmware_bridge.nullmodem import NullModem
from tests.edge.windows import LONG, Model, taken


def of_kind(found, kind):
    return [item for item in found if isinstance(item, kind)]


@pytest.fixture
def pipe(monkeypatch):
    """The writing end of what the source takes for the standard input."""
    read, write = os.pipe()
    monkeypatch.setattr(stdin, "_STDIN", read)
    with os.fdopen(write, "wb", buffering=0) as end:
        yield end
    os.close(read)


def write_all(pipe, data):
    while data:
        data = data[pipe.write(data) :]
    pipe.close()


def next_of(source, kind):
    while not isinstance(item := source.take(LONG), kind):
        assert not source.ended
    return item


# stdin


def test_lines_of_a_pipe_are_windows_as_soon_as_they_are_whole(pipe):
    source = open_source("stdin:?label=c", Model((2, 2)))
    assert not source.live
    pipe.write(b"x,y,c\n1,2,b\n3,")
    pipe.write(b"4,b\n5,6,b\n")
    window = next_of(source, Window)
    assert (window.x.tolist(), window.truth) == ([[1, 2], [3, 4]], 1)
    pipe.write(b"rubbish\n7,8,c\n")
    assert "stdin: line 5: 1 cells, 3 are wanted" in next_of(source, Fault).cause
    assert next_of(source, Window).x.tolist() == [[5, 6], [7, 8]]
    pipe.close()
    (end,) = taken(source)
    assert end.kind is SourceFault.ENDED


@pytest.mark.parametrize("live", ["no", "yes"])
def test_who_writes_to_a_pipe_waits_unless_it_is_live(pipe, live):
    source = open_source(f"stdin:?format=int16&live={live}", Model((8,)))
    count = 1 << 17  # samples: four times what a pipe holds
    writer = threading.Thread(target=write_all, args=(pipe, np.arange(count).astype("<i2").tobytes()))
    writer.start()
    if live == "yes":
        writer.join(LONG)  # with nobody taking
    found = taken(source)
    windows = of_kind(found, Window)
    if live == "yes":
        assert len(windows) + source.faults[SourceFault.LOST_WINDOW] == count // 8
        assert source.faults[SourceFault.LOST_WINDOW] > len(windows)
    else:
        np.testing.assert_array_equal(np.concatenate([w.x for w in windows]), np.arange(count).astype(np.int16))
        assert source.faults == {SourceFault.ENDED: 1}
    writer.join(LONG)


@pytest.mark.parametrize("name", ["float32", "int16"])
def test_binary_samples_come_in_any_pieces(pipe, name):
    source = open_source(f"stdin:?format={name}", Model((4, 3)))
    data = np.arange(24).astype(f"<{np.dtype(name).str[1:]}").tobytes()
    for at in range(0, len(data), 7):
        pipe.write(data[at : at + 7])
    pipe.write(b"\x01")
    pipe.close()
    found = taken(source)
    np.testing.assert_array_equal([w.x.ravel() for w in of_kind(found, Window)], np.arange(24).reshape(2, 12))
    assert "cut short" in of_kind(found, Fault)[0].cause


def test_floats_that_are_no_numbers_are_left_out(pipe):
    source = open_source("stdin:?format=float32", Model((2,)))
    pipe.write(np.array([1, np.nan, 2, np.inf], "<f4").tobytes())
    pipe.close()
    found = taken(source)
    assert [w.x.tolist() for w in of_kind(found, Window)] == [[1, 2]]
    assert source.faults[SourceFault.BAD_INPUT] >= 1


def test_a_pipe_that_is_silent_for_too_long_has_ended(pipe):
    source = open_source("stdin:?stall=0.1", Model((2,)))
    (fault,) = taken(source)
    assert (fault.kind, "nothing for 0.1 s" in fault.cause) == (SourceFault.ENDED, True)


def test_a_table_of_other_columns_ends_the_source_with_the_reason(pipe):
    source = open_source("stdin:", Model((2, 3)))
    pipe.write(b"1,2\n")
    (fault,) = taken(source)
    assert "stdin has 2 columns of values, and 3 are wanted" in fault.cause


def test_options_of_another_format_are_refused():
    for spec, said in (("stdin:file", "no location"), ("stdin:?format=int16&label=x", "no columns and labels")):
        with pytest.raises(InputError, match=said):
            open_source(spec, Model((2, 2)))


# serial ports, joined by a cable


def frame_of(counter, samples, kind=2):
    dtype = {1: "<i2", 2: "<f4"}[kind]
    return frame(bytes([kind, counter]) + np.asarray(samples).astype(dtype).tobytes())


def test_lines_of_a_port_are_samples(modem):
    source = open_source(f"serial:{modem.device}?columns=2,0&stall=60", Model((2, 2)))
    with Port(modem.host) as sensor:
        sensor.write(b".5,9\n1,0,2\r\n 3 0 4\nhello\n5;0\n", LONG)
        assert next_of(source, Fault).cause.endswith("no 2 numbers in 'hello'")
        assert next_of(source, Window).x.tolist() == [[2, 1], [4, 3]]
        sensor.write(b"5,0,1e99\n6,0,7\n7,0,8\n", LONG)
        assert next_of(source, Window).x.tolist() == [[7, 6], [8, 7]]
    assert source.faults[SourceFault.BAD_INPUT] == 3
    source.close()


def test_frames_of_a_port_are_samples_and_one_that_is_missing_is_a_gap(modem):
    source = open_source(f"serial:{modem.device}?format=frames&stall=60", Model((3, 2)))
    with Port(modem.host) as sensor:
        sensor.write(frame_of(254, [[1, 2], [3, 4]]) + frame_of(255, [[5, 6], [7, 8]]), LONG)
        assert next_of(source, Window).x.tolist() == [[1, 2], [3, 4], [5, 6]]
        damaged = bytearray(frame_of(0, [[9, 9]]))
        damaged[5] ^= 1
        sensor.write(bytes(damaged) + frame_of(1, [[-1, -2], [-3, -4], [-5, -6]], kind=1), LONG)
        assert "a frame that is damaged" in next_of(source, Fault).cause
        assert next_of(source, Window).x.tolist() == [[-1, -2], [-3, -4], [-5, -6]]  # none of those before
        sensor.write(frame(b"\x03\x02abcd") + frame(b"\x02") + frame(b"\x02\x02abc") + frame_of(2, [[1, 1]] * 3), LONG)
        assert next_of(source, Window).x.tolist() == [[1, 1]] * 3
    assert source.faults == {SourceFault.BAD_INPUT: 5}  # damaged, missing, and three of no samples
    source.close()


def test_a_port_of_noise_gives_faults_and_nothing_else(modem):
    noise = np.random.default_rng(0).bytes(40_000)
    with Port(modem.host) as sensor:
        for form in ("text", "frames"):
            source = open_source(f"serial:{modem.device}?format={form}&stall=60", Model((2, 2)))
            sent = 0
            while sent < len(noise):
                sent += sensor.write(noise[sent:], 0.1)
            assert next_of(source, Fault).kind is SourceFault.BAD_INPUT
            source.close()


def test_a_silent_port_stalls_and_is_opened_again(modem):
    source = open_source(f"serial:{modem.device}?stall=0.1", Model((1,)))
    fault = next_of(source, Fault)
    assert (fault.kind, fault.hint) == (SourceFault.STALLED, "look at the sensor and its cable")
    with Port(modem.host) as sensor:
        while (item := source.take(0.02)) is None:
            sensor.write(b"1\n2\n", 0.0)
    assert item.kind is SourceFault.REOPENED
    assert isinstance(next_of(source, Window), Window)
    source.close()


def test_a_port_that_is_lost_ends_the_source_or_is_waited_for(tmp_path):
    port = tmp_path / "port"  # as udev does: the name is gone with the device, and nobody else's next pty has it
    for retry, kind in (("no", SourceFault.ENDED), ("yes", SourceFault.STALLED)):
        with NullModem() as modem:
            port.symlink_to(modem.device)
            source = open_source(f"serial:{port}?stall=60&retry={retry}", Model((1,)))
            port.unlink()
        fault = next_of(source, Fault)
        assert (fault.kind, "lost port" in fault.cause) == (kind, True)
        assert source.take(0.3) is None
        assert source.ended == (retry == "no")
        source.close()


def test_a_port_that_is_taken_or_options_that_do_not_fit_are_refused_at_once(modem):
    with Port(modem.device), pytest.raises(LinkError, match="has it open"):
        open_source(f"serial:{modem.device}", Model((1,)))
    for options, said in (("columns=x", "no numbers"), ("columns=1&format=frames", "no columns"), ("baud=0", "baud")):
        with pytest.raises(InputError, match=said):
            open_source(f"serial:{modem.device}?{options}", Model((1,)))


# out of thin air


def test_a_signal_is_the_same_each_time_and_in_the_models_unit():
    model = Model((25, 2), preprocessing=Preprocessing(rate=50.0, offset=(7.0,), scale=(9.0,)))
    for shape in ("sine", "noise", "step"):
        spec = f"synthetic:{shape}?paced=no&count=1000&seed=3&frequency=2"
        first, again = (taken(open_source(spec, model)) for _ in range(2))
        assert len(first) == 40
        x = np.concatenate([w.x for w in first])
        np.testing.assert_array_equal(x, np.concatenate([w.x for w in again]))
        assert np.abs(x).max() <= (5 if shape == "noise" else 1)
        if shape == "sine":
            np.testing.assert_allclose(x[:, 0], np.sin(2 * np.pi * 2 * np.arange(1000) / 50), atol=1e-4)
    other = taken(open_source("synthetic:noise?paced=no&count=1000&seed=4", model))
    assert not np.array_equal(other[0].x, taken(open_source("synthetic:noise?paced=no&count=50", model))[0].x)


def test_a_paced_signal_comes_at_its_rate_and_ends():
    begun = clock()
    source = open_source("synthetic:sine?rate=500&count=200", Model((50,)))
    assert source.live
    found = taken(source)
    windows = of_kind(found, Window)
    assert [w.sequence for w in windows] == [0, 1, 2, 3]
    assert windows[-1].at - begun >= 0.4e9
    assert found[-1].kind is SourceFault.ENDED


def test_another_signal_and_a_live_one_to_be_repeated_are_refused():
    with pytest.raises(InputError) as caught:
        open_source("synthetic:square", Model((50,)))
    assert "sine, noise, step" in caught.value.hint
    with pytest.raises(InputError, match="is live"):
        open_source("synthetic:sine", Model((50,)), repeat=True)
