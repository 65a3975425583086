"""Where windows come from. A source is one module here, its file name is its scheme: ``edge.capture`` opens them.

It has a frozen dataclass ``Options``, one field for each option of a spec (see ``edge.spec``), and a function
``open(location, options, model)`` that returns a :class:`Feed`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.latency import clock
from edge.samples import Samples, Signal
from edge.samples.preprocessing import Preprocessing
from edge.wire.codes import SourceFault


@dataclass(frozen=True)
class Window:
    """One input of the model: float32, the model's input shape; ``capture`` is how long it took, in nanoseconds.

    ``at`` is when it was complete, on ``edge.latency.clock``: the beginning of its end-to-end latency.
    """

    sequence: int
    x: NDArray[np.float32]
    capture: int
    truth: int | None = None
    at: int = field(default_factory=clock)


@dataclass(frozen=True)
class Fault:
    """What befell a source, and what can be done about it."""

    kind: SourceFault
    cause: str
    hint: str = ""


@dataclass(frozen=True)
class Ready:
    """All of one window: float32 of the model's input shape, and its class where that is known."""

    x: NDArray[np.float32]
    truth: int | None = None


@dataclass(frozen=True)
class Gap:
    """What comes next does not follow on what came before."""


@dataclass(frozen=True)
class Skipped:
    """Something came and is left out on purpose, such as an image between two that are wanted."""


Item = Samples | Ready | Gap | Skipped | Fault | None
"""What a feed gives; None where it has nothing yet: that is silence, unlike what is skipped."""


@dataclass(frozen=True)
class Feed:
    """What a source opened.

    ``connect`` begins, and begins again: it opens what the source reads, with ``EdgeError`` where that cannot be done
    or is lost on the way, yields None once it is open and then what there is, and closes it in the end. A ``live`` one
    waits for the world, for at most :data:`POLL` seconds before it yields None; one that is lost, or gives no sign of
    the world for ``stall`` seconds, is opened again if it is to ``retry``. Where the world ``waits``, as one who writes
    to a pipe does, it is read when a window is wanted, and nothing is lost. ``signal`` says what its samples are, where
    it gives such. What is ``raw`` is not yet as the model was trained on it.
    """

    connect: Callable[[], Generator[Item]]
    live: bool = False
    waits: bool = False
    retry: bool = False
    stall: float | None = None
    signal: Signal | None = None
    raw: bool = True


POLL = 0.1
_LEFT_OUT = "such input is left out, and counted"


class Model(Protocol):
    """What a source has to know of the model: the part of ``edge.manifest.Manifest`` that it looks at."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one window, without the batch."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their indices."""
        ...

    @property
    def preprocessing(self) -> Preprocessing | None:
        """What the model was trained on is made of raw values in this way; None where nobody said."""
        ...


def schemes() -> tuple[str, ...]:
    """Return the names of the sources there are."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def channel_names(model: Model) -> tuple[str, ...]:
    """Return what the manifest calls the channels of the model's input; nothing where it does not."""
    return model.preprocessing.channels if model.preprocessing else ()


def told(what: str, found: Iterable[Samples | str]) -> Generator[Item]:
    """Yield samples, and a fault for each text that says why some input could not be used."""
    for item in found:
        yield item if isinstance(item, Samples) else Fault(SourceFault.BAD_INPUT, f"{what}: {item}", _LEFT_OUT)
