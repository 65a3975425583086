"""Two ptys and a cable between them."""

from __future__ import annotations

import threading
import time
from collections import deque
from pathlib import Path

import pytest

from edge.wire.port import Port
from firmware_bridge.nullmodem import NullModem


def read(port, size, seconds=60.0):
    got, end = b"", time.monotonic() + seconds
    while len(got) < size and time.monotonic() < end:
        port.wait(0.1)
        got += port.read()
    return got


def test_every_byte_passes_both_ways():
    with NullModem() as modem, Port(modem.device) as device, Port(modem.host) as host:
        every_byte = bytes(range(256)) * 8
        device.write(every_byte, 1.0)
        assert read(host, 2048) == every_byte
        host.write(every_byte, 1.0)
        assert read(device, 2048) == every_byte


def test_either_side_may_be_opened_again_and_again():
    with NullModem() as modem, Port(modem.host) as host:
        for i in range(5):
            with Port(modem.device) as device:
                device.write(bytes([i]), 1.0)
            assert read(host, 1) == bytes([i])


@pytest.mark.parametrize("rate", [11_520, 92_160])
def test_a_slow_cable_carries_what_a_line_would_and_no_more(rate):
    with NullModem(bytes_per_second=rate) as modem, Port(modem.device) as device, Port(modem.host) as host:
        carried, begin, ahead = 0, time.monotonic(), 0.0
        moments = deque([(begin, 0)])  # of the last half of a second, and what had been carried by then
        best, end = 0.0, begin + 60
        while best < 0.85 * rate:  # a busy machine is late, but not always
            assert time.monotonic() < end, f"{best:.0f} bytes a second at the most"
            device.write(bytes(8192), 0.001)
            host.wait(0.001)
            carried += len(host.read())
            now = time.monotonic()
            ahead = max(ahead, carried - rate * (now - begin))
            moments.append((now, carried))
            while now - moments[0][0] > 0.5:
                then, before = moments.popleft()
                best = max(best, (carried - before) / (now - then))
    assert ahead <= max(16, rate * 0.001)  # never earlier than on a line, but for what a UART's FIFO holds


def test_an_idle_cable_saves_nothing_up():
    with NullModem(bytes_per_second=5000) as modem, Port(modem.device) as device, Port(modem.host) as host:
        device.write(b"x", 1.0)
        assert read(host, 1) == b"x"
        time.sleep(0.5)
        begin = time.monotonic()
        device.write(bytes(2500), 1.0)
        assert len(read(host, 2500)) == 2500
        assert time.monotonic() - begin > 0.49


def test_a_cut_cable_leaves_nothing_behind():
    threads = set(threading.enumerate())
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        modem = NullModem()
        with Port(modem.device) as device:
            while device.write(bytes(4096), 0.05):  # full, and nobody reads
                pass
            modem.close()
        assert not Path(modem.device).exists()
    assert set(threading.enumerate()) <= threads  # one of another test may have ended meanwhile
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors
