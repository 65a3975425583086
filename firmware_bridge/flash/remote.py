"""GDB's remote protocol, the part that a virtual board needs: memory, and commands to the emulator.

https://sourceware.org/gdb/current/onlinedocs/gdb.html/Remote-Protocol.html
"""

from __future__ import annotations

import socket

from edge.errors import LinkError
from firmware_bridge.errors import FlashError

_CHUNK = 1024  # bytes of memory in one packet, which has two digits for each: QEMU takes 4096
_READ = 65536


class Remote:
    """A connection to a debug server at ``HOST:PORT``, which stops the processor as long as there is one.

    Every method raises LinkError when the server is gone, or does not answer for ``patience`` seconds.
    """

    def __init__(self, address: str, patience: float) -> None:
        self._address = address
        self._buffer = b""
        host, _, port = address.rpartition(":")
        try:
            self._socket = socket.create_connection((host, int(port)), patience)
        except OSError as error:
            raise self._lost(error) from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, address: int, size: int) -> bytes:
        """Return memory; FlashError where there is none."""
        data = b""
        while len(data) < size:
            at, count = address + len(data), min(_CHUNK, size - len(data))
            answer = self._ask(f"m{at:x},{count:x}")
            try:
                part = bytes.fromhex(answer)
            except ValueError:  # "E14"
                part = b""
            if len(part) != count:
                raise FlashError(f"memory at {at:#x} cannot be read", "is the board's description right?")
            data += part
        return data

    def write(self, address: int, data: bytes) -> None:
        """Write memory, flash of a virtual board included; FlashError where there is none."""
        for place in range(0, len(data), _CHUNK):
            part = data[place : place + _CHUNK]
            if self._ask(f"M{address + place:x},{len(part):x}:{part.hex()}") != "OK":
                raise FlashError(
                    f"memory at {address + place:#x} cannot be written", "is the board's description right?"
                )

    def command(self, text: str) -> None:
        """Have the server do what its own command says; FlashError where it will not."""
        answer = self._ask(f"qRcmd,{text.encode().hex()}")
        while answer.startswith("O") and answer != "OK":  # what it says meanwhile
            answer = self._packet()
        if answer != "OK":
            raise FlashError(f"{self._address} refuses {text!r}: {answer or 'it knows no such thing'}", "is it QEMU?")

    def detach(self) -> None:
        """Let the processor run."""
        self._ask("D")

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def _ask(self, packet: str) -> str:
        try:
            self._socket.sendall(f"${packet}#{sum(packet.encode()) & 0xFF:02x}".encode())
        except OSError as error:
            raise self._lost(error) from error
        return self._packet()

    def _packet(self) -> str:
        """Return the next packet, and acknowledge it."""
        while (end := self._buffer.find(b"#")) < 0 or len(self._buffer) < end + 3:
            try:
                data = self._socket.recv(_READ)
            except OSError as error:
                raise self._lost(error) from error
            if not data:
                raise self._lost("it has closed the connection")
            self._buffer += data
        packet, self._buffer = self._buffer[:end], self._buffer[end + 3 :]
        try:
            self._socket.sendall(b"+")
        except OSError as error:
            raise self._lost(error) from error
        return packet[packet.find(b"$") + 1 :].decode("ascii", "replace")

    def _lost(self, why: OSError | str) -> LinkError:
        words = why if isinstance(why, str) else why.strerror or str(why)
        return LinkError(f"lost the debug server at {self._address}: {words}", "does the emulator, or the probe, live?")
