"""What methods that look at a layer share: which layer that is, and an entry for the class predicted and for any."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from .. import heads
from ..errors import UnsupportedModelError
from ..heads import Head
from ..layout import channels_moved
from ..numerics.emitter import Emitter
from ..numerics.gradient import Gradient
from ..tflite.graph import Graph, Tensor
from ..tflite.ops import Builder, skip_flattening
from .base import Compiled, Entry, Method, Role, Source, class_input


@dataclass(frozen=True)
class LayerMap(Method):
    """A method whose map is over the positions of a layer, the last with positions by default.

    Runs on the model's own forward pass, whose scores it returns unchanged.
    """

    layer: str | None = None

    @abstractmethod
    def heatmap(self, source: Source, emit: Emitter, layer: Tensor, index: Tensor) -> Gradient:
        """Emit the map of the class ``index`` (int32 ``[1]``) into the model's graph, ``[positions, 1]``."""

    def build(self, source: Source) -> Compiled:
        """Return two entries: for the class predicted in the graph, and for a class asked for.

        The former stands in for a prediction. In a streaming model it would have to leave the state to the next step
        as a prediction does, and could not be asked a second time; there it is left out.
        """
        layer = self.target(source.graph, source.head)
        entries = [self._entry(source, layer, chosen=True)]
        if not source.streams:
            entries.insert(0, self._entry(source, layer, chosen=False))
        # A 1-D model has one dimension of positions only.
        shape = tuple(size for size in layer.shape[1:-1] if size > 1) or (1,)
        return Compiled(entries, layer, shape)

    def target(self, graph: Graph, head: Head) -> Tensor:
        """Return the layer to look at; raises ``UnsupportedModelError`` where there is none of that name.

        Converters join the names of fused ops with ";": any one of them will do where it is unique. Where none is,
        "op:N" is the layer that op N of the graph gives.
        """
        if self.layer is None:
            return heads.default_layer(graph, head)
        moved = channels_moved(graph)
        maps = {t: place for place, op in enumerate(graph.ops) for t in op.outputs if heads.has_positions(t)}
        named = [tensor for tensor in maps if tensor.name == self.layer]
        named = named or [tensor for tensor in maps if self.layer in tensor.name.split(";")]
        named = named or [tensor for tensor, place in maps.items() if self.layer == f"op:{place}"]
        if len(named) == 1 and named[0] not in moved:
            return named[0]
        usable = [tensor for tensor in named if tensor not in moved] or [t for t in maps if t not in moved]
        listed = "\n    ".join(f"{t.name.split(';')[0]} {list(t.shape[1:])}, op:{maps[t]}" for t in usable)
        if len(named) == 1:
            raise UnsupportedModelError(
                f"layer {named[0]!r} does not have its channels last: a TRANSPOSE moved them",
                f"choose one before that, of\n    {listed}",
            )
        problem = "several layers" if named else "no layer"
        raise UnsupportedModelError(
            f"the model has {problem} {self.layer!r} with spatial positions", f"choose one of\n    {listed}"
        )

    def _entry(self, source: Source, layer: Tensor, *, chosen: bool) -> Entry:
        key = f"{self.name}_class" if chosen else self.name
        graph = source.graph.copy(key)
        builder = Builder(graph, "why/")
        head = source.head
        index = class_input(builder) if chosen else builder.arg_max(head.scores)
        index = builder.reshape(index, (1,))
        emit = Emitter(builder, source.store)
        heatmap = self.heatmap(source, emit, layer, index)
        outputs = {"map": heatmap.tensor}
        if not chosen:
            outputs["class_index"] = index
        outputs["scores"] = head.scores
        graph.outputs = list(outputs.values())
        skip_flattening(graph)
        inputs = source.step_inputs(graph, "x")
        if chosen:
            inputs["class_index"] = index
            graph.inputs.append(index)
        return Entry(key, Role.CHOSEN if chosen else Role.PREDICTED, graph, inputs, outputs, 1 / heatmap.factor)
