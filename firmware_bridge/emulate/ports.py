"""Where the serial ports of virtual boards are: on this machine, at ports that the system chooses."""

from __future__ import annotations

import socket

from firmware_bridge.errors import EmulatorError


def listener() -> socket.socket:
    """Return a socket that listens on a free port of 127.0.0.1; EmulatorError where none can be had."""
    listener = socket.socket()
    try:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
    except OSError as error:
        listener.close()
        raise EmulatorError(f"cannot listen on 127.0.0.1: {error.strerror}", "is the loopback interface up?") from error
    return listener


def url(listening: socket.socket) -> str:
    """Return what opens the port that a socket listens on."""
    return f"socket://127.0.0.1:{listening.getsockname()[1]}"
