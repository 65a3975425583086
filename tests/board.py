"""A board for tests of the host: streams made-up windows with explanations, and does what it is asked."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np

from edge.explanation import Explanation, Flag
from edge.latency import clock
from edge.wire.framing import frame
from edge.wire.port import Port
from edge.wire.receiver import Receiver
from edge.wire.records import (
    Ack,
    Health,
    Input,
    Latency,
    Map,
    Ping,
    Pong,
    Record,
    Request,
    Result,
    Session,
    Settings,
    encode,
)
from tests.link import chunks, input_chunks

WATCH = Session(
    protocol=1,
    session=bytes(range(8)),
    time=0,
    clock_hz=1_000_000_000,
    board="Raspberry Pi Zero 2 W Rev 1.0",
    software="whylite 0.1.0",
    runtime="litert 2.1.0, 1 thread",
    model="watch",
    model_digest=bytes(range(32)),
    input_shape=(100, 6),
    methods=("gradcam", "integrated_gradients"),
    labels=("walk", "run", "push-up"),
)


class Board:
    """Sends ``rate`` windows a second over the port until it is closed; ``asked`` is what it was asked for.

    It keeps ``kept`` windows to be asked about. With ``deaf`` it takes no notice of requests.
    """

    def __init__(
        self, url: str, session: Session = WATCH, rate: float = 20.0, *, kept: int = 64, deaf: bool = False
    ) -> None:
        self.asked: list[Request] = []
        self.sent = 0
        self._port, self._receiver, self._number = Port(url), Receiver(), 0
        self._session, self._pace, self._deaf = session, 1 / rate, deaf
        self._settings = Settings(methods=tuple(range(len(session.methods))), explain=0, rate=rate, kept=kept)
        self._random = np.random.default_rng(1)
        self._began = clock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Fall silent, in the middle of the session."""
        self._stop.set()
        self._thread.join()
        self._port.close()

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        self._introduce()
        self._say(self._health())
        due = clock()
        while not self._stop.is_set():
            self._port.wait(max(0.0, (due - clock()) / 1e9))
            for received in self._receiver.feed(self._port.read()):
                self._obey(received.number, received.record)
            if clock() >= due:
                due += round(self._pace * 1e9)
                self._window(self.sent)
                self.sent += 1
                if self.sent % 50 == 0:
                    self._say(self._health())

    def _obey(self, number: int, record: Record | None) -> None:
        now = clock() - self._began
        if isinstance(record, Ping):
            self._say(Pong(token=record.token, received=now, sent=now))
        if not isinstance(record, Request) or self._deaf:
            return
        self.asked.append(record)
        sequence = self.sent - 1 if record.sequence is None else record.sequence
        refused = "" if sequence > self.sent - 1 - self._settings.kept else f"window {sequence} is no longer kept"
        if record.what == Session.code:
            self._introduce()
        elif record.what == Input.code and not refused:
            self._say(*input_chunks(sequence, self.window(sequence)[0], "int8"))
        elif record.what == Map.code and not refused:
            self._explain(sequence, record.method or 0, record.class_index)
        changes = {name: getattr(record, name) for name in ("rate", "methods", "explain", "inputs")}
        if changed := {name: value for name, value in changes.items() if value is not None}:
            self._settings = replace(self._settings, **changed)
            self._say(self._settings)
        if record.acknowledge:
            self._say(Ack(request=number, refused=refused, hint="ask for a later one" if refused else ""))

    def _introduce(self) -> None:
        self._say(replace(self._session, time=clock() - self._began), self._settings)

    def _window(self, sequence: int) -> None:
        _, scores = self.window(sequence)
        best, now = int(scores.argmax()), clock() - self._began
        truth = best if sequence % 7 else (best + 1) % len(scores)
        scores = tuple(map(float, scores))
        self._say(Result(sequence=sequence, class_index=best, scores=scores, time=now, truth=truth, captured=now))
        for method in self._settings.methods:
            self._explain(sequence, method, best)
        if self._settings.inputs:
            self._say(*input_chunks(sequence, self.window(sequence)[0], "int8"))
        phases = {1: 20_000, 2: 1_000_000, 3: 40_000, 4: 9_000, 5: 120_000}
        phases = {i: int(ticks * self._random.lognormal(0, 0.2)) for i, ticks in phases.items()}
        methods = {i: int(2e6 * (i + 1) * self._random.lognormal(0, 0.1)) for i in self._settings.methods}
        self._say(Latency(sequence=sequence, phases=phases, methods=methods))

    def window(self, sequence: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a window and its scores."""
        classes, shape = max(1, len(self._session.labels)), self._session.input_shape
        scores = np.random.default_rng(sequence).dirichlet(np.full(classes, 0.4)).astype(np.float32)
        t = np.linspace(0, 6, shape[0])[:, None]
        x = np.sin((1 + np.arange(int(np.prod(shape[1:])))[None]) * t + 0.7 * sequence) * np.exp(-((t - 3) ** 2) / 4)
        return x.reshape(shape).astype(np.float32), scores

    def _explain(self, sequence: int, method: int, index: int | None) -> None:
        x, scores = self.window(sequence)
        best = int(scores.argmax()) if index is None else index
        bump = np.linspace(-1, 1, x.shape[0]) ** 2 - 0.4 * (1 + best) / len(scores)
        values = (x * bump.reshape(-1, *[1] * (x.ndim - 1))).astype(np.float32)
        name = self._session.methods[method]
        explained = Explanation(
            scores=scores,
            class_index=best,
            method=name,
            map=values,
            residual=0.012,
            steps=16,
            flags=Flag.NONE,
            latency={},
        )
        self._say(*chunks(sequence, explained, method, "int8"))

    def _health(self) -> Health:
        return Health(
            time=clock() - self._began,
            produced=self.sent,
            sent={Result.code: self.sent},
            dropped={},
            queued=0,
            queued_bytes=0,
            stalls=0,
            reconnects=0,
            bad_frames=0,
            memory=45_000_000,
            temperature=61.5,
            throttled=0x50001,
            governor="schedutil",
        )

    def _say(self, *records: Record) -> None:
        for record in records:
            rest = frame(encode(record, self._number))
            self._number += 1
            while rest and not self._stop.is_set():
                rest = rest[self._port.write(rest, 0.2) :]
