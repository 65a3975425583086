"""Flashing from first to last: nothing is touched before all that can be known is, and nothing is believed unseen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.bundle import Bundle
from edge.micro import MicroExplanation
from edge.micro_sources import micro_sources
from edge.wire.codes import When
from edge.wire.records import Request, Session, Settings
from firmware_bridge.boards import Board
from firmware_bridge.build import fits, memories, micro_of, needs
from firmware_bridge.errors import WrongBoardError
from firmware_bridge.flash.golden import hold, vectors
from firmware_bridge.flash.image import Image
from firmware_bridge.flash.talk import Talk
from firmware_bridge.flash.way import Way

HELLO = 15.0  # seconds for a board to start, beside what its SESSION takes on the wire
_EMULATED = 3  # times as long: an emulator shares this machine with others
ANSWER = 15.0  # the same for an answer, beside computing and sending it
_CYCLES = 20  # for each multiply-accumulate, on a small core without DSP instructions
_BITS = 10  # on the wire for each byte
_HEADS = 400  # bytes of a record beside labels or values, and more than there are
_FIRST = 1 << 30  # number of the first golden window: above those that a board takes by itself


@dataclass(frozen=True)
class Step:
    """One step: what happened, or would, and how many seconds it took; None where it was not done."""

    name: str
    what: str
    seconds: float | None


class Flashing:
    """A board that is flashed, step by step; ``prepare`` builds or reads what is written to it.

    ``steps`` yields each when it is done. Where one raises, ``step`` is its name, and ``touched`` says whether
    anything had been written to the board by then.
    """

    def __init__(self, bundle: Bundle, board: Board, way: Way, prepare: Callable[[], Image], baud: int) -> None:
        self.step = ""
        self.touched = False
        self._bundle, self._micro, self._vectors = bundle, micro_of(bundle), vectors(bundle)
        self._board, self._way, self._prepare, self._baud = board, way, prepare, baud
        self._image = Image(Path(), b"", 0)
        self._talk: Talk | None = None
        self._settings: Settings | None = None
        self._session: Session | None = None

    def steps(self, *, dry_run: bool = False) -> Iterator[Step]:
        """Do all of it, or on a dry run what touches no board, saying of the rest what it would be."""
        plan = dict(self._way.plan) | {
            "session": f"wait for the board's SESSION, at most {self._hello:.0f} s",
            "model": f"compare its model's digest with {self._bundle.manifest.model_digest[:12]}",
            "golden": f"have {len(self._vectors)} windows answered, at most {self._patience:.0f} s each; compare bytes",
        }
        doings: dict[str, Callable[[], str]] = {
            "fit": self._fit, "build": self._make, "connect": self._connect, "write": self._write,
            "verify": lambda: self._way.verify(self._image), "reset": self._reset, "session": self._introduce,
            "model": self._compare_model, "golden": self._try,
        }  # fmt: skip
        for name, do in doings.items():
            self.step = name
            if dry_run and name in plan:
                yield Step(name, plan[name], None)
                continue
            began = time.monotonic()
            what = do()
            yield Step(name, what, time.monotonic() - began)

    def close(self) -> None:
        """Let go of the board."""
        if self._talk is not None:
            self._talk.close()
        self._way.close()

    def _fit(self) -> str:
        micro_sources(self._bundle, self._micro)  # what follows goes by what it says of its memory
        fits(self._bundle, self._board)
        used = zip(("flash", "RAM"), needs(self._micro), memories(self._board), strict=True)
        return ", ".join(f"about {need:,} of {there.size:,} bytes of {name}" for name, need, there in used)

    def _make(self) -> str:
        self._image = self._prepare()
        return self._image.about

    def _connect(self) -> str:
        """Find the board and its port: both have to be there before anything is written."""
        found = self._way.connect()
        self._talk = Talk(self._way.url, self._baud)
        return f"{found}; its link is {self._way.url}"

    def _write(self) -> str:
        self.touched = True
        return self._way.write(self._image)

    def _reset(self) -> str:
        self._line.forget()
        return self._way.reset()

    def _introduce(self) -> str:
        self._session, self._settings = self._line.introduce(self._hello)
        return f"{self._session.board} runs {self._session.model}, {self._session.software}"

    def _compare_model(self) -> str:
        assert self._session is not None
        found, wanted = self._session.model_digest.hex(), self._bundle.manifest.model_digest
        if found != wanted:
            raise WrongBoardError(
                f"{self._session.board} at {self._way.url} runs model {self._session.model} ({found[:12]}), not what "
                f"was written ({wanted[:12]})",
                "is the port that of the board which was flashed, and does that board start from its flash?",
            )
        return f"digest {found[:12]} is the bundle's"

    def _try(self) -> str:
        """Have every golden vector answered, and explained by the methods in use.

        Those that are summed over steps, each of which costs a prediction, explain the first one alone.
        """
        used = self._used()
        exact = {number: own for number, own in used.items() if not own.steps}
        assert self._settings is not None
        self._ask(Request(explain=When.ALWAYS, acknowledge=True))
        sequence = _FIRST
        for vector in self._vectors:
            tried = used if vector.number == 0 else exact
            if vector.number == 1 and exact != used:
                some = Request(methods=tuple(exact), acknowledge=True)
                self._ask(some if exact else Request(explain=When.ON_REQUEST, acknowledge=True))
            sequence, answer = self._line.answer(sequence, vector.x, tuple(tried), self._patience)
            hold(answer, vector, tried)
        self._ask(Request(explain=self._settings.explain, methods=tuple(used) or None, acknowledge=True))
        summed = [own.method for own in used.values() if own.steps]
        idle = [own.method for own in self._micro.explanations if own not in used.values()]
        equal = ", ".join(["scores", *(own.method for own in exact.values())])
        said = [f"{len(self._vectors)} windows, equal in every byte: {equal}"]
        said += [f"of the first, too: {', '.join(summed)}, summed on the board"] if summed else []
        said += [f"not in use there, not tried: {', '.join(idle)}"] if idle else []
        return "; ".join(said)

    def _ask(self, request: Request) -> None:
        self._line.request(request, self._patience)

    def _used(self) -> dict[int, MicroExplanation]:
        """Return the explanations that the board makes of each answer, by their numbers in its session."""
        assert self._session is not None and self._settings is not None
        named = tuple(own.method for own in self._micro.explanations)
        if self._session.methods != named:
            raise WrongBoardError(
                f"the board explains by {', '.join(self._session.methods) or 'nothing'}, the bundle by "
                f"{', '.join(named) or 'nothing'}",
                "is it the firmware of another export of this model?",
            )
        return {number: self._micro.explanations[number] for number in self._settings.methods if number < len(named)}

    @property
    def _line(self) -> Talk:
        assert self._talk is not None
        return self._talk

    @property
    def _hello(self) -> float:
        """Seconds for the SESSION to come."""
        manifest = self._bundle.manifest
        size = _HEADS + sum(2 + len(label.encode()) for label in manifest.labels)
        start = HELLO * _EMULATED if self._board.virtual else HELLO
        return start + 2 * size * _BITS / self._baud

    @property
    def _patience(self) -> float:
        """Seconds for one window to be sent, answered, explained by every method, and that to come back."""
        parts = {"predict": 0} | {own.method: 0 for own in self._micro.explanations}
        for operation in self._micro.operations:
            parts[operation.part] = parts.get(operation.part, 0) + operation.macs
        macs = parts["predict"] + sum(
            (own.steps + 1) * (parts["predict"] + parts[own.method]) for own in self._micro.explanations
        )
        sizes = [math.prod(self._micro.input.shape), 4 * math.prod(self._micro.scores.shape)]
        sizes += [math.prod(own.map.shape) for own in self._micro.explanations]
        sent = 2 * (sum(sizes) + _HEADS * len(sizes)) * _BITS / self._baud
        return ANSWER + macs * _CYCLES / self._board.clock_hz + sent
