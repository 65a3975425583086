"""Attributions and input windows on the host: their chunks collected, their values as float32 again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edge.explanation import Flag
from edge.wire import codecs
from edge.wire.cbor import WireError
from edge.wire.codecs import Coded
from edge.wire.records import Input, Map

MAX_PENDING = 8  # maps that may be incomplete at one time
MAX_BYTES = codecs.MAX_SIZE + 65536  # of one map: no coding that is worth sending is longer than a byte per value


@dataclass(frozen=True, eq=False)
class Attribution:
    """Why the model answered window ``sequence`` as it did.

    ``values`` is float32, in the unit and of the shape that ``edge.explanation.Explanation`` describes; what
    quantising for the link cost is at most ``step`` at the extremes and half of it elsewhere. ``residual`` is None for
    methods that promise no completeness. ``layer`` is the tensor of the model that the map is about, as far as
    the device said; with ``Flag.NOT_AT_INPUT`` it stands for an input that cannot be reached. ``full_shape`` is given
    where the link made the map coarser: ``values`` are then means over blocks of ``ceil(full_shape / shape)`` of them.
    """

    sequence: int
    method: str
    class_index: int
    values: NDArray[np.float32]
    step: float
    residual: float | None
    steps: int
    flags: Flag
    layer: str = ""
    full_shape: tuple[int, ...] = ()

    @property
    def whole(self) -> NDArray[np.float32]:
        """The values at the attribution's own shape, means as often as they stand for one."""
        return codecs.enlarge(self.values, self.full_shape) if self.full_shape else self.values


@dataclass(frozen=True, eq=False)
class InputWindow:
    """What the model was given for window ``sequence``: float32, the model's input shape, as it was trained on.

    Quantised for the link in steps of ``step``; ``full_shape`` as in an attribution.
    """

    sequence: int
    values: NDArray[np.float32]
    step: float
    full_shape: tuple[int, ...] = ()


@dataclass
class _Pending:
    head: Map | Input
    pieces: dict[int, bytes] = field(default_factory=dict)
    size: int = 0


class Assembler:
    """Puts the chunks of maps and inputs together, in bounded memory: what stays incomplete gives way to what is newer.

    ``incomplete`` counts those given up for a missing chunk, ``refused`` those whose chunks make no map.
    """

    def __init__(self) -> None:
        self.incomplete = 0
        self.refused = 0
        self._pending: OrderedDict[tuple[int, int, int, tuple[int, ...]], _Pending] = OrderedDict()

    def add(self, chunk: Map, method: str) -> Attribution | None:
        """Take one chunk; return the attribution if it was the last one missing."""
        values = self._join(chunk, chunk.method)
        if values is None:
            return None
        return Attribution(
            sequence=chunk.sequence,
            method=method,
            class_index=chunk.class_index,
            values=values,
            step=chunk.scale,
            residual=chunk.residual,
            steps=chunk.steps,
            flags=Flag(chunk.flags),
            full_shape=chunk.full_shape,
        )

    def add_input(self, chunk: Input) -> InputWindow | None:
        """Take one chunk; return the window if it was the last one missing."""
        values = self._join(chunk, 0)
        return None if values is None else InputWindow(chunk.sequence, values, chunk.scale, chunk.full_shape)

    def _join(self, chunk: Map | Input, method: int) -> NDArray[np.float32] | None:
        head = replace(chunk, chunk=0, data=b"")
        # a coarse version's last chunk may be lost: it is not to spoil the finer one that follows
        place = chunk.code, chunk.sequence, method, chunk.full_shape
        pending = self._pending.setdefault(place, _Pending(head))
        if pending.head != head or chunk.chunk >= chunk.chunks:
            del self._pending[place]
            self.refused += 1
            return None
        pending.size += len(chunk.data) - len(pending.pieces.get(chunk.chunk, b""))
        pending.pieces[chunk.chunk] = chunk.data
        if pending.size > MAX_BYTES:
            del self._pending[place]
            self.refused += 1
            return None
        if len(pending.pieces) < chunk.chunks:
            if len(self._pending) > MAX_PENDING:
                self._pending.popitem(last=False)
                self.incomplete += 1
            return None
        del self._pending[place]
        return self._whole(pending)

    def abandon(self) -> None:
        """Give up what is incomplete: the session is over."""
        self.incomplete += len(self._pending)
        self._pending.clear()

    def _whole(self, pending: _Pending) -> NDArray[np.float32] | None:
        head = pending.head
        data = b"".join(pending.pieces[i] for i in range(head.chunks))
        try:
            if head.full_shape:
                codecs.check_full_shape(head.shape, head.full_shape)
            return codecs.decode(
                Coded(head.encoding, head.deflated, head.scale, head.zero_point, data, saturated=False), head.shape
            )
        except WireError:
            self.refused += 1
            return None
