"""The explanation compiler from end to end: a trained model in, a bundle out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.bundle import Bundle, Check
from edge.errors import InterpreterError
from edge.files import read_bytes

from . import calibration as calibrations
from . import choose, fitting, heads, measure, support, targets, tflite, trust
from .compiling import MARK, compile_methods, enter
from .errors import CalibrationError, CheckFailedError, MemoryLimitError, ModelFileError, UnsupportedModelError
from .methods import METHODS, ClassActivationMap, IntegratedGradients, Method, Source
from .numerics import Calibration, Numerics, store_float
from .pack import Label, pack
from .schedule import CHOICES
from .shipped import Shipped
from .tflite.admission import Shapes, check_shapes, check_weights, try_out
from .tflite.graph import Graph, Model, Tensor

Progress = Callable[[str], None]
T = TypeVar("T")

MOST_STEPS = 64
"""The most steps of Integrated Gradients that a call may have: the longest schedule's."""

DEFAULT_METHODS = ("gradcam", "integrated_gradients")

_SYNTHETIC_SAMPLES = 16
_CALIBRATION_SAMPLES = 16  # of integer gradients


def explain(
    model: str | Path | bytes,
    *,
    calibration: ArrayLike | None = None,
    methods: Sequence[str] | None = None,
    target: str = "pi",
    numerics: str = "auto",
    baseline: str | ArrayLike = "zero",
    labels: Sequence[str] | None = None,
    layer: str | None = None,
    output: str | None = None,
    signature: str | None = None,
    batch: int | None = None,
    memory: int | None = None,
    schedule: str = "auto",
    name: str | None = None,
    allow_unfaithful: bool = False,
    progress: Progress = lambda stage: None,
) -> Bundle:
    """Compile explanations into a trained TFLite classifier and return them as a bundle.

    ``model`` is a ``.tflite`` file or its bytes. ``calibration`` is ``[N, ...]``, inputs as the float the model was
    trained on; without it checks run on random inputs and the bundle says so. ``methods`` are names of
    :data:`export.methods.METHODS`, by default :data:`DEFAULT_METHODS`, without GradCAM where no layer has positions
    (which a note says). ``layer`` is the tensor GradCAM and its kin look at, ``output`` the one to explain, by its name
    or the signature's, ``signature`` the entry point where that is not the primary graph.
    ``baseline`` is where Integrated Gradients starts: "zero", "mean" (of the calibration inputs), or an array of the
    shape of what it explains: the input, or the first tensor that can be reached where the way to the input is barred
    (an embedding look-up, an RFFT front end). ``batch`` is how many of its steps share a call, by default what is
    fastest here; ``memory`` is how many bytes an explanation may take at most (see :mod:`export.memory`), which bounds
    batch and numerics. ``schedule`` is where its steps lie: one of :data:`export.schedule.CHOICES`, "auto" for what
    suits the calibration inputs best. ``labels`` default to the list attached to the model, if there is one.
    ``progress`` is called with a line for each stage.

    Raises :class:`ModelFileError`, :class:`UnsupportedModelError` or :class:`CalibrationError` before any work, and
    :class:`MemoryLimitError` where nothing fits into ``memory``, and :class:`CheckFailedError` where the result does
    not hold (unless ``allow_unfaithful``, which ships it marked).
    """
    progress("reading the model")
    original, file_name = _read(model, name)
    name = name or Path(file_name).stem
    source = tflite.read(original, file_name)
    if any(key == MARK for key, _ in source.metadata):
        raise UnsupportedModelError(f"{file_name} carries explanations already", "export the original model")
    chosen_target = _choose(targets.TARGETS, target, "target")
    _check_options(schedule, memory)
    wanted = _methods(DEFAULT_METHODS if methods is None else methods, layer, batch)
    with _about(file_name):
        entered = heads.graph_of(source, signature)
        shapes = _tried_out(entered, source, original, file_name)
        _, graph, head = enter(source, entered, output, runs=shapes is not None)
        check_shapes(graph, shapes or {}, file_name)
        check_weights(graph, file_name)
        wanted, left_out = _with_layers(wanted, graph, head, must=methods is not None or layer is not None)
        targets_of = {method.name: method.target(graph, head) for method in wanted}
        support.check(graph, head, list(targets_of.values()), runs=shapes is not None)
        wanted = _fitted(wanted, Source(graph, head, store_float), batch)
        legal = chosen_target.candidates(numerics, quantized=any(tensor.is_quantized for tensor in graph.tensors))
        x, real_data = _inputs(calibration, graph, head)
        given = _baseline(baseline, targets_of.get(IntegratedGradients.name, head.input))
        classes = _labels(labels, head.classes, source.associated_files)

        def compiled(kind: Numerics, steps: int | None = None, seen: Calibration | None = None) -> Shipped:
            using = wanted if steps is None else _at(wanted, steps)
            return compile_methods(original, using, kind, seen, output, signature).after(x[:_SYNTHETIC_SAMPLES])

        progress(f"deriving gradients, numerics {legal[0].name}")
        exact = compiled(legal[0])
        start = given if given is not None else _mean(exact, x)
        seen = Calibration([exact.entered(sample) for sample in x[:_CALIBRATION_SAMPLES]], start, head.classes)
        compile_at = partial(compiled, seen=seen)
        others, notes = _others(legal[1:], compile_at, x, start, progress, must=numerics != "auto")
        candidates = [(legal[0], exact), *others]
        progress(f"measuring numerics {', '.join(kind.name for kind, _ in candidates)}")
        rows = choose.measure(candidates, x, start)
        ranked = (
            [candidates[index] for index in choose.ranking(candidates, rows)] if numerics == "auto" else candidates[-1:]
        )
        fitted = fitting.fit(ranked, compile_at, x, start, batch=batch, limit=memory, progress=progress)
        chosen, shipped = fitted.numerics, fitted.shipped
        if all(shipped is not candidate for _, candidate in candidates):  # it was compiled again, for another batch
            rows = choose.with_fidelity_of(shipped, chosen, exact, rows, x, start)
            exact = shipped if chosen is candidates[0][0] else exact
        del candidates, others, ranked  # each holds an interpreter

        progress(f"checking on {len(x)} {'calibration' if real_data else 'random'} inputs")
        checks = [*trust.run(shipped, exact, x), *choose.checks(chosen, rows, len(x))]
        _stop_if_failed(checks, allow_unfaithful)

        progress("fitting schedules, measuring cost")
        schedules = measure.fitted_schedules(shipped, partial(compile_at, chosen), x, start, schedule)
        told = (*left_out, *_repeated(classes), *calibrations.notes(x, graph, head), *notes, *fitted.notes)
        label = Label(
            name,
            classes,
            chosen_target.name,
            chosen.name,
            baseline if isinstance(baseline, str) else "given",
            real_data,
            calibrations.extent(x, graph, head),
            calibrations.legal_ids(graph, head),
            (*told, *choose.notes(chosen, rows), *schedules.notes),
        )
        return pack(fitted, label, checks, rows, schedules.schedules, x, start)


@contextmanager
def _about(file_name: str) -> Iterator[None]:
    """Name the file in what is said of its model; numbers that overflow are left to the checks to find."""
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            yield
    except MemoryError as error:
        raise UnsupportedModelError(
            f"explaining {file_name} takes more memory than there is", "try --batch 1, or another --method"
        ) from error
    except (CheckFailedError, ModelFileError) as error:
        if file_name in error.cause:
            raise
        raise type(error)(f"{file_name}: {error.cause}", error.hint) from error
    except (InterpreterError, UnsupportedModelError) as error:
        raise UnsupportedModelError(f"cannot explain {file_name}: {error.cause}", error.hint) from error


def _read(model: str | Path | bytes, name: str | None) -> tuple[bytes, str]:
    """Return a model's bytes and what to call its file."""
    if isinstance(model, bytes):
        return model, name or "model"
    try:
        return read_bytes(model, tflite.MAX_BYTES), Path(model).name
    except OSError as error:
        raise ModelFileError(f"cannot read {model}: {error.strerror}", "give the path of a .tflite file") from error


def _tried_out(entered: Graph, source: Model, original: bytes, file_name: str) -> Shapes | None:
    others = source.graphs[1:]  # where ops that call subgraphs by their place find them
    entrances = [entrance.key for entrance in source.signatures if entrance.graph is entered]
    elsewhere = [entrance.key for entrance in source.signatures if entrance.graph is not entered]
    return try_out(entered, others, file_name, original, entrances, elsewhere)


def _choose(table: Mapping[str, T], key: str, what: str) -> T:
    if key not in table:
        raise UnsupportedModelError(f"there is no {what} {key!r}", f"choose one of: {', '.join(table)}")
    return table[key]


def _inputs(calibration: ArrayLike | None, graph: Graph, head: heads.Head) -> tuple[NDArray[np.float32], bool]:
    if calibration is None:
        return calibrations.synthetic(graph, head, _SYNTHETIC_SAMPLES), False
    x = calibrations.check(calibration, head)
    calibrations.check_lookups(x, graph, head)
    calibrations.check_scale(x, graph, head)
    return x, True


def _baseline(baseline: str | ArrayLike, tensor: Tensor) -> NDArray[np.float32] | None:
    """Return where integration starts, float32 of the shape of ``tensor``; None for a mean yet to be taken."""
    shape = tensor.shape[1:]
    if isinstance(baseline, str):
        if baseline == "zero":
            return np.zeros(shape, np.float32)
        if baseline == "mean":
            return None
        raise CalibrationError(
            f"there is no baseline {baseline!r}", "choose zero, mean or FILE.npy; from Python, an array will do"
        )
    try:
        given = np.asarray(baseline)
    except ValueError as error:
        raise CalibrationError(
            "the baseline's rows are not all of one length", f"its shape is {list(shape)}"
        ) from error
    if given.shape != shape or given.dtype.kind not in "fiu":
        raise CalibrationError(
            f"a baseline of shape {list(given.shape)} and type {given.dtype} does not fit {tensor!r}, where "
            "Integrated Gradients starts",
            f"pass numbers of shape {list(shape)}",
        )
    stored = given.astype(np.float32)
    if not np.isfinite(stored).all():
        raise CalibrationError(
            f"{np.sum(~np.isfinite(stored))} of the baseline's {stored.size} values are not finite in float32",
            "look for NaN, infinity and numbers beyond 3.4e38",
        )
    return stored


def _mean(shipped: Shipped, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of what gradients are taken at, over the inputs."""
    total = np.zeros(shipped.entered(x[0])["x"].shape[1:], np.float64)
    for sample in x:
        total += shipped.entered(sample)["x"][0]
    return np.asarray(total / len(x), np.float32)


def _others(
    legal: Sequence[Numerics],
    compiled: Callable[[Numerics], Shipped],
    x: NDArray[np.float32],
    baseline: NDArray[np.float32],
    progress: Progress,
    *,
    must: bool,
) -> tuple[list[tuple[Numerics, Shipped]], list[str]]:
    """Return what was compiled in numerics that are not exact, and what is to be said of those left out.

    What does not run here is left out, or raises its error where it ``must``.
    """
    candidates, notes = [], []
    for kind in legal:
        progress(f"deriving gradients, numerics {kind.name}")
        try:
            candidate = compiled(kind)
            choose.check_runs(candidate, x, baseline)
        except (UnsupportedModelError, InterpreterError) as error:
            if must:
                raise
            notes.append(f"numerics {kind.name} left out: {error.cause}")
        else:
            candidates.append((kind, candidate))
    return candidates, notes


def _labels(labels: Sequence[str] | None, classes: int, attached: Mapping[str, bytes]) -> tuple[str, ...]:
    if labels is None:
        texts = [data.decode("utf-8", "replace") for name, data in attached.items() if name.endswith(".txt")]
        fitting = [text.splitlines() for text in texts if len(text.splitlines()) == classes]
        return tuple(fitting[0]) if len(fitting) == 1 else tuple(f"class {index}" for index in range(classes))
    if isinstance(labels, str | bytes) or not isinstance(labels, Iterable):
        raise CalibrationError(f"labels are {labels!r:.80}, no list of names", "pass one name per class")
    labels = list(labels)
    if len(labels) != classes:
        raise CalibrationError(f"{len(labels)} labels for a model of {classes} classes", "give one label per class")
    return tuple(str(label) for label in labels)


def _repeated(classes: Sequence[str]) -> list[str]:
    """Return what is to be said of names that several classes have, as "crane" in ImageNet's: bird and machine."""
    times = Counter(classes)
    names = [name for name, count in times.items() if count > 1]
    return [f"{times[name]} classes are called {name!r}: only their indices tell them apart" for name in names[:10]]


def _methods(names: Sequence[str], layer: str | None, batch: int | None) -> list[Method]:
    if isinstance(names, str):
        names = (names,)
    if not names:
        raise UnsupportedModelError("no explanation method is asked for", f"choose from: {', '.join(METHODS)}")
    for name in names:
        if name not in METHODS:
            raise UnsupportedModelError(f"there is no method {name!r}", f"choose from: {', '.join(METHODS)}")
    chosen = [METHODS[name] for name in dict.fromkeys(names)]
    found = [method(layer) if issubclass(method, ClassActivationMap) else method() for method in chosen]
    if batch is None:
        return found
    if not _is_whole(batch) or not 1 <= batch <= MOST_STEPS:
        raise UnsupportedModelError(f"{batch!r} steps cannot share a call", f"choose 1 to {MOST_STEPS}")
    return _at(found, batch)


def _check_options(schedule: str, memory: int | None) -> None:
    _choose(dict.fromkeys(CHOICES), schedule, "schedule")
    if memory is not None and not (_is_whole(memory) and memory > 0):
        raise MemoryLimitError(f"a limit of {memory!r} is no number of bytes", "pass a whole number above 0")


def _is_whole(number: object) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)


def _with_layers(
    methods: Sequence[Method], graph: Graph, head: heads.Head, *, must: bool
) -> tuple[list[Method], list[str]]:
    """Return the methods without those that find no layer to look at, unless they ``must``, and what to say of them."""
    kept, left_out = [], []
    for method in methods:
        try:
            method.target(graph, head)
        except UnsupportedModelError as error:
            if must or not isinstance(method, ClassActivationMap):
                raise
            left_out.append(f"{method.name} left out: {error.cause}")
        else:
            kept.append(method)
    return kept, left_out


def _fitted(methods: Sequence[Method], source: Source, batch: int | None) -> list[Method]:
    fitted = [method.fitted(source) for method in methods]
    if batch is not None and fitted != _at(fitted, batch):
        raise UnsupportedModelError("its ops mix the entries of a batch", f"leave out batch {batch}: one step a call")
    return fitted


def _at(methods: Sequence[Method], steps: int) -> list[Method]:
    """Return the methods with ``steps`` steps a call."""
    return [replace(m, steps_per_call=int(steps)) if isinstance(m, IntegratedGradients) else m for m in methods]


def _stop_if_failed(checks: Sequence[Check], allow: bool) -> None:
    failed = [check for check in checks if not check.passed]
    if failed and not allow:
        lines = "; ".join(
            f"{check.name}: {check.value:.3g}, bound {check.bound:g} ({check.detail})" for check in failed
        )
        raise CheckFailedError(
            f"the compiled explanation does not hold: {lines}",
            "report the model; --allow-unfaithful ships it marked all the same",
        )
