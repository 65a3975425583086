"""A model's own file as C: it predicts, and nothing is added to it."""

from __future__ import annotations

import hashlib

from .. import heads, tflite
from ..errors import UnsupportedModelError
from ..tflite.admission import check_shapes, try_out
from ..tflite.graph import Graph
from .emit import Described, Sources, emit


def compiled(data: bytes, file_name: str, name: str) -> tuple[Described, Sources]:
    """Return what a ``.tflite`` file was taken for, and its C, called ``name``.

    The scores are those of a classifier where it is one (see :func:`export.heads.find`), else the first output.
    Raises :class:`ModelFileError` for what is no sound model and :class:`UnsupportedModelError`, naming op or tensor,
    for what has no kernel, more than one input or subgraph, or an open size.
    """
    model = tflite.read(data, file_name)
    if len(model.graphs) > 1:
        raise UnsupportedModelError(
            f"{file_name} has {len(model.graphs)} subgraphs", "convert it without control flow and with one signature"
        )
    (graph,) = model.graphs
    _check_ends(graph, file_name)
    shapes = try_out(graph, [], file_name, data)
    check_shapes(graph, shapes or {}, file_name)
    try:
        head = heads.find(graph)
        scores, logits, yes_no = head.scores, head.logits, head.yes_no
    except UnsupportedModelError:
        scores = logits = graph.outputs[0]
        yes_no = False
    described = Described(name, graph, scores, logits, hashlib.sha256(data).digest(), yes_no=yes_no)
    return described, emit(described)


def _check_ends(graph: Graph, file_name: str) -> None:
    if len(graph.inputs) != 1 or not graph.outputs:
        listed = ", ".join(repr(tensor.name) for tensor in graph.inputs)
        raise UnsupportedModelError(
            f"{file_name} has {len(graph.inputs)} inputs ({listed}) and {len(graph.outputs)} outputs",
            "a model with one input and at least one output can be compiled to C",
        )
    (source,) = graph.inputs
    if -1 in (source.shape_signature or ())[1:]:
        raise UnsupportedModelError(
            f"input {source!r} of {file_name} has open dimensions",
            "convert the model with a fixed input shape; the batch alone may stay open",
        )
