"""What the device finds out becomes records: sessions, results, explanations, latencies, errors and log lines."""

from __future__ import annotations

import logging
import math
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from edge import clocks, vitals
from edge.errors import WhyLiteError
from edge.explanation import Explanation, Prediction
from edge.latency import NANOSECONDS, Lap, Quantiles, clock
from edge.link.sender import Sender, Status
from edge.link.thinning import AUTO, Uncoded
from edge.manifest import ExplanationHead
from edge.wire.cbor import Fault, WireError
from edge.wire.records import (
    MAX_LABEL,
    PROTOCOL,
    Ack,
    Error,
    Input,
    Latency,
    Log,
    Map,
    Request,
    Result,
    Session,
    Settings,
    Spread,
    clip,
)

_SPOILT = "what was timed meanwhile is marked invalid"
_BROKEN = "all that is timed from here on is marked invalid; `whylite doctor` looks closer"
_log = logging.getLogger(__name__)

_MAX_AXES = 4  # of a map or input on the link
_UNCODED: dict[str, Any] = {"encoding": 0, "scale": 1.0, "zero_point": 0, "data": b""}
LABEL_BYTES = 32768  # of label table that a SESSION carries


@dataclass(frozen=True)
class Sent:
    """What a stream did, by record code; ``complete`` unless the host stopped reading before the end.

    ``thinned`` counts maps by ``edge.wire.codes.Thinned``; ``link_rate`` is in bytes per second, where it was measured.
    """

    frames: Counter[int]
    dropped: Counter[int]
    complete: bool
    thinned: Counter[int]
    link_rate: int | None


class Stream:
    """Sends what the device finds out over the port ``url``; LinkError if it cannot be opened.

    ``session`` introduces the device (see ``introduction``). ``encoding`` is a name in ``edge.wire.codecs.CODECS``, or
    ``auto`` for the best that a slow link has time for; ``rtscts`` as in ``edge.wire.port.Port``.
    A port that is lost later is reopened; meanwhile records wait, and are dropped and counted when they are too many.
    What else ends the thread that sends is a mistake of ours: the next call raises it, ``close`` at the latest.
    """

    def __init__(self, url: str, baud: int, session: Session, encoding: str = AUTO, *, rtscts: bool = False) -> None:
        self._methods = session.methods
        self._encoding = encoding
        self._began = clock()
        self.status = Status(spread=self._spread)  # whole before the sender's thread begins to tell of it
        self._sender = Sender(
            url, baud, lambda: replace(session, time=self._time()), self._time, rtscts=rtscts, status=self.status
        )
        self.wait_for_host = self._sender.wait_for_host
        self.wait_for_room = self._sender.wait_for_room

    def result(
        self, sequence: int, prediction: Prediction, truth: int | None = None, captured: int | None = None
    ) -> None:
        """Send the answer to one window, ahead of every explanation that still waits.

        ``captured`` is when the window was complete, on ``edge.latency.clock``.
        """
        scores = tuple(float(score) for score in prediction.scores)
        if not all(map(math.isfinite, scores)):
            raise WireError(Fault.RECORD, f"the model's scores for window {sequence} are not finite")
        index = prediction.predicted
        time = self._time()
        since = None if captured is None else max(0, captured - self._began)
        self._sender.post(
            Result(sequence=sequence, class_index=index, scores=scores, time=time, truth=truth, captured=since)
        )

    def explanation(self, sequence: int, explanation: Explanation) -> None:
        """Send the map of one window, coded when its turn comes; it is not to be changed after that."""
        self._sender.post(uncoded_map(sequence, explanation, self._methods.index(explanation.method), self._encoding))

    def input(self, sequence: int, x: NDArray[np.float32]) -> None:
        """Send what the model was given for one window."""
        self._sender.post(uncoded_input(sequence, x, self._encoding))

    def settings(self, settings: Settings) -> None:
        """Tell the host how the run is working, now and after every SESSION."""
        self.status.settings = settings
        self._sender.post_urgently(settings)

    def on_request(self, call: Callable[[], None]) -> None:
        """Have ``call`` called, by the link's thread, when ``take_request`` has something."""
        self._sender.on_request = call

    def take_request(self) -> tuple[int, Request] | None:
        """Return what the host asks of the run, oldest first, with the number that ``acknowledge`` wants."""
        self._sender.check()
        return self._sender.requests.popleft() if self._sender.requests else None

    def acknowledge(self, number: int, request: Request, error: WhyLiteError | None = None) -> None:
        """Tell the host, if it asked to know, that a request was done, or why not."""
        if request.acknowledge:
            refused, hint = (clip(error.cause), clip(error.hint)) if error else ("", "")
            self._sender.post_urgently(Ack(request=number, refused=refused, hint=hint, sequence=request.sequence))

    def latency(self, sequence: int, lap: Lap) -> None:
        """Send how long one window took, and whether that can be believed; the lap is over with that.

        How long its result waited and was written is added on the way out.
        """
        fault = self.status.timekeeper.lap(lap)
        if fault is not None and self.status.timekeeper.watch.faults[fault] == 1:
            _log.warning("the clock %s: %s", fault.value, _BROKEN if fault.lasts else _SPOILT)
        phases = {phase.value: ticks for phase, ticks in lap.phases.items()}
        methods = {self._methods.index(name): ticks for name, ticks in lap.methods.items()}
        self._sender.post(
            Latency(sequence=sequence, phases=phases, methods=methods, valid=lap.valid, warm_up=lap.warm_up)
        )

    def failure(self, error: WhyLiteError, sequence: int | None = None) -> None:
        """Send an error that one window met, or all of them."""
        kind, cause, hint = clip(type(error).__name__, MAX_LABEL), clip(error.cause), clip(error.hint)
        self._sender.post(Error(time=self._time(), kind=kind, cause=cause, hint=hint, sequence=sequence))

    def log(self, level: int, text: str) -> None:
        """Send a line for people; ``level`` as in Python's logging."""
        self._sender.post(Log(time=self._time(), level=max(0, min(level, 255)), text=clip(text)))

    def close(self, patience: float = 5.0) -> Sent:
        """Send what waits for at most ``patience`` seconds, drop and count the rest, and say goodbye to the host."""
        self._sender.close(patience)
        sender, outbox = self._sender, self._sender.outbox
        return Sent(sender.sent, outbox.dropped, sender.said_goodbye, outbox.thinned, sender.link_rate)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _time(self) -> int:
        return max(0, clock() - self._began)

    def _spread(self) -> Spread:
        times = self.status.timekeeper.times()
        return Spread(
            time=self._time(),
            phases={phase.value: _figures(spread) for phase, spread in times.phases.items()},
            methods={self._methods.index(name): _figures(spread) for name, spread in times.methods.items()},
            warm_up=times.warm_up,
            rejected=times.rejected,
        )


def _figures(spread: Quantiles) -> tuple[int, ...]:
    return spread.count, spread.p50, spread.p95, spread.p99, spread.max


class LogHandler(logging.Handler):
    """Sends what Python's logging says over the link, as LOG records."""

    def __init__(self, stream: Stream, level: int = logging.INFO) -> None:
        super().__init__(level)
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line."""
        self._stream.log(record.levelno, self.format(record))


class Manifest(Protocol):
    """What the link tells of a bundle."""

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    @property
    def model_digest(self) -> str:
        """SHA-256 of the model, in hexadecimal."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one input, without the batch."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the classes, in the order of the scores."""
        ...

    def head(self, method: str) -> ExplanationHead:
        """Return what the bundle says of an explanation method."""
        ...


def introduction(manifest: Manifest, methods: Sequence[str], runtime: str) -> Session:
    """Return the SESSION record of a device that is about to run a bundle, with a random id.

    Labels are cut to 64 bytes each and the table to 32 KiB; a class beyond it goes by its number.
    """
    labels: list[str] = []
    room = LABEL_BYTES
    for label in manifest.labels:
        short = clip(label, MAX_LABEL)
        room -= len(short.encode()) + 2
        if room < 0:
            break
        labels.append(short)
    return Session(
        protocol=PROTOCOL,
        session=secrets.token_bytes(8),
        time=0,
        clock_hz=NANOSECONDS,
        board=clip(vitals.board(), MAX_LABEL),
        software=f"whylite {version('whylite')}",
        runtime=clip(runtime, MAX_LABEL),
        model=clip(manifest.name, MAX_LABEL),
        model_digest=bytes.fromhex(manifest.model_digest),
        input_shape=manifest.input_shape,
        methods=tuple(methods),
        labels=tuple(labels),
        clock=clip(clocks.name(), MAX_LABEL),
        layers=tuple(clip(manifest.head(method).layer, MAX_LABEL) for method in methods),
    )


def uncoded_map(sequence: int, explanation: Explanation, method: int, encoding: str) -> Uncoded:
    """Return an explanation as it waits for the link; ``method`` is its place in the SESSION's list of methods."""
    residual = explanation.residual
    head = Map(
        sequence=sequence,
        method=method,
        class_index=int(explanation.class_index),
        shape=explanation.map.shape,
        residual=None if residual is None or not math.isfinite(residual) else float(residual),
        steps=explanation.steps,
        flags=int(explanation.flags),
        **_UNCODED,
    )
    return Uncoded(head, explanation.map, encoding)


def uncoded_input(sequence: int, x: NDArray[np.float32], encoding: str) -> Uncoded:
    """Return a window, float32 of the model's input shape, as it waits for the link."""
    values = x if x.ndim <= _MAX_AXES else x.ravel()
    return Uncoded(Input(sequence=sequence, shape=values.shape, **_UNCODED), values, encoding)
