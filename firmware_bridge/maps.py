"""Attributions on the host: their chunks collected, their values as float32 again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edge.explanation import Flag
from edge.wire import codecs
from edge.wire.cbor import WireError
from edge.wire.codecs import Coded
from edge.wire.records import Map

MAX_PENDING = 8  # maps that may be incomplete at one time
MAX_BYTES = codecs.MAX_SIZE + 65536  # of one map: no coding that is worth sending is longer than a byte per value


@dataclass(frozen=True, eq=False)
class Attribution:
    """Why the model answered window ``sequence`` as it did.

    ``values`` is float32, in the unit and of the shape that ``edge.explanation.Explanation`` describes; what
    quantising for the link cost is at most ``step`` at the extremes and half of it elsewhere. ``residual`` is None for
    methods that promise no completeness. ``layer`` is the tensor of the model that the map is about, as far as
    the device said; with ``Flag.NOT_AT_INPUT`` it stands for an input that cannot be reached.
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


@dataclass
class _Pending:
    head: Map
    pieces: dict[int, bytes] = field(default_factory=dict)
    size: int = 0


class Assembler:
    """Puts the chunks of maps together, in bounded memory: a map that stays incomplete gives way to newer ones.

    ``incomplete`` counts maps given up for a missing chunk, ``refused`` those whose chunks make no map.
    """

    def __init__(self) -> None:
        self.incomplete = 0
        self.refused = 0
        self._pending: OrderedDict[tuple[int, int], _Pending] = OrderedDict()

    def add(self, chunk: Map, method: str) -> Attribution | None:
        """Take one chunk; return the attribution if it was the last one missing."""
        head = replace(chunk, chunk=0, data=b"")
        place = chunk.sequence, chunk.method
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
        return self._whole(pending, method)

    def abandon(self) -> None:
        """Give up what is incomplete: the session is over."""
        self.incomplete += len(self._pending)
        self._pending.clear()

    def _whole(self, pending: _Pending, method: str) -> Attribution | None:
        head = pending.head
        data = b"".join(pending.pieces[i] for i in range(head.chunks))
        try:
            values = codecs.decode(
                Coded(head.encoding, head.deflated, head.scale, head.zero_point, data, saturated=False), head.shape
            )
        except WireError:
            self.refused += 1
            return None
        return Attribution(
            head.sequence, method, head.class_index, values, head.scale, head.residual, head.steps, Flag(head.flags)
        )
