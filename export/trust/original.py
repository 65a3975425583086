"""Whether the model that ships is still the one that came: its subgraphs' content, and what its signatures answer.

Both files are unpacked with the schema's own code and compared field by field, so that neither the reader nor the
writer of this package can hide what they changed. References into the file's shared tables (buffers, operator codes)
are compared by what they refer to: these tables grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edge import interpreter
from edge.manifest import Check

from ..clock import within

_SECONDS, _RUNS = 3.0, 3


def unchanged(original: bytes, file: bytes) -> Check:
    """Every subgraph, signature and note of ``original`` against its counterpart in ``file``."""
    before, after = _Unpacked(original), _Unpacked(file)
    differences = list(_differences(before, after))
    count = len(before.root.subgraphs)
    detail = "; ".join(differences[:3]) or "subgraphs whose tensors, ops, options and weights are all as they were"
    return Check("original subgraphs", len(differences), 0, not differences, count, detail)


def answers_of_others(original: bytes, file: bytes, tested: str) -> Check | None:
    """Return whether the signatures of ``original`` that are not ``tested`` anyway answer the same, bit for bit.

    They are run on made-up inputs, in fresh interpreters, one call after the other. Those are left out that do not
    answer twice alike: by chance, or because they leave an input out. None where there is nothing to compare.
    """
    unpacked = _Unpacked(original)
    keys = [key for key in _whole_signatures(unpacked) if key != tested]
    instances = [interpreter.load(model)[0] for model in (original, original, file)] if keys else []
    keeps_state = any(t.isVariable for graph in unpacked.root.subgraphs for t in graph.tensors or [])
    resets = [interpreter.resetter(instance) for instance in instances] if keeps_state else []
    compared, different = 0, []
    for key in keys:
        runs = [instance.get_signature_runner(key) for instance in instances]
        random = np.random.default_rng(0)
        answers: list[list[dict[str, bytes] | None]] = [[] for _ in runs]
        for _ in within(_SECONDS / len(keys), range(_RUNS)):
            given = {name: _made_up(port, random) for name, port in runs[0].get_input_details().items()}
            for reset in resets:
                reset()
            for row, run in zip(answers, runs, strict=True):
                row.append(_answer(run, given))
        once, twice, shipped = answers
        compared += once == twice
        different += [key] if once == twice != shipped else []
    if not compared:
        return None
    detail = f"whose answers differ in any bit: {', '.join(different)}" if different else "whose answers differ"
    return Check("other signatures", len(different), 0, not different, compared, detail)


def _whole_signatures(unpacked: _Unpacked) -> Iterator[str]:
    """Yield the keys of signatures that take every input of the subgraph they enter."""
    for signature in unpacked.root.signatureDefs or []:
        inputs = unpacked.root.subgraphs[signature.subgraphIndex].inputs
        taken = {entry.tensorIndex for entry in signature.inputs or []}
        if taken.issuperset([] if inputs is None else inputs):
            yield signature.signatureKey.decode()


def _answer(run: Callable[..., dict[str, NDArray[Any]]], given: dict[str, NDArray[Any]]) -> dict[str, bytes] | None:
    """Return what a signature answers, to the bit; None where it fails, as made-up inputs may make it."""
    try:
        return {name: values.tobytes() for name, values in run(**given).items()}
    except (RuntimeError, ValueError):
        return None


def _made_up(port: dict[str, Any], random: np.random.Generator) -> NDArray[Any]:
    """Return an input: noise where it is float, all of the range of small integers, zeros for ids."""
    kind, shape = np.dtype(port["dtype"]), tuple(port["shape"])
    values: NDArray[Any] = np.zeros(shape, kind)
    if kind.kind == "f":
        values = random.normal(size=shape).astype(kind)
    elif kind.kind in "iu" and kind.itemsize == 1:
        values = random.integers(np.iinfo(kind).min, int(np.iinfo(kind).max) + 1, shape).astype(kind)
    return values


class _Unpacked:
    """A file as the schema's object tree."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.root: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))

    def buffer(self, index: int) -> bytes:
        """Return the bytes of a buffer, which may stand behind the flatbuffer."""
        buffer = self.root.buffers[index]
        if buffer.offset > 1:
            return self.data[buffer.offset : buffer.offset + buffer.size]
        return b"" if buffer.data is None else np.asarray(buffer.data, np.uint8).tobytes()

    def code(self, index: int) -> tuple[int, bytes, int]:
        """Return what an operator code says; old files have only the deprecated field, new ones both."""
        code = self.root.operatorCodes[index]
        return max(code.builtinCode, code.deprecatedBuiltinCode), code.customCode or b"", code.version


_REFERENCES: dict[str, Callable[[_Unpacked, int], Any]] = {"buffer": _Unpacked.buffer, "opcodeIndex": _Unpacked.code}


def _differences(before: _Unpacked, after: _Unpacked) -> Iterator[str]:
    """Yield what is not as it was, in words."""
    pairs = zip(before.root.subgraphs, after.root.subgraphs, strict=False)
    for index, (one, other) in enumerate(pairs):
        for field in vars(one):
            if not _same(getattr(one, field), getattr(other, field), before, after):
                yield f"{field} of subgraph {index}"
    if len(after.root.subgraphs) < len(before.root.subgraphs):
        yield "subgraphs are missing"
    signatures = {signature.signatureKey: signature for signature in after.root.signatureDefs or []}
    for signature in before.root.signatureDefs or []:
        if not _same(signature, signatures.get(signature.signatureKey), before, after):
            yield f"signature {signature.signatureKey!r}"
    notes = {note.name: note for note in after.root.metadata or []}
    for note in before.root.metadata or []:
        if note.name != b"min_runtime_version" and not _same(note, notes.get(note.name), before, after):
            yield f"note {note.name!r}"


def _same(one: Any, other: Any, before: _Unpacked, after: _Unpacked) -> bool:
    if _is_nothing(one) or _is_nothing(other):
        return _is_nothing(one) and _is_nothing(other)
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.asarray(one).tobytes() == np.asarray(other).tobytes()
    if isinstance(one, list):
        return len(one) == len(other) and all(_same(a, b, before, after) for a, b in zip(one, other, strict=True))
    if isinstance(one, float):
        return bool(np.float64(one).tobytes() == np.float64(other).tobytes())  # a NaN is like itself here
    if not hasattr(one, "__dict__"):
        return bool(one == other)
    return type(one) is type(other) and all(
        _REFERENCES[field](before, value) == _REFERENCES[field](after, getattr(other, field))
        if field in _REFERENCES
        else _same(value, getattr(other, field), before, after)
        for field, value in vars(one).items()
    )


def _is_nothing(value: Any) -> bool:
    """Whether a field is left out, or an empty vector: writers choose either."""
    return value is None or (isinstance(value, (list, bytes, np.ndarray)) and len(value) == 0)
