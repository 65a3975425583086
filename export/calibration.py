"""Calibration data: real inputs, as the float the model was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.files import read_arrays

from .errors import CalibrationError
from .heads import Head
from .shipped import Runtime, store_input
from .tflite.graph import Graph, Model, Op, Signature, Tensor, reachable_from
from .tflite.ops import elements, prune
from .tflite.options import GatherOptions
from .tflite.writer import write

_CONTROL_FLOW = {"CALL", "IF", "WHILE"}
_EXACT = 1 << 24  # integers up to here are float32 numbers, in which inputs are handled
_LARGEST = 1e16  # of real values: the squares of layers' values, which checks and methods add up, soon overflow float32
_SATURATED = 0.25  # of the values beyond what the model can store: more are data of another scale, not outliers
_HINT = (
    "pass an .npz with x, numbers of shape [N, ...] as the model was trained on, and optionally y, class indices [N]"
)


def read(path: str | Path) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """Return ``x`` of a calibration file, and ``y`` if it has that; :class:`CalibrationError` for a file without x."""
    path = Path(path)
    try:
        arrays, names = read_arrays(path, ("x", "y"))
    except OSError as error:
        raise CalibrationError(f"cannot read {path}: {error.strerror or error}", _HINT) from error
    except ValueError as error:
        raise CalibrationError(f"cannot read {path}: {error}", _HINT) from error
    if "x" not in arrays:
        raise CalibrationError(f"{path.name} has no array x, only {', '.join(names) or 'nothing'}"[:1000], _HINT)
    x, y = arrays["x"], arrays.get("y")
    if y is not None and (y.dtype.kind not in "iu" or y.shape != x.shape[:1]):
        raise CalibrationError(
            f"{path.name}: y is {y.dtype} {list(y.shape)}, and {len(x) if x.ndim else 'no'} samples are in x", _HINT
        )
    return x, y


def check_truth(truth: ArrayLike | None, samples: int, classes: int) -> NDArray[np.int64] | None:
    """Return true classes as ``[N]``, if given; :class:`CalibrationError` where they are none of ``samples`` inputs."""
    if truth is None:
        return None
    try:
        array: NDArray[Any] = np.asarray(truth)
    except ValueError as error:
        raise CalibrationError("true classes are not numbers in a row", _HINT) from error
    if array.dtype.kind not in "iu" or array.shape != (samples,):
        raise CalibrationError(f"true classes are {array.dtype} {list(array.shape)} for {samples} inputs", _HINT)
    if (array < 0).any() or (array >= classes).any():
        raise CalibrationError(
            f"true classes are from {array.min()} to {array.max()}, and the model has {classes} classes",
            "number classes from 0, in the order of the model's scores",
        )
    return array.astype(np.int64)


def check(x: ArrayLike, head: Head) -> NDArray[np.float32]:
    """Return calibration inputs as float32 ``[N, ...]``; raises :class:`CalibrationError` where they do not fit."""
    try:
        array: NDArray[Any] = np.asarray(x)
    except ValueError as error:
        raise CalibrationError("calibration samples are not all of one shape", _HINT) from error
    input_tensor, wanted = head.input, head.sample_shape
    if array.dtype.kind not in "fiu":
        raise CalibrationError(f"calibration data is {array.dtype}, not numbers", _HINT)
    if array.ndim != len(wanted) + 1 or array.shape[1:] != wanted:
        raise CalibrationError(
            f"calibration data of shape {list(array.shape)} does not fit input {input_tensor!r}",
            f"its shape must be [N, {', '.join(map(str, wanted))}]",
        )
    if not len(array):
        raise CalibrationError("calibration data holds no sample", _HINT)
    given = array
    with np.errstate(over="ignore"):  # what float32 cannot hold is found below
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise _refusal(~np.isfinite(array), "values that are not finite")
    if (largest := float(np.abs(array).max(initial=0))) > _LARGEST:
        raise CalibrationError(
            f"calibration values reach {largest:.3g}: at that size logits, or squares of what leads to them, "
            "overflow float32",
            "scale the inputs as for training, for example 0..255 to -1..1",
        )
    if _holds_integers(input_tensor):
        low, high = _range(input_tensor.dtype)
        unfit = (np.rint(array) != given) | (array < low) | (array > high)
        if unfit.any():
            raise _refusal(unfit, f"values that input {input_tensor!r} cannot: it takes whole numbers")
    return array


def different(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return inputs ``[N, ...]`` with each of them once: what is told by many must not be told by one."""
    return np.stack(list({sample.tobytes(): sample for sample in x}.values()))


def stored_range(graph: Graph, head: Head) -> tuple[float, float] | None:
    """Return the range of real values that a quantised input, or one quantised at once, can tell apart; else None.

    It reaches a step beyond the grid at both ends, as 1.0 is fed to grids that end at 127/128, and always to 0, which
    is how inputs say that nothing is there.
    """
    readers = [op for op in graph.ops if head.input in op.inputs]
    if head.input.is_quantized:
        stored = [head.input]
    elif all(op.code == "QUANTIZE" for op in readers):
        stored = [op.output for op in readers]
    else:
        return None
    ends = [0.0]
    for tensor in stored:
        grid = tensor.quantization
        if not tensor.is_quantized or grid is None or grid.per_channel:
            return None
        limits = np.iinfo(tensor.dtype)
        ends += grid.dequantize(np.asarray([limits.min - 1.0, limits.max + 1.0])).tolist()
    return (min(ends), max(ends)) if stored else None


def _beyond(x: NDArray[np.float32], graph: Graph, head: Head) -> tuple[float, str]:
    """Return what part of the values the input saturates at, and both ranges in words."""
    held = stored_range(graph, head)
    if held is None:
        return 0.0, ""
    share = float(np.mean((x < np.float32(held[0])) | (x > np.float32(held[1]))))
    return share, (
        f"{share:.2%} of the calibration values are beyond what input {head.input!r} can store, about {held[0]:.4g} to "
        f"{held[1]:.4g}: they are from {x.min():.4g} to {x.max():.4g}"
    )


def check_scale(x: NDArray[np.float32], graph: Graph, head: Head) -> None:
    """Raise :class:`CalibrationError` for inputs of another scale than the model was quantised for."""
    share, said = _beyond(x, graph, head)
    if share > _SATURATED:
        raise CalibrationError(said, "scale the inputs as for training, for example 0..255 to -1..1")


def notes(x: NDArray[np.float32], graph: Graph, head: Head) -> list[str]:
    """Return what is to be said of inputs that pass: some of their values saturate."""
    share, said = _beyond(x, graph, head)
    return [f"{said}, and saturate"] if share else []


def extent(x: NDArray[np.float32], graph: Graph, head: Head) -> tuple[float, float]:
    """Return the smallest and largest input value seen, but for those beyond what the model can store."""
    low, high = stored_range(graph, head) or (-np.inf, np.inf)
    return max(float(x.min()), low), min(float(x.max()), high)


def _refusal(bad: NDArray[np.bool_], what: str) -> CalibrationError:
    count = int(bad.reshape(len(bad), -1).any(1).sum())
    return CalibrationError(f"{count} of {len(bad)} calibration samples hold {what}", _HINT)


def check_lookups(x: NDArray[np.float32], graph: Graph, head: Head) -> None:
    """Raise :class:`CalibrationError` for the first sample with an id that a table of the model does not have."""
    lookups = _lookups(graph, head)
    if not lookups:
        return
    run = _index_runner(graph, head, lookups)
    for number, sample in enumerate(x):
        for lookup, found in zip(lookups, run(sample), strict=True):
            if found.size and not (found.min() >= 0 and found.max() < lookup.rows):
                raise CalibrationError(
                    f"calibration sample {number} makes op {graph.ops.index(lookup.op)} {lookup.op.code} look up "
                    f"{found.min() if found.min() < 0 else found.max()} in {lookup.table.name!r}, "
                    f"which has rows 0 to {lookup.rows - 1}",
                    "make ids as for training, with the same vocabulary",
                )


def legal_ids(graph: Graph, head: Head) -> tuple[int, int] | None:
    """Return the smallest and largest id that an input may hold where each is looked up in one table; else None."""
    lookups = _lookups(graph, head)
    if len(lookups) != 1 or elements(lookups[0].index.shape) != elements(head.input.shape):
        return None
    rows = lookups[0].rows
    run = _index_runner(graph, head, lookups)

    def is_legal(value: int) -> bool:
        low, high = _range(head.input.dtype) if head.input.dtype.kind in "iub" else (-_EXACT, _EXACT)
        if not low <= value <= high:
            return False
        (found,) = run(np.full(head.sample_shape, value, np.float32))
        return bool(found.min() >= 0 and found.max() < rows)

    # From the end, as Python counts, where the model takes negative ids so.
    lowest = -rows if is_legal(-rows) else 0
    probes = {lowest - 1: False, lowest: True, rows - 1: True, rows: False}
    return (lowest, rows - 1) if all(is_legal(value) == legal for value, legal in probes.items()) else None


def takes_ids(graph: Graph, head: Head) -> bool:
    """Whether inputs are ids or other whole numbers, of which one next to another need mean nothing like it."""
    return _holds_integers(head.input) or bool(_lookups(graph, head))


@dataclass(frozen=True)
class _Lookup:
    """An op that reads ``table``, of so many rows, at an ``index`` that depends on the input."""

    op: Op
    table: Tensor
    index: Tensor
    rows: int


def _lookups(graph: Graph, head: Head) -> list[_Lookup]:
    # What depends on a state too, or comes out of control flow, is not known before the model itself runs.
    unknown = {*head.states, *(tensor for op in graph.ops if op.code in _CONTROL_FLOW for tensor in op.outputs)}
    dependent = reachable_from(graph, {head.input}) - reachable_from(graph, unknown)
    found = []
    for op in graph.ops:
        match op.code, op.options:
            case "GATHER", GatherOptions(axis=axis):
                table, index = op.input(0), op.input(1)
                rows = table.shape[axis]
            case "EMBEDDING_LOOKUP", _:
                index, table = op.input(0), op.input(1)
                rows = table.shape[0]
            case _:
                continue
        if index in dependent:
            found.append(_Lookup(op, table, index, rows))
    return found


def _index_runner(
    graph: Graph, head: Head, lookups: Sequence[_Lookup]
) -> Callable[[NDArray[np.float32]], list[NDArray[Any]]]:
    """Return a function from an input to what it makes the look-ups read."""
    part = graph.copy("ids")
    part.inputs = [head.input]
    part.outputs = list(dict.fromkeys(lookup.index for lookup in lookups))
    prune(part)
    names = {tensor: f"index{number}" for number, tensor in enumerate(part.outputs)}
    signature = Signature("ids", part, {"x": head.input}, {name: tensor for tensor, name in names.items()})
    runtime = Runtime(write(Model([part], [signature])))

    def run(sample: NDArray[np.float32]) -> list[NDArray[Any]]:
        outputs = runtime.call("ids", x=store_input(head.input, sample))
        return [outputs[names[lookup.index]] for lookup in lookups]

    return run


def _holds_integers(tensor: Tensor) -> bool:
    return tensor.dtype.kind in "iub" and not tensor.is_quantized


def _range(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Return the integers of ``dtype`` that float32 has too."""
    if dtype.kind == "b":
        return 0, 1
    limits = np.iinfo(dtype)
    return max(int(limits.min), -_EXACT), min(int(limits.max), _EXACT)


def synthetic(graph: Graph, head: Head, count: int) -> NDArray[np.float32]:
    """Return random inputs that cover the input's representable range, for checks that need no real data.

    Ids are such as the tables of the model have. Raises :class:`CalibrationError` where such ids cannot be made up.
    """
    source = head.input
    random = np.random.default_rng(0)
    shape = (count, *head.sample_shape)
    # Float inputs of a quantised model are put on a grid at once.
    first = (op.output for op in graph.ops if op.code == "QUANTIZE" and op.input(0) is source)
    stored = source if source.is_quantized else next(first, source)
    grid = stored.quantization
    if stored.is_quantized and grid is not None:
        limits = np.iinfo(stored.dtype)
        return grid.dequantize(random.integers(limits.min, limits.max + 1, shape)).astype(np.float32)
    if not _holds_integers(source) and legal_ids(graph, head) is None:
        x = random.normal(size=shape).astype(np.float32)
    else:
        x = random.integers(0, _made_up_bound(graph, head), shape).astype(np.float32)
    try:
        check_lookups(x, graph, head)
    except CalibrationError as error:
        raise CalibrationError(f"no ids can be made up for input {source!r}: {error.cause}", _HINT) from error
    return x


def _made_up_bound(graph: Graph, head: Head) -> int:
    """Return a number below which any integer may stand in the input."""
    rows = [lookup.rows for lookup in _lookups(graph, head)]
    depths = [int(op.input(1).real()) for op in graph.ops if op.code == "ONE_HOT" and op.input(1).is_constant]
    limit = 256 if not _holds_integers(head.input) else min(256, _range(head.input.dtype)[1] + 1)
    return min([*rows, *depths]) if rows or depths else limit
