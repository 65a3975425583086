"""What a view of a device needs to know, whoever tells it: the device itself, or a recording of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edge.wire.records import Request
from firmware_bridge.session import Event, Tracker
from firmware_bridge.summary import Summary


class Feed(Protocol):
    """Where events come from: ``monitor.Monitor`` or ``replay.Replay``."""

    @property
    def url(self) -> str:
        """The port or file, for people."""
        ...

    @property
    def tracker(self) -> Tracker:
        """The sessions so far."""
        ...

    @property
    def started(self) -> float:
        """When it began, on the clock of ``time.monotonic``."""
        ...

    @property
    def last_heard(self) -> float:
        """When something came the last time, on the same clock."""
        ...

    @property
    def moments(self) -> Sequence[float]:
        """When each event came that ``poll`` returned last, in Unix time."""
        ...

    @property
    def silence(self) -> float:
        """For how many seconds a device has been silent that should not be; 0 if it is not."""
        ...

    @property
    def parted(self) -> bool:
        """Whether the device has said goodbye, or can be taken to have done so."""
        ...

    @property
    def live(self) -> bool:
        """Whether there is a device, which can be asked."""
        ...

    @property
    def over(self) -> bool:
        """Whether nothing more can come."""
        ...

    def poll(self, seconds: float = ...) -> list[Event]:
        """Return what has come, after waiting for at most ``seconds``."""
        ...

    def send(self, request: Request) -> int | None:
        """Ask something of the device; return the frame's number, which its ACK will name; None where none listens."""
        ...

    def summary(self) -> Summary:
        """Return what has come so far."""
        ...

    def close(self) -> None:
        """Let go of the port or file."""
        ...
