"""The explanation compiler from end to end: a trained model in, a bundle out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.bundle import Bundle
from edge.errors import InterpreterError
from edge.files import read_bytes
from edge.manifest import Check, Measure, Schedule
from edge.samples.preprocessing import Preprocessing

from . import asked, choose, gating, heads, micro, stepping, support, targets, tflite, trust
from . import calibration as calibrations
from . import report as reports
from .compiling import MARK, compile_methods, enter
from .errors import CheckFailedError, ModelFileError, UnsupportedModelError
from .methods import IntegratedGradients, Method, Source
from .numerics import Calibration, Numerics, store_float
from .pack import Label, pack
from .selection import Selected, select
from .shipped import Shipped
from .tflite.admission import Shapes, check_shapes, check_weights, try_out
from .tflite.graph import Graph, Model, Tensor

Progress = Callable[[str], None]
Array = NDArray[np.float32]

_SYNTHETIC_SAMPLES = 16
_NO_SANITY = trust.Sanity(notes=("sanity checks and measures were not made: on random inputs they say nothing",))


def explain(
    model: str | Path | bytes,
    *,
    calibration: ArrayLike | None = None,
    truth: ArrayLike | None = None,
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
    refine: bool = False,
    name: str | None = None,
    preprocessing: Preprocessing | Mapping[str, object] | None = None,
    allow_unfaithful: bool = False,
    report: bool = False,
    progress: Progress = lambda stage: None,
) -> Bundle:
    """Compile explanations into a trained TFLite classifier and return them as a bundle.

    ``model`` is a ``.tflite`` file or its bytes. ``calibration`` is ``[N, ...]``, inputs as the float the model was
    trained on; without it checks run on random inputs and the bundle says so. ``methods`` are names of
    :data:`export.methods.METHODS`, by default those of the target (:data:`export.targets.TARGETS`), without GradCAM
    where no layer has positions (which a note says). ``layer`` is the tensor GradCAM and its kin look at, ``output``
    the one to explain, by its name or the signature's, ``signature`` the entry point where that is not the primary
    graph.
    ``baseline`` is where Integrated Gradients starts: "zero", "mean" (of the calibration inputs), or an array of the
    shape of what it explains: the input, or the first tensor that can be reached where the way to the input is barred
    (an embedding look-up, an RFFT front end). ``batch`` is how many of its steps share a call, by default what is
    fastest here; ``memory`` is how many bytes an explanation may take at most (see :mod:`export.memory`), which bounds
    batch and numerics. ``schedule`` is where its steps lie: one of :data:`export.schedule.CHOICES`, "auto" for what
    suits the calibration inputs best. ``refine`` adds what a device needs to take steps until a tolerance is met
    (``edge.Explainer.explain``). ``labels`` default to the list attached to the model, if there is one.
    ``preprocessing`` says how raw values of a sensor become inputs (:class:`edge.samples.preprocessing.Preprocessing`,
    or its fields as a mapping): the calibration inputs are so already, a device's sources will make them so.
    ``report`` puts a page into the bundle that shows calibration inputs with their maps, and right or wrong where their
    classes are given as ``truth`` ``[N]``.
    ``progress`` is called with a line for each stage.

    Raises :class:`ModelFileError`, :class:`UnsupportedModelError` or :class:`CalibrationError` before any work, and
    :class:`MemoryLimitError` where nothing fits into ``memory``, and :class:`CheckFailedError` where the result does
    not hold (unless ``allow_unfaithful``, which ships it marked).
    """
    progress("reading the model")
    original = _read(model, name)
    name = name or Path(original.file_name).stem
    device = _target(target)
    asked.check_options(schedule, memory)
    wanted = asked.methods(device.methods(methods), layer, batch, refine=refine)
    with _about(original.file_name):
        task = _task(original, signature, output, wanted, device, batch, must=methods is not None or layer is not None)
        legal = device.candidates(numerics, quantized=any(tensor.is_quantized for tensor in task.graph.tensors))
        given = _given(task, calibration, truth, baseline, labels, preprocessing)
        integers = _integers(device, task, given)
        selected = select(
            legal,
            partial(_compiled, task, given.x),
            given.x,
            given.baseline,
            auto=numerics == "auto",
            batch=batch,
            memory=memory,
            progress=progress,
        )
        found, measured = _checked(task, given, selected, progress, allow=allow_unfaithful)
        schedules, adds_up = _scheduled(given, selected, schedule, progress, allow=allow_unfaithful)
        checks = [*found.checks, *adds_up.checks]
        firmware = _firmware(
            integers, selected, schedules, schedule, name, given, checks, progress, allow=allow_unfaithful
        )
        progress("measuring cost")
        label = _label(name, device, task, given, selected, (*adds_up.notes, *found.notes, *firmware.notes))
        bundle = pack(selected, label, [*checks, *firmware.checks], measured, schedules, given.x, firmware)
        return _reported(bundle, given, selected, progress) if report else bundle


@dataclass(frozen=True)
class _Original:
    """The user's model: the bytes of its file, what errors call that, and what it holds."""

    file: bytes
    file_name: str
    model: Model


@dataclass(frozen=True)
class _Task:
    """What is to be explained, and by which methods: each looks at its own of the ``layers``.

    ``signature`` and ``output`` are the entry point and output asked for, ``graph`` what is entered by them.
    ``left_out`` is what to say of methods that find no layer to look at.
    """

    original: _Original
    signature: str | None
    output: str | None
    graph: Graph
    head: heads.Head
    methods: Sequence[Method]
    layers: Mapping[str, Tensor]
    left_out: Sequence[str]


@dataclass(frozen=True)
class _Given:
    """What comes with the model: inputs ``x`` ``[N, ...]``, the user's if they are ``real``, and what is said of them.

    ``baseline`` is where Integrated Gradients starts, None for a mean yet to be taken, and ``start`` a word for it.
    """

    x: Array
    real: bool
    baseline: Array | None
    start: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing | None
    truth: NDArray[np.int64] | None


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


def _read(given: str | Path | bytes, name: str | None) -> _Original:
    """Return the user's model; refuses one that carries explanations already."""
    if isinstance(given, bytes):
        file, file_name = given, name or "model"
    else:
        try:
            file, file_name = read_bytes(given, tflite.MAX_BYTES), Path(given).name
        except OSError as error:
            raise ModelFileError(f"cannot read {given}: {error.strerror}", "give the path of a .tflite file") from error
    model = tflite.read(file, file_name)
    if any(key == MARK for key, _ in model.metadata):
        raise UnsupportedModelError(f"{file_name} carries explanations already", "export the original model")
    return _Original(file, file_name, model)


def _target(name: str) -> targets.Target:
    if name not in targets.TARGETS:
        raise UnsupportedModelError(f"there is no target {name!r}", f"choose one of: {', '.join(targets.TARGETS)}")
    return targets.TARGETS[name]


def _task(
    original: _Original,
    signature: str | None,
    output: str | None,
    wanted: Sequence[Method],
    device: targets.Target,
    batch: int | None,
    *,
    must: bool,
) -> _Task:
    """Return what is to be explained; refuses a model or methods with which that cannot be done.

    Methods that find no layer to look at are left out unless they ``must``.
    """
    model, file_name = original.model, original.file_name
    entered = heads.graph_of(model, signature)
    shapes = _tried_out(entered, original)
    _, graph, head = enter(model, entered, output, runs=shapes is not None)
    check_shapes(graph, shapes or {}, file_name)
    check_weights(graph, file_name)
    kept, left_out = asked.with_layers(wanted, graph, head, device.without_positions, must=must)
    layers = {method.name: method.target(graph, head) for method in kept}
    support.check(graph, head, list(layers.values()), runs=shapes is not None)
    fitted = asked.fitted(kept, Source(graph, head, store_float), batch)
    return _Task(original, signature, output, graph, head, fitted, layers, left_out)


def _tried_out(entered: Graph, original: _Original) -> Shapes | None:
    model = original.model
    others = model.graphs[1:]  # where ops that call subgraphs by their place find them
    entrances = [entrance.key for entrance in model.signatures if entrance.graph is entered]
    elsewhere = [entrance.key for entrance in model.signatures if entrance.graph is not entered]
    return try_out(entered, others, original.file_name, original.file, entrances, elsewhere)


def _given(
    task: _Task,
    calibration: ArrayLike | None,
    truth: ArrayLike | None,
    baseline: str | ArrayLike,
    labels: Sequence[str] | None,
    preprocessing: Preprocessing | Mapping[str, object] | None,
) -> _Given:
    """Return what comes with the model; refuses what does not fit it."""
    head = task.head
    x = _inputs(calibration, task.graph, head)
    return _Given(
        x,
        calibration is not None,
        asked.baseline(baseline, task.layers.get(IntegratedGradients.name, head.input)),
        baseline if isinstance(baseline, str) else "given",
        asked.labels(labels, head, task.original.model.associated_files),
        asked.preprocessing(preprocessing, head.sample_shape),
        calibrations.check_truth(truth, len(x), head.answers),
    )


def _inputs(calibration: ArrayLike | None, graph: Graph, head: heads.Head) -> Array:
    """Return the user's inputs, random ones where there are none."""
    if calibration is None:
        return calibrations.synthetic(graph, head, _SYNTHETIC_SAMPLES)
    x = calibrations.check(calibration, head)
    calibrations.check_lookups(x, graph, head)
    calibrations.check_scale(x, graph, head)
    return x


def _integers(device: targets.Target, task: _Task, given: _Given) -> micro.MicroModel | None:
    """Return the model in int8 with its explanations, where it is for microcontrollers: what cannot be is refused."""
    if device is not targets.MICRO:
        return None
    original, x = task.original, given.x
    start = x.mean(0) if given.baseline is None else given.baseline
    return micro.admit(original.model, original.file, task.graph, task.head, task.layers, x, start)


def _compiled(
    task: _Task,
    x: Array,
    kind: Numerics,
    steps: int | None = None,
    seen: Calibration | None = None,
    of: bytes | None = None,
) -> Shipped:
    """Return the model with its explanations in the state that inputs leave: see :class:`export.selection.Compile`."""
    methods = task.methods if steps is None else asked.at(task.methods, steps)
    made = compile_methods(of or task.original.file, methods, kind, seen, task.output, task.signature)
    return made.after(x[:_SYNTHETIC_SAMPLES])


def _checked(
    task: _Task, given: _Given, selected: Selected, progress: Progress, *, allow: bool
) -> tuple[trust.Findings, tuple[Measure, ...]]:
    """Return what was found of what ships, and figures that decide nothing; stops where explanations do not hold."""
    shipped, x, start = selected.shipped, given.x, selected.baseline
    progress(f"checking on {len(x)} {'calibration' if given.real else 'random'} inputs")
    arithmetic = trust.run(shipped, selected.exact, x)
    sanity = _NO_SANITY
    if given.real:
        sanity = trust.sanity_checks(
            shipped,
            lambda file: selected.compile_at(of=file),
            x,
            start,
            cascade=lambda: trust.Cascade(task.original.file, task.output, task.signature),
            noise=not calibrations.takes_ids(task.graph, task.head),
            progress=progress,
        )
    checks = (*arithmetic.checks, *choose.checks(selected.numerics, selected.rows, len(x)), *sanity.checks)
    gating.stop_if_failed(checks, allow=allow)
    measured = trust.measures(shipped, sanity.maps, start, progress=progress)
    return trust.Findings(checks, (*arithmetic.notes, *sanity.notes, *measured.notes)), measured.rows


def _scheduled(
    given: _Given, selected: Selected, rule: str, progress: Progress, *, allow: bool
) -> tuple[tuple[Schedule, ...], trust.Findings]:
    """Return the schedules of Integrated Gradients, and whether maps add up at them; stops where they do not."""
    progress("fitting schedules")
    schedules, adds_up = stepping.schedules(
        selected.shipped, selected.compile_at, given.x, selected.baseline, rule, real_data=given.real
    )
    gating.stop_if_incomplete(adds_up.checks, choose.lost(selected.numerics, selected.rows), allow=allow)
    return schedules, adds_up


def _firmware(
    integers: micro.MicroModel | None,
    selected: Selected,
    schedules: Sequence[Schedule],
    rule: str,
    name: str,
    given: _Given,
    before: Sequence[Check],
    progress: Progress,
    *,
    allow: bool,
) -> micro.Firmware:
    """Return what microcontrollers are given, nothing for other targets; stops where it is not faithful."""
    if integers is None:
        return micro.Firmware()
    progress("compiling to C, checking with TensorFlow Lite Micro")
    firmware = micro.compiled(integers, selected, schedules, name, given.classes, given.x, before, rule)
    gating.stop_if_unlike(firmware.checks, allow=allow)
    return firmware


def _label(
    name: str, device: targets.Target, task: _Task, given: _Given, selected: Selected, notes: Sequence[str]
) -> Label:
    """Return what the bundle says of the model beside what was measured; ``notes`` are those of the checks."""
    x, graph, head = given.x, task.graph, task.head
    said = (
        *task.left_out,
        *_repeated(given.classes),
        *calibrations.notes(x, graph, head),
        *selected.notes,
        *choose.notes(selected.numerics, selected.rows),
        *notes,
    )
    return Label(
        name,
        given.classes,
        device.name,
        selected.numerics.name,
        given.start,
        given.real,
        calibrations.extent(x, graph, head),
        calibrations.legal_ids(graph, head),
        said,
        given.preprocessing,
    )


def _repeated(classes: Sequence[str]) -> list[str]:
    """Return what is to be said of names that several classes have, as "crane" in ImageNet's: bird and machine."""
    times = Counter(classes)
    names = [name for name, count in times.items() if count > 1]
    return [f"{times[name]} classes are called {name!r}: only their indices tell them apart" for name in names[:10]]


def _reported(bundle: Bundle, given: _Given, selected: Selected, progress: Progress) -> Bundle:
    """Return the bundle with a page that shows what it explains."""
    progress("drawing the report")
    compare = reports.comparison(selected.shipped, selected.exact, selected.baseline)
    return reports.attached(bundle, given.x, given.truth, compare)
