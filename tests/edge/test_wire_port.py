"""A port never makes anyone wait longer than they said, and says when it is gone."""

from __future__ import annotations

import errno
import os
import pty
import socket
import termios
import threading
import time
import tty

import pytest

from edge.errors import LinkError
from edge.wire.port import Port, backoff


def received(read, size):
    """Return so many bytes: a read may give a part of what was written."""
    got = read()
    while len(got) < size:
        got += read()
    return got


@pytest.fixture
def wire():
    master, slave = pty.openpty()
    tty.setraw(slave)
    with Port(os.ttyname(slave)) as port:
        os.close(slave)
        yield master, port
    if master is not None:
        os.close(master)


def test_bytes_pass_unchanged_both_ways(wire):
    master, port = wire
    every_byte = bytes(range(256))
    assert port.write(every_byte, 1.0) == 256
    assert received(lambda: os.read(master, 1000), 256) == every_byte
    os.write(master, every_byte)

    def read():
        port.wait(60.0)
        return port.read()

    assert received(read, 256) == every_byte


def test_reading_nothing_does_not_wait(wire):
    _, port = wire
    start = time.monotonic()
    assert port.read() == b""
    assert time.monotonic() - start < 30.0  # it would wait for ever


def test_a_host_that_does_not_read_costs_no_more_than_the_patience(wire):
    _, port = wire
    written, taken, waited = 0, 1, 0.0
    while taken:
        start = time.monotonic()
        taken = port.write(b"x" * 4096, 0.2)
        written, waited = written + taken, time.monotonic() - start
    assert 0 < written < 1_000_000
    assert 0.15 < waited < 30.0


def test_a_rate_that_no_port_can_have_is_refused(modem):
    with pytest.raises(LinkError, match="99999999999999999999 baud"):
        Port(modem.device, 99999999999999999999)
    Port(modem.device).close()  # which nobody holds


def test_waiting_ends_with_a_wake_up_from_another_thread(wire):
    _, port = wire
    threading.Timer(0.1, port.wake).start()
    start = time.monotonic()
    port.wait(60.0)
    assert time.monotonic() - start < 30.0
    for _ in range(100_000):
        port.wake()  # never blocks, however often
    port.wait(0.0)


def test_a_port_that_is_gone_is_a_link_error():
    master, slave = pty.openpty()
    tty.setraw(slave)
    with Port(os.ttyname(slave)) as port:
        os.close(slave)
        os.close(master)
        with pytest.raises(LinkError, match="lost port"):
            port.read()
        with pytest.raises(LinkError) as caught:
            port.write(b"x", 0.1)
        assert caught.value.cause == f"lost port {port.url}: Input/output error"
    port.wake()  # too late, and harmless


def test_a_port_that_goes_while_somebody_waits_to_write_says_why():
    master, slave = pty.openpty()
    tty.setraw(slave)
    with Port(os.ttyname(slave)) as port:
        os.close(slave)
        while port.write(b"x" * 4096, 0.2):
            pass
        gone = threading.Timer(0.1, os.close, [master])
        gone.start()
        with pytest.raises(LinkError) as caught:
            while True:
                port.write(b"x", 60.0)
        gone.join()
    assert caught.value.cause == f"lost port {port.url}: Input/output error"


@pytest.mark.parametrize("call", ["tcsetattr", "tcflush"])
def test_a_port_that_goes_while_it_is_opened_says_why(modem, monkeypatch, call):
    def gone(*_):
        raise termios.error(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as unplugged:
        unplugged.setattr(termios, call, gone)
        with pytest.raises(LinkError) as caught:
            Port(modem.device)
    assert caught.value.cause == f"cannot open port {modem.device}: Input/output error"
    Port(modem.device).close()  # which nobody holds


def test_a_port_that_goes_while_somebody_waits_for_it_is_a_link_error():
    with Port("loop://") as port:
        port._serial.close()
        with pytest.raises(LinkError, match="lost port loop://"):
            port.wait(1.0)


def test_a_port_is_opened_by_one_program_only(wire):
    _, port = wire
    with pytest.raises(LinkError) as caught:
        Port(port.url)
    assert f"(pid {os.getpid()}) has it open" in caught.value.cause


@pytest.mark.parametrize("url", ["/dev/does-not-exist", "socket://127.0.0.1:1", "nonsense://x", "socket://", ""])
def test_a_port_that_cannot_be_opened_says_which_and_what_to_do(url):
    with pytest.raises(LinkError) as caught:
        Port(url)
    assert url in caught.value.cause
    assert caught.value.hint


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("/dev/does-not-exist", "No such file or directory"),
        ("/dev/null", "Inappropriate ioctl for device"),
        ("socket://127.0.0.1:1", "Connection refused"),
        ("nonsense://x", "invalid URL, protocol 'nonsense' not known"),
    ],
)
def test_why_a_port_cannot_be_opened_is_said_once(url, why):
    with pytest.raises(LinkError) as caught:
        Port(url)
    assert caught.value.cause == f"cannot open port {url}: {why}"


@pytest.mark.parametrize("address", ["", "127.0.0.1", ":5000", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536"])
@pytest.mark.parametrize("scheme", ["socket", "rfc2217"])
def test_a_socket_that_names_no_host_and_port_is_told_what_to_write(scheme, address):
    with pytest.raises(LinkError) as caught:
        Port(f"{scheme}://{address}")
    assert "does not name a host and a port number" in caught.value.cause
    assert f"{scheme}://127.0.0.1:5000" in caught.value.hint


def test_short_frames_leave_a_socket_at_once():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        Port(f"socket://127.0.0.1:{server.getsockname()[1]}") as port,
        socket.socket(fileno=os.dup(port._descriptor)) as same,
    ):
        assert same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert port.read() == b""  # and it still waits for nothing


def test_sockets_are_ports_too():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        Port(f"socket://127.0.0.1:{server.getsockname()[1]}") as port,
    ):
        there, _ = server.accept()
        assert port.write(b"from here", 1.0) == 9
        assert there.recv(100) == b"from here"
        there.sendall(b"y" * 10_000)
        got = b""
        while len(got) < 10_000:
            port.wait(1.0)
            got += port.read()
        there.close()
        with pytest.raises(LinkError):
            while True:
                port.wait(60.0)
                port.read()


def test_a_loop_back_is_a_port_too():
    with Port("loop://") as port:
        assert port.read() == b""
        port.write(b"echo", 1.0)
        port.wait(60.0)
        assert port.read() == b"echo"


def test_waiting_before_reopening_grows_to_five_seconds():
    delays = backoff()
    waits = [next(delays) for _ in range(10)]
    assert waits[0] == 0.1
    assert waits == sorted(waits)
    assert waits[-1] == 5.0


def test_hardware_flow_control_is_asked_of_the_system(modem):
    for rtscts in (False, True):
        with Port(modem.device, rtscts=rtscts) as port:
            assert bool(termios.tcgetattr(port._descriptor)[2] & termios.CRTSCTS) == rtscts
