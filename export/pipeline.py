"""The explanation compiler from end to end: a trained model in, a bundle out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.bundle import Bundle
from edge.errors import InterpreterError
from edge.files import read_bytes
from edge.manifest import Check, Schedule
from edge.samples.preprocessing import Preprocessing

from . import asked, choose, heads, micro, stepping, support, targets, tflite, trust
from . import calibration as calibrations
from . import report as reports
from .compiling import MARK, compile_methods, enter
from .errors import CheckFailedError, ModelFileError, UnsupportedModelError
from .methods import IntegratedGradients, Source
from .numerics import Calibration, Numerics, store_float
from .pack import Label, pack
from .selection import Selected, select
from .shipped import Shipped
from .tflite.admission import Shapes, check_shapes, check_weights, try_out
from .tflite.graph import Graph, Model, Tensor

Progress = Callable[[str], None]
T = TypeVar("T")

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
    original, file_name = _read(model, name)
    name = name or Path(file_name).stem
    source = tflite.read(original, file_name)
    if any(key == MARK for key, _ in source.metadata):
        raise UnsupportedModelError(f"{file_name} carries explanations already", "export the original model")
    chosen_target = _choose(targets.TARGETS, target, "target")
    asked.check_options(schedule, memory)
    wanted = asked.methods(chosen_target.methods(methods), layer, batch, refine=refine)
    with _about(file_name):
        entered = heads.graph_of(source, signature)
        shapes = _tried_out(entered, source, original, file_name)
        _, graph, head = enter(source, entered, output, runs=shapes is not None)
        check_shapes(graph, shapes or {}, file_name)
        check_weights(graph, file_name)
        wanted, left_out = asked.with_layers(
            wanted, graph, head, chosen_target.without_positions, must=methods is not None or layer is not None
        )
        targets_of = {method.name: method.target(graph, head) for method in wanted}
        support.check(graph, head, list(targets_of.values()), runs=shapes is not None)
        wanted = asked.fitted(wanted, Source(graph, head, store_float), batch)
        legal = chosen_target.candidates(numerics, quantized=any(tensor.is_quantized for tensor in graph.tensors))
        x, real_data = _inputs(calibration, graph, head)
        given = asked.baseline(baseline, targets_of.get(IntegratedGradients.name, head.input))
        classes = asked.labels(labels, head, source.associated_files)
        raw = asked.preprocessing(preprocessing, head.sample_shape)
        truth = calibrations.check_truth(truth, len(x), head.answers)
        integers = _integers(chosen_target, original, source, graph, head, targets_of, x, given)

        def compiled(
            kind: Numerics, steps: int | None = None, seen: Calibration | None = None, of: bytes | None = None
        ) -> Shipped:
            using = wanted if steps is None else asked.at(wanted, steps)
            return compile_methods(of or original, using, kind, seen, output, signature).after(x[:_SYNTHETIC_SAMPLES])

        selected = select(
            legal, compiled, x, given, auto=numerics == "auto", batch=batch, memory=memory, progress=progress
        )
        shipped = selected.shipped

        progress(f"checking on {len(x)} {'calibration' if real_data else 'random'} inputs")
        arithmetic = trust.run(shipped, selected.exact, x)
        checks = [*arithmetic.checks, *choose.checks(selected.numerics, selected.rows, len(x))]
        sanity = (
            trust.sanity_checks(
                shipped,
                lambda file: selected.compile_at(of=file),
                x,
                selected.baseline,
                cascade=lambda: trust.Cascade(original, output, signature),
                noise=not calibrations.takes_ids(graph, head),
                progress=progress,
            )
            if real_data
            else _NO_SANITY
        )
        checks += sanity.checks
        _stop_if_failed(checks, allow_unfaithful)
        measured = trust.measures(shipped, sanity.maps, selected.baseline, progress=progress)

        progress("fitting schedules")
        schedules, adds_up = stepping.schedules(
            shipped, selected.compile_at, x, selected.baseline, schedule, real_data=real_data
        )
        checks += adds_up.checks
        _stop_if_incomplete(adds_up.checks, choose.lost(selected.numerics, selected.rows), allow_unfaithful)
        firmware = _firmware(integers, selected, schedules, name, classes, x, progress, checks, allow=allow_unfaithful)
        progress("measuring cost")
        label = Label(
            name,
            classes,
            chosen_target.name,
            selected.numerics.name,
            baseline if isinstance(baseline, str) else "given",
            real_data,
            calibrations.extent(x, graph, head),
            calibrations.legal_ids(graph, head),
            (
                *left_out,
                *_repeated(classes),
                *calibrations.notes(x, graph, head),
                *selected.notes,
                *choose.notes(selected.numerics, selected.rows),
                *adds_up.notes,
                *arithmetic.notes,
                *sanity.notes,
                *measured.notes,
                *firmware.notes,
            ),
            raw,
        )
        bundle = pack(selected, label, [*checks, *firmware.checks], measured.rows, schedules, x, firmware)
        if not report:
            return bundle
        progress("drawing the report")
        compare = reports.comparison(shipped, selected.exact, selected.baseline)
        return reports.attached(bundle, x, truth, compare)


def _integers(
    target: targets.Target,
    original: bytes,
    source: Model,
    graph: Graph,
    head: heads.Head,
    layers: Mapping[str, Tensor],
    x: NDArray[np.float32],
    baseline: NDArray[np.float32] | None,
) -> micro.MicroModel | None:
    """Return the model in int8 with its explanations, where it is for microcontrollers: what cannot be is refused."""
    if target is not targets.MICRO:
        return None
    return micro.admit(source, original, graph, head, layers, x, x.mean(0) if baseline is None else baseline)


def _firmware(
    integers: micro.MicroModel | None,
    selected: Selected,
    schedules: Sequence[Schedule],
    name: str,
    classes: Sequence[str],
    x: NDArray[np.float32],
    progress: Progress,
    before: Sequence[Check],
    *,
    allow: bool,
) -> micro.Firmware:
    """Return what microcontrollers are given, nothing for other targets; stops where it is not faithful."""
    if integers is None:
        return micro.Firmware()
    progress("compiling to C, checking with TensorFlow Lite Micro")
    firmware = micro.compiled(integers, selected, schedules, name, classes, x, before)
    _stop_if_unlike(firmware.checks, allow)
    return firmware


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


def _repeated(classes: Sequence[str]) -> list[str]:
    """Return what is to be said of names that several classes have, as "crane" in ImageNet's: bird and machine."""
    times = Counter(classes)
    names = [name for name, count in times.items() if count > 1]
    return [f"{times[name]} classes are called {name!r}: only their indices tell them apart" for name in names[:10]]


def _without(failed: Sequence[Check], checks: Sequence[Check]) -> str:
    """Return the advice to export only those methods that passed, by name."""
    out = list(dict.fromkeys(check.method for check in failed))
    held = [name for name in dict.fromkeys(check.method for check in checks if check.gating and check.band) if name]
    passed = [name for name in held if name not in out]
    if not passed:
        return "choose another --method"
    return f"leave --method {', '.join(out)} out ({', '.join(passed)} passed)"


def _stop_if_failed(checks: Sequence[Check], allow: bool) -> None:
    failed = [check for check in checks if check.gating and not check.passed]
    if not failed or allow:
        return
    lines = "; ".join(f"{check.name}: {check.value:.3g}, bound {check.bound:.3g} ({check.detail})" for check in failed)
    if all(check.band is not None for check in failed):
        raise CheckFailedError(
            f"maps do not depend on what they are said to explain: {lines}",
            f"{_without(failed, checks)}, or take another --layer, or calibration inputs like those of the device; "
            "--allow-unfaithful ships it marked all the same",
        )
    raise CheckFailedError(
        f"the compiled explanation does not hold: {lines}",
        "report the model; --allow-unfaithful ships it marked all the same",
    )


def _stop_if_unlike(checks: Sequence[Check], allow: bool) -> None:
    failed = [check for check in checks if not check.passed]
    if not failed or allow:
        return
    lines = "; ".join(f"{check.name}: {check.value:.3g}, bound {check.bound:.3g} ({check.detail})" for check in failed)
    raise CheckFailedError(
        f"what the microcontroller computes in int8 is not like exact arithmetic: {lines}",
        f"{_without(failed, checks)}, or take calibration inputs like those of the device; --allow-unfaithful ships it "
        "marked all the same",
    )


def _stop_if_incomplete(checks: Sequence[Check], lost: float | None, allow: bool) -> None:
    failed = [check for check in checks if not check.passed]
    if not failed or allow:
        return
    lines = "; ".join(f"{check.name}: {check.value:.3g}, bound {check.bound:.3g} ({check.detail})" for check in failed)
    blamed = "" if lost is None else f"; the numerics alone leave {lost:.1%}, which no schedule takes away"
    exact = "" if lost is None else "exact numerics (--numerics f32 or deq), "
    raise CheckFailedError(
        f"maps leave too much of the logit's change unexplained: {lines}{blamed}",
        f"try {exact}--baseline mean, or more calibration inputs; --allow-unfaithful ships it marked all the same",
    )
