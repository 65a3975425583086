"""A serial port, pty, USB gadget or socket as both ends of the link use it: no call waits longer than it was told."""

from __future__ import annotations

import errno
import os
import queue
import select
import socket
import stat
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import serial

from edge.errors import LinkError
from edge.holders import holders
from edge.wakeup import WakeUp

DEFAULT_BAUD = 921600
_POLL = 0.02  # seconds between looks at a port that cannot be waited for
_READ = 65536
_GONE: tuple[type[Exception], ...] = (serial.SerialException, OSError, queue.Full)
if os.name == "posix":
    import termios

    _GONE += (termios.error,)  # no OSError, and pyserial lets it through
_REFUSED: tuple[type[Exception], ...] = (*_GONE, ValueError)


class Port:
    """An open port.

    ``url`` is whatever ``serial.serial_for_url`` takes. The port is opened exclusively where the system can do that.
    ``rtscts`` has the UARTs stop each other by their RTS and CTS lines. XON/XOFF is not offered: frames hold
    both bytes.
    Every method raises LinkError when the port is gone.
    """

    def __init__(self, url: str, baud: int = DEFAULT_BAUD, *, rtscts: bool = False) -> None:
        self.url = url
        exclusive = True if os.name == "posix" else None
        try:
            self._serial = serial.serial_for_url(
                url, baudrate=baud, rtscts=rtscts, timeout=0, write_timeout=1, exclusive=exclusive
            )
        except OverflowError as error:
            raise LinkError(f"cannot open port {url}: {baud} baud are none", "9600 to 4000000 are common") from error
        except _REFUSED as error:
            raise _refusal(url, error) from error
        self._descriptor = _descriptor(self._serial)
        _send_at_once(self._descriptor)
        self._wakeup = WakeUp()

    def read(self) -> bytes:
        """Return what has arrived, at most 64 KiB and perhaps nothing, without waiting."""
        try:
            if self._descriptor is None:
                return bytes(self._serial.read(min(_READ, self._serial.in_waiting)))
            if not select.select([self._descriptor], [], [], 0)[0]:
                return b""
            data = os.read(self._descriptor, _READ)
        except BlockingIOError:
            return b""
        except _GONE as error:
            raise self._lost(_reason(error)) from error
        if not data:
            raise self._lost("the other end has closed it")
        return data

    def write(self, data: bytes, patience: float) -> int:
        """Write what the port takes and return how many bytes that was; 0 after ``patience`` seconds of taking none."""
        try:
            if self._descriptor is None:
                return int(self._serial.write(data) or 0)
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:
                select.select([], [self._descriptor], [], patience)
                return os.write(self._descriptor, data)
        except BlockingIOError:
            return 0
        except _GONE as error:
            raise self._lost(_reason(error)) from error

    def wait(self, seconds: float) -> None:
        """Wait until something arrives, ``wake`` is called, or the time is over."""
        woken = self._wakeup.fileno()
        try:
            if self._descriptor is not None:
                ready, _, _ = select.select([self._descriptor, woken], [], [], seconds)
            elif self._serial.in_waiting:
                return
            else:
                ready, _, _ = select.select([woken], [], [], min(seconds, _POLL))
        except _GONE as error:
            raise self._lost(_reason(error)) from error
        if woken in ready:
            self._wakeup.hush()

    def wake(self) -> None:
        """End a ``wait``; may be called from any thread."""
        self._wakeup.ring()

    def close(self) -> None:
        """Close the port; what the system has already taken still leaves it."""
        self._serial.close()
        self._wakeup.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lost(self, why: str) -> LinkError:
        return LinkError(f"lost port {self.url}: {why}", "check the cable and the other end's power")


def backoff() -> Iterator[float]:
    """Yield how long to wait before each attempt to reopen a lost port, in seconds."""
    delay = 0.1
    while True:
        yield delay
        delay = min(2 * delay, 5.0)


def _descriptor(port: Any) -> int | None:
    """Return what ``select`` can wait for, and None for ports that only pyserial itself can read."""
    if os.name != "posix":
        return None
    try:
        return int(port.fileno())
    except OSError:  # loop:// and rfc2217:// have none
        return None


def _send_at_once(descriptor: int | None) -> None:
    """Have a socket not hold short frames back until earlier ones are acknowledged: that may take 40 ms each."""
    if descriptor is not None and stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        with socket.socket(fileno=os.dup(descriptor)) as same:
            same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _refusal(url: str, error: Exception) -> LinkError:
    """Return the error that says why a port cannot be opened."""
    number = getattr(error, "errno", None)
    why, hint = _reason(error), "`python -m serial.tools.list_ports` lists the ports there are"
    if number in {errno.EAGAIN, errno.EBUSY}:  # locked by whoever opens it as we do, or closed to all others
        there = holders(url)
        who = [str(holder) for holder in there if holder.locked] or [str(holder) for holder in there]
        why = f"{' and '.join(who) or 'another program'} has it open"
        hint = "one program at a time can have a port; end that one first"
        if not who:
            hint += f" (`sudo fuser -v {url}` tells which it is)"
    elif number == errno.EACCES:
        hint = "add the user to the group that owns it, often `dialout`, and log in again"
    elif not _has_address(url):
        why = "it does not name a host and a port number from 0 to 65535"
        hint = f"write it as in {url.partition(':')[0]}://127.0.0.1:5000"
    elif "://" in url:
        hint = "socket://HOST:PORT needs a listener there, and most of them take one client at a time"
    return LinkError(f"cannot open port {url}: {why}", hint)


def _has_address(url: str) -> bool:
    """Whether a port in the network says where it is; others need not."""
    try:
        parts = urlsplit(url)
        address = parts.hostname, parts.port
    except ValueError:  # a port that is no number, or none of those there are
        return False
    return None not in address or parts.scheme not in {"socket", "rfc2217"}


def _reason(error: BaseException) -> str:
    """Return what the system says is wrong, without the number and port that pyserial wraps around it."""
    origin = error.__context__ if isinstance(error, serial.SerialException) else None
    match (origin or error).args:
        case (int(), str(words)):
            return words
        case _:
            return str(error)
