"""Boards killed at every phase and cables pulled again and again, with the host's own monitor at the other end."""

from __future__ import annotations

import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from typing import Protocol

import numpy as np

from edge.explanation import Explanation, Prediction
from edge.latency import Lap, Phase
from edge.link.stream import Sent, Stream, introduction
from edge.wire.records import Result, Session
from firmware_bridge.maps import Attribution
from firmware_bridge.monitor import Monitor
from firmware_bridge.nullmodem import NullModem
from firmware_bridge.session import Event, LinkChange
from firmware_bridge.summary import Summary
from tests.edge.test_stream import Manifest
from tests.link_faults import doomed

ROOT = Path(__file__).parents[2]


class Watcher:
    """A monitor, and every event that it gave together with the session that was on."""

    def __init__(self, url: str) -> None:
        self.monitor = Monitor(url)
        self.seen: list[tuple[Session, Event]] = []
        self._session: Session | None = None

    def poll(self, seconds: float = 0.02) -> None:
        """Take in what has come; to a slow host that may be the end of one session and the beginning of the next."""
        for event in self.monitor.poll(seconds):
            if isinstance(event, Session):
                self._session = event
            if self._session is not None:
                self.seen.append((self._session, event))

    def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Poll until the condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            self.poll()

    def close(self) -> None:
        """Close the port."""
        self.monitor.close()


def lives(phases: Sequence[str]) -> tuple[Summary, list[tuple[Session, Event]]]:
    """Let one board after the other die on one port; return the host's summary and what it saw.

    The last one is to come as far as its goodbye, and ends the frame that the one before may have torn.
    """
    with NullModem() as modem, closing(Watcher(modem.host)) as watcher:
        command = [sys.executable, "-m", "tests.link_faults.doomed", modem.device]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as nursery:
            for phase in phases:
                nursery.stdin.write(f"{phase}\n".encode())
                watcher.until(lambda: bool(select.select([nursery.stdout], [], [], 0)[0]))
                assert int(nursery.stdout.readline()) == -signal.SIGKILL, f"did not die {phase}"
            nursery.stdin.close()
        tracker = watcher.monitor.tracker
        watcher.until(lambda: tracker.account.ended and int(tracker.account.session.model) == len(phases) - 1)
        return watcher.monitor.summary(), watcher.seen


def faults_of_lives(phases: Sequence[str], summary: Summary, seen: Sequence[tuple[Session, Event]]) -> list[str]:
    """Return what the host got wrong: nothing that was written whole may be missing, nothing else may be there."""
    wrong = []
    introduced = [life for life, phase in enumerate(phases) if phase not in {"before SESSION", "in SESSION"}]
    if [int(account.session.model) for account in summary.accounts] != introduced:
        wrong.append("other sessions than were introduced")
    torn = sum(phase in doomed.TORN for phase in phases)
    if sum(summary.bad.values()) != torn:
        wrong.append(f"{summary.bad} damaged frames where {torn} were torn")
    if summary.lost_frames or summary.missing_results or summary.stale_frames or summary.unattributed:
        wrong.append(f"{summary.lost_frames} lost, {summary.missing_results} missing, {summary.stale_frames} stale")
    for account in summary.accounts:
        phase = phases[int(account.session.model)]
        if account.ended != (phase == "after goodbye"):
            wrong.append(f"killed {phase}, and goodbye is {account.ended}")
        if phase.endswith("goodbye") and (account.results, account.maps) != (doomed.WINDOWS, doomed.WINDOWS):
            wrong.append(f"killed {phase}: {account.results} results and {account.maps} maps")
    for session, event in seen:
        life = int(session.model)
        if isinstance(event, Result) and event.scores != tuple(doomed.scores(life, event.sequence)):
            wrong.append(f"life {life}: {event}")
        if isinstance(event, Attribution) and _is_another(event, life):
            wrong.append(f"life {life}: the map of window {event.sequence} is another")
    return wrong


class Cable(Protocol):
    """Two ends that can be told apart and joined again; ``device`` and ``host`` are what to open."""

    device: str
    host: str

    def cut(self) -> None:
        """Pull it out: both ends lose their ports."""
        ...

    def join(self) -> None:
        """Plug it in again."""
        ...

    def close(self) -> None:
        """Take it away, plugged in or not."""
        ...


class PtyCable:
    """Two ptys that vanish, as those of a USB cable do, and come back under the same names."""

    def __init__(self, folder: Path) -> None:
        self.device, self.host = str(folder / "device"), str(folder / "host")
        self._modem: NullModem | None = None
        self.join()

    def cut(self) -> None:
        """Remove both ports."""
        for name in (self.device, self.host):
            Path(name).unlink()
        self.close()

    def join(self) -> None:
        """Make new ones."""
        self._modem = NullModem()
        Path(self.device).symlink_to(self._modem.device)
        Path(self.host).symlink_to(self._modem.host)

    def close(self) -> None:
        """Remove the ports that there are."""
        if self._modem:
            self._modem.close()
            self._modem = None


class SocketCable:
    """A server that hands the bytes of one client to another, as ser2net does, and drops both at once."""

    def __init__(self) -> None:
        self._servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        self.device, self.host = (f"socket://127.0.0.1:{server.getsockname()[1]}" for server in self._servers)
        self._clients: list[socket.socket | None] = [None, None]
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._serve, args=(side,), daemon=True) for side in range(2)]
        for thread in self._threads:
            thread.start()

    def cut(self) -> None:
        """Drop both clients; they may come again at once."""
        with self._lock:
            for client in filter(None, self._clients):
                _drop(client)
            self._clients = [None, None]

    def join(self) -> None:
        """Nothing to do: the servers listen on."""

    def close(self) -> None:
        """Stop to listen, drop both clients, and wait for the threads."""
        for server in self._servers:
            server.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self.cut()
        for thread in self._threads:
            thread.join()
        for server in self._servers:
            server.close()

    def _serve(self, side: int) -> None:
        while True:
            try:
                client, _ = self._servers[side].accept()
            except OSError:
                return
            with self._lock:
                self._clients[side] = client
            self._carry(client, side)

    def _carry(self, client: socket.socket, side: int) -> None:
        try:
            while data := client.recv(4096):
                with self._lock:
                    other = self._clients[1 - side]
                if other is not None:
                    other.sendall(data)
        except OSError:
            return


def _drop(client: socket.socket) -> None:
    with suppress(OSError):  # who was there may have left before
        client.shutdown(socket.SHUT_RDWR)
    client.close()


def disconnects(cable: Cable, times: int, seed: int) -> tuple[Summary, list[tuple[Session, Event]], Sent]:
    """Pull the cable so often while a device streams; return what the host knows, what it saw, and what was sent."""
    rng, stop = random.Random(seed), threading.Event()
    with closing(Watcher(cable.host)) as watcher:
        tracker = watcher.monitor.tracker
        with Stream(cable.device, 921600, introduction(Manifest(name="0"), ("saliency",), "litert")) as stream:
            sending = threading.Thread(target=_send, args=(stream, stop), daemon=True)
            sending.start()
            for _ in range(times):
                wanted = tracker.account.results + rng.randint(1, 12)
                watcher.until(lambda wanted=wanted: tracker.account.results >= wanted)
                for _ in range(rng.randrange(4)):
                    watcher.poll(0.0)
                before = len(watcher.seen)
                cable.cut()
                watcher.until(lambda before=before: any(_is_down(event) for _, event in watcher.seen[before:]))
                cable.join()
            watcher.until(lambda: tracker.sure)
            stop.set()
            closed: list[Sent] = []
            closing_ = threading.Thread(target=lambda: closed.append(stream.close(patience=60)))
            closing_.start()
            watcher.until(lambda: tracker.account.ended)
            closing_.join()
        return watcher.monitor.summary(), watcher.seen, closed[0]


def faults_of_disconnects(times: int, summary: Summary, seen: Sequence[tuple[Session, Event]], sent: Sent) -> list[str]:
    """Return what the host got wrong: of a frame that was under way when the cable was pulled it may know nothing."""
    wrong = []
    (account, *others) = summary.accounts
    if others:
        wrong.append(f"{len(others)} sessions that never were")
    written, known = sum(sent.frames.values()), account.joined + account.frames + account.lost_frames
    if not written <= known <= written + times:
        wrong.append(f"{written} frames written, {known} accounted for, {times} times in mid frame at most")
    if summary.reconnects < times:
        wrong.append(f"{summary.reconnects} reconnects for {times} disconnects")
    answers = [event for _, event in seen if isinstance(event, Result)]
    if [answer.sequence for answer in answers] != sorted({answer.sequence for answer in answers}):
        wrong.append("results out of order or twice")
    wrong += [f"{event}" for event in answers if event.scores != tuple(doomed.scores(0, event.sequence))]
    for _, event in seen:
        if isinstance(event, Attribution) and _is_another(event, 0):
            wrong.append(f"the map of window {event.sequence} is another")
    return wrong


def _is_another(attribution: Attribution, life: int) -> bool:
    """Whether a map is not that of its window, as far as one made coarser or sparse tells."""
    values, seen = doomed.values(life, attribution.sequence), attribution.values
    if attribution.full_shape:
        return abs(float(values.mean() - seen.mean())) > 0.1
    return bool(np.abs(values - seen)[seen != 0].max(initial=0) > attribution.step)


def _is_down(event: Event) -> bool:
    return isinstance(event, LinkChange) and not event.up


def _send(stream: Stream, stop: threading.Event) -> None:
    """Send windows as fast as the link takes them; their scores and maps tell which they are."""
    for sequence in count():
        if stop.wait(0.002):
            return
        stream.wait_for_room(1.0)
        prediction = Prediction(doomed.scores(0, sequence), 1)
        values = doomed.values(0, sequence)
        stream.result(sequence, prediction)
        stream.explanation(sequence, Explanation(prediction.scores, 1, {}, method="saliency", map=values))
        stream.latency(sequence, Lap({Phase.PREDICT: 1000}, {}))
