"""Prediction parity, and gradients against central differences, measured in the runtime that will be used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge import interpreter
from edge.bundle import Check

from ..clock import within
from ..methods import METHODS, FullGrad, LayerwiseRelevance
from ..methods.base import Compiled, Entry, Formula, Role, Source, class_input, named
from ..methods.bias_gradients import terms
from ..methods.rectified import RectifiedBackward
from ..numerics.emitter import Emitter
from ..numerics.gradient import OneHot
from ..numerics.twin import float_twin
from ..shipped import Runtime, Shipped, is_recurrent, real, store_input
from ..tflite import Model, write
from ..tflite.graph import Graph, Signature, Tensor, between, reachable_from
from ..tflite.ops import Builder, fused_activation, prune
from ..vjp import backward
from ..vjp.backward import AFFINE
from . import original
from .differences import LINEAR_WIDTHS, error_along, errors_in_random_directions
from .frozen import Frozen
from .pieces import Pieces, Walk

Array = NDArray[np.float32]

GRADIENT_BOUND = 1e-3
RANDOM_BOUND = 0.05
SUM_BOUND = 0.05
_OF_ALL = 1e-2  # of the size of all terms: a logit that is next to nothing says little of what is missing
_ENOUGH = 0.25  # of a bound: time is better spent on another input than on a better figure
_WORST = 20.0  # how many bounds the worst input may take: a kink that a segment cannot avoid
# Where rounded activations decide the masks behind the layer, those that became 0 are masked unlike the float ones.
ROUNDED_MASK_BOUND = 0.3
STEP_BOUND = 1e-2  # the order of sums decides the masks of activations that are 0 but for rounding
_GRADIENT_SAMPLES = 8
_POSITIONS = 16  # of a layer, tried one by one
_SMALLEST_TOLD = 1e-4  # part of a logit that float32 tells differences of
_SECONDS = 6.0  # per check
_SEGMENT_POINTS = 32  # gradients whose mean is taken along a segment, or more where the batch of steps wants it


def run(shipped: Shipped, exact: Shipped, x: Array) -> list[Check]:
    """Return the checks of a compiled model on inputs ``x`` ``[N, ...]`` (float).

    ``exact`` is the same in exact numerics, in which input gradients can be held against differences: the same object,
    where exact numerics ship; where others do, their fidelity to these is a check of its own (``export.choose``).
    """
    checks = [original.unchanged(shipped.original, shipped.file), parity(shipped, x)]
    others = original.answers_of_others(shipped.original, shipped.file, shipped.predict.key)
    checks += [others] if others is not None else []
    samples = x[:_GRADIENT_SAMPLES]
    for name, method in shipped.compiled.items():
        own = exact.compiled[name]
        if (entry := method.entry(Role.PREDICTED, Role.CHOSEN)) is not None:
            known = method.formula is not None
            checks += (_layer_gradient if known else _layer_positions)(name, shipped, entry, method, samples)
        if (entry := own.entry(Role.GRADIENT)) is not None:
            checks += _input_gradient(name, partial(_mean_of_gradients, exact.runtime, entry), exact, samples)
            checks += [_input_formula(name, exact, entry, own.formula, samples)] if own.formula is not None else []
        kind = METHODS[name]
        if issubclass(kind, FullGrad):
            checks += _terms(name, exact, own, kind, samples)
        if issubclass(kind, LayerwiseRelevance):
            checks += _relevance(name, exact, own, samples, kind.parts)
        if issubclass(kind, RectifiedBackward):
            checks += _rectified(name, exact, own, samples, sloped=kind.sloped)
        if (entry := own.entry(Role.SAMPLES)) is not None and own.noise is not None:
            level = own.noise.level
            checks += _input_gradient(name, partial(_mean_of_samples, exact.runtime, entry, level), exact, samples)
            checks += [_smoothed(name, exact, entry, level, samples)]
        if (entry := own.entry(Role.STEPS)) is not None:
            checks += _input_gradient(name, partial(_mean_of_steps, exact.runtime, entry), exact, samples)
        if (entry := method.entry(Role.EACH)) is not None:
            checks.append(_step_by_step(name, shipped, entry, exact, samples))
    return checks


def parity(shipped: Shipped, x: Array) -> Check:
    """Scores of the shipped file, by every signature that returns them, against the original file's, bit for bit.

    A streaming model takes all inputs one after the other, as the original does, with explanations in between.
    """
    scores_of = _original_scores(shipped)
    entries = [*(e for method in shipped.compiled.values() for e in method.entries), *shipped.aids.values()]
    answering = [entry for entry in entries if "scores" in entry.outputs]
    reader = shipped.aids.get(Role.STATE)
    recurrent = is_recurrent(shipped.source.graph)
    runtime = shipped.runtime if reader is None else Runtime(shipped.file, recurrent=recurrent)
    different = compared = 0
    for sample in within(_SECONDS, x, at_least=16):
        compared += 1
        stored = shipped.stored(sample)
        state = {} if reader is None else runtime.call(reader.key)
        expected = scores_of(stored)
        answers = [runtime.call(shipped.predict.key, **{shipped.input_name: stored})[shipped.score_name]]
        for entry in answering:
            given = shipped.step(entry, stored, state)
            answers.append(runtime.call(entry.key, **given, **_class_argument(entry, 0))["scores"])
        different += any(answer.tobytes() != expected.tobytes() for answer in answers)
    detail = "inputs whose scores differ in any bit"
    return Check("prediction parity", different, 0, different == 0, compared, detail)


def _original_scores(shipped: Shipped) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return the original file as a function, entered by its signature where it has one."""
    plain, _ = interpreter.load(shipped.original)
    if shipped.predict.key in plain.get_signature_list():
        runner = plain.get_signature_runner(shipped.predict.key)
        reset = interpreter.resetter(plain) if is_recurrent(shipped.source.graph) else lambda: None

        def answer(stored: NDArray[Any]) -> NDArray[Any]:
            reset()
            return np.array(runner(**{shipped.input_name: stored})[shipped.score_name])

        return answer
    plain.allocate_tensors()
    port = plain.get_input_details()[0]
    output = next(d for d in plain.get_output_details() if d["name"] == shipped.source.head.scores.name)

    def scores(stored: NDArray[Any]) -> NDArray[Any]:
        plain.set_tensor(port["index"], stored)
        if is_recurrent(shipped.source.graph):
            plain.reset_all_variables()
        plain.invoke()
        return np.array(plain.get_tensor(output["index"]))

    return scores


def _class_argument(entry: Entry, class_index: int) -> dict[str, NDArray[np.int32]]:
    return {"class_index": np.asarray([class_index], np.int32)} if "class_index" in entry.inputs else {}


class MeanGradient(Protocol):
    """The mean of an entry's gradient between two inputs, for one class."""

    def __call__(self, low: Array, high: Array, class_index: int) -> Array:
        """Return it, in logits per input unit."""
        ...


def _points(low: Array, high: Array, at_once: int = 1) -> Array:
    """Return where on a segment to take gradients, as parts of its length: enough for ``at_once`` if it has none."""
    count = at_once if low is high else -(-_SEGMENT_POINTS // at_once) * at_once
    return ((np.arange(count) + 0.5) / count).astype(np.float32)


def _mean_of_gradients(runtime: Runtime, entry: Entry, held: Mapping[str, Array]) -> MeanGradient:
    output = "gradient" if "gradient" in entry.outputs else "map"

    def mean(low: Array, high: Array, class_index: int) -> Array:
        points = (low + fraction * (high - low) for fraction in _points(low, high))
        chosen = _class_argument(entry, class_index)
        gradients = [runtime.call(entry.key, x=x, **held, **chosen)[output] for x in points]
        return np.asarray(np.mean(gradients, 0) * entry.unit, np.float32)

    return mean


def _mean_of_steps(runtime: Runtime, entry: Entry, held: Mapping[str, Array]) -> MeanGradient:
    """Ask an entry that integrates for the integral over the segment itself."""
    size = entry.inputs["alphas"].shape[0]

    def mean(low: Array, high: Array, class_index: int) -> Array:
        fixed = {**held, **_class_argument(entry, class_index)}
        points = _points(low, high, size)
        weights = np.full(size, 1 / len(points), np.float32)
        maps = [
            runtime.call(entry.key, x=high, baseline=low, alphas=alphas, weights=weights, **fixed)["map"]
            for alphas in points.reshape(-1, size)
        ]
        return np.asarray(np.sum(maps, 0) * entry.unit, np.float32)

    return mean


def _mean_of_samples(runtime: Runtime, entry: Entry, level: float, held: Mapping[str, Array]) -> MeanGradient:
    """Ask for noisy copies that lie along the segment: of its middle, noise in units of its deviation there."""
    size = entry.inputs["weights"].shape[0]

    def mean(low: Array, high: Array, class_index: int) -> Array:
        fixed = {**held, **_class_argument(entry, class_index)}
        middle = (low + high) / 2
        deviation = level * (middle.max() - middle.min())
        places = _points(low, high, size)
        weights = np.full(size, 1 / len(places), np.float32)
        total = np.zeros(low.shape, np.float64)
        for fractions in places.reshape(-1, size):
            away = [low + fraction * (high - low) - middle for fraction in fractions]
            noise = np.concatenate(away) / (deviation or 1.0)
            total += runtime.call(entry.key, x=middle, noise=noise, weights=weights, **fixed)["map"]
        return np.asarray(total * entry.unit, np.float32)

    return mean


def _input_gradient(
    name: str, gradient_with: Callable[[Mapping[str, Array]], MeanGradient], exact: Shipped, samples: Array
) -> list[Check]:
    """Hold an entry (``gradient_with`` what stays fixed) against the float twin's logits, where gradients are taken."""
    forward = _logits(exact)

    def logits(x: Array, held: Mapping[str, Array]) -> Array:
        return forward(x=x, **held)

    errors = []
    points = [exact.entered(sample) for sample in samples]
    random, scale = np.random.default_rng(0), _scale(np.concatenate([point["x"] for point in points]))
    for point in within(_SECONDS, points, at_least=1):
        held = {key: value for key, value in point.items() if key != "x"}
        chosen = int(logits(point["x"], held).argmax())
        function, mean = _entry_of(partial(logits, held=held), chosen), gradient_with(held)
        errors.append(GradientErrors.of(function, partial(mean, class_index=chosen), point["x"], scale, random))
    return _gradient_checks(name, errors, name)


def _logits(exact: Shipped) -> Callable[..., Array]:
    """Return the float twin's logits as a function of what entries of gradients are given."""
    twin = exact.source.twin()
    graph, head = twin.graph, twin.head
    inputs = {"x": head.input} | named(head.states)
    forward = Runtime(write(Model([graph], [Signature("logits", graph, inputs, {"logits": head.logits})])))
    return lambda **given: forward.call("logits", **given)["logits"].reshape(-1)


@dataclass(frozen=True)
class GradientErrors:
    """What difference quotients say of a gradient at one point."""

    along: float
    random: list[float]

    @classmethod
    def of(
        cls, function: Callable[[Array], float], gradient: Any, x: Array, scale: float, random: np.random.Generator
    ) -> GradientErrors:
        """Measure at ``x``."""
        along = error_along(function, gradient, x, scale, GRADIENT_BOUND * _ENOUGH)
        return cls(along, errors_in_random_directions(function, gradient, x, scale, RANDOM_BOUND * _ENOUGH, random))


def _relevance(
    name: str, exact: Shipped, method: Compiled, samples: Array, parts: tuple[float, float] | None
) -> list[Check]:
    """Hold relevance against the network whose shares are held fixed, which it is input times gradient of."""
    entry = method.entry(Role.MODIFIED)
    assert entry is not None
    frozen = Frozen(exact.source, parts)
    points = [exact.entered(sample) for sample in samples]
    random, scale = np.random.default_rng(0), _scale(np.concatenate([point["x"] for point in points]))
    errors, gaps = [], []
    for sample, point in within(_SECONDS, list(zip(samples, points, strict=True)), at_least=1):
        x, chosen = np.asarray(point["x"], np.float32), int(exact.scores(exact.stored(sample)).argmax())
        outputs = exact.runtime.call(entry.key, **point, **_class_argument(entry, chosen))
        share = np.asarray(outputs["share"] * entry.unit, np.float32)

        def constantly(low: Array, high: Array, share: Array = share) -> Array:
            del low, high  # the network is linear
            return share

        function = _entry_of(frozen.at(point), chosen)
        errors.append(
            GradientErrors(
                error_along(function, constantly, x, scale, GRADIENT_BOUND * _ENOUGH, LINEAR_WIDTHS),
                errors_in_random_directions(
                    function, constantly, x, scale, RANDOM_BOUND * _ENOUGH, random, LINEAR_WIDTHS
                ),
            )
        )
        total = float((outputs["map"] * entry.unit).sum(dtype=np.float64))
        size = float(np.linalg.norm(share) * np.linalg.norm(x)) / np.sqrt(x.size)
        gaps.append(min(_gap(function, x, width, total, size) for width in LINEAR_WIDTHS))
    error = float(np.median(gaps))
    detail = (
        f"median of the map's sum less what neither biases nor epsilon absorb of the logit; largest {max(gaps):.1e}"
    )
    adds_up = Check(f"{name} adds up", error, SUM_BOUND, error <= SUM_BOUND, len(gaps), detail, name)
    return [*_gradient_checks(f"{name} with shares held fixed", errors, name), adds_up]


def _terms(name: str, exact: Shipped, method: Compiled, kind: type[FullGrad], samples: Array) -> list[Check]:
    """Hold the terms of a logit against it, which they must sum to, and the map against its formula of them."""
    entry = method.entry(Role.GRADIENT)
    assert entry is not None
    parts = terms(exact.source, "terms")
    graph = parts.emit.builder.graph
    every = [*parts.explicit, *parts.implicit]
    outputs = {f"term{number}": part.tensor for number, part in enumerate(every)}
    graph.inputs, graph.outputs = list(parts.inputs.values()), list(outputs.values())
    prune(graph)
    runtime, logits = Runtime(write(Model([graph], [Signature("terms", graph, parts.inputs, outputs)]))), _logits(exact)
    errors, gaps = [], []
    for sample in within(_SECONDS, samples, at_least=1):
        given = exact.entered(sample)
        chosen = int(exact.scores(exact.stored(sample)).argmax())
        found = runtime.call("terms", **given, **_class_argument(entry, chosen))
        values = [found[key].astype(np.float64) / part.factor for key, part in zip(outputs, every, strict=True)]
        owed = float(logits(**given)[chosen])
        size = max(abs(owed), _OF_ALL * sum(float(np.abs(value).sum()) for value in values), 1e-30)
        gaps.append(abs(sum(float(value.sum()) for value in values) - owed) / size)
        expected = kind.formula_of(values if kind.whole else values[: len(parts.explicit)], method.map_shape)
        measured = exact.runtime.call(entry.key, **given, **_class_argument(entry, chosen))["map"] * entry.unit
        difference = float(np.linalg.norm(measured.reshape(expected.shape) - expected))
        errors.append(difference / max(float(np.linalg.norm(expected)), 1e-12))
    gap = float(np.median(gaps))
    detail = f"median of what the terms' sum is off the logit; largest {max(gaps):.1e}"
    adds_up = Check(f"{name} adds up", gap, GRADIENT_BOUND, gap <= GRADIENT_BOUND, len(gaps), detail)
    return [adds_up, _formula_check(name, errors)]


def _smoothed(name: str, exact: Shipped, entry: Entry, level: float, samples: Array) -> Check:
    """Hold the mean over noisy copies against that of gradients at copies made in numpy, which get no more noise."""
    size, errors = entry.inputs["weights"].shape[0], []
    random = np.random.default_rng(0)
    for sample in within(_SECONDS, samples, at_least=1):
        given = exact.entered(sample) | _class_argument(entry, int(exact.scores(exact.stored(sample)).argmax()))
        x = given.pop("x")
        noise = random.normal(size=(size, *x.shape)).astype(np.float32)
        weights = np.full(size, 1 / size, np.float32)
        joined = noise.reshape(size * len(x), *x.shape[1:])
        measured = exact.runtime.call(entry.key, x=x, noise=joined, weights=weights, **given)["map"]
        none = {"noise": np.zeros_like(joined), "weights": weights}
        copies = [x + np.float32(level) * (x.max() - x.min()) * one for one in noise]
        expected = np.mean([exact.runtime.call(entry.key, x=copy, **none, **given)["map"] for copy in copies], 0)
        errors.append(float(np.linalg.norm(measured - expected)) / max(float(np.linalg.norm(expected)), 1e-12))
    return _formula_check(name, errors)


def _formula_check(name: str, errors: Sequence[float]) -> Check:
    error = float(np.median(errors))
    detail = f"median relative error of the maps; largest {max(errors):.1e}"
    passed = error <= GRADIENT_BOUND
    return Check(f"{name} against its formula", error, GRADIENT_BOUND, passed, len(errors), detail, name)


def _rectified(name: str, exact: Shipped, method: Compiled, samples: Array, *, sloped: bool) -> list[Check]:
    """Hold a map against its rule in numpy between pieces of the model, the pieces' gradients against differences."""
    entry = method.entry(Role.MODIFIED)
    assert entry is not None
    assert method.formula is not None
    pieces, random = Pieces(exact.source, sloped=sloped), np.random.default_rng(0)
    gradients, errors = [], []
    for sample in within(_SECONDS, samples, at_least=1):
        point, chosen = exact.entered(sample), int(exact.scores(exact.stored(sample)).argmax())
        walk = pieces.at(point, chosen, method.formula)
        measured = exact.runtime.call(entry.key, **point, **_class_argument(entry, chosen))["map"] * entry.unit
        errors.append(float(np.linalg.norm(measured - walk.map)) / max(float(np.linalg.norm(walk.map)), 1e-12))

        def mean(low: Array, high: Array, walk: Walk = walk) -> Array:
            places = (low + fraction * (high - low) for fraction in _points(low, high))
            return np.asarray(np.mean([walk.gradient(place) for place in places], 0), np.float32)

        at = walk.point
        gradients.append(GradientErrors.of(walk.value, mean, at, float(np.linalg.norm(at)) or 1.0, random))
    error = float(np.median(errors))
    detail = f"median relative error of the maps; largest {max(errors):.1e}"
    return [
        *_gradient_checks(f"{name} between rectifiers", gradients, name),
        Check(f"{name} against its rule", error, GRADIENT_BOUND, error <= GRADIENT_BOUND, len(errors), detail, name),
    ]


def _gap(function: Callable[[Array], float], x: Array, width: float, total: float, size: float) -> float:
    """Return how far a map's sum is from what all of the input adds, biases and what epsilon absorbs left alone."""
    owed = (function(x + np.float32(width) * x) - function(x - np.float32(width) * x)) / (2 * width)
    return abs(total - owed) / max(abs(owed), size, 1e-30)


def _scale(samples: Array) -> float:
    """Return the size of inputs as a norm; that of unit noise where all are zero."""
    norm = float(np.median(np.linalg.norm(samples.reshape(len(samples), -1), axis=1)))
    return norm or float(np.sqrt(samples[0].size))


def _entry_of(function: Callable[[Array], Array], index: int) -> Callable[[Array], float]:
    return lambda at: float(function(at)[index])


def _layer_gradient(name: str, shipped: Shipped, entry: Entry, method: Compiled, samples: Array) -> list[Check]:
    """Hold the gradient at a class activation map's layer against differences, shipped maps against its formula."""
    assert method.formula is not None
    runtime, layer = shipped.runtime, method.layer
    tail = _Tail(shipped.source, layer, entry)
    chosen_entry = method.entry(Role.CHOSEN)
    random = np.random.default_rng(0)
    gradients, map_errors = [], []
    for sample in within(_SECONDS, samples):
        stored = store_input(shipped.source.head.input, sample)
        given = shipped.step(entry, stored)
        chosen = np.asarray([shipped.scores(stored).argmax()], np.int32)
        outputs = runtime.call(entry.key, **given, **_class_argument(entry, int(chosen[0])))
        at = tail.enter(given, int(chosen[0]))
        scale = float(np.linalg.norm(at)) or 1.0  # a layer may be dead all over, and has a slope all the same
        gradients.append(GradientErrors.of(tail.logit, tail.mean_gradient, at, scale, random))
        rows = (-1, at.shape[-1])
        parts = method.formula(*(values.reshape(rows).astype(np.float64) for values in (at, tail.gradient(at))))
        expected = np.maximum(parts.sum(1), 0) if method.rectified else parts.sum(1)
        # Where the relu leaves nothing, what went into it says how large an error would be.
        size = max(float(np.linalg.norm(expected)), float(np.abs(parts).max()), 1e-12)
        maps = [outputs["map"] * entry.unit]
        if chosen_entry is not None:
            maps.append(runtime.call(chosen_entry.key, **given, class_index=chosen)["map"] * chosen_entry.unit)
        map_errors.append(max(float(np.linalg.norm(expected - measured.reshape(-1))) for measured in maps) / size)
    rounded = tail.rounds and tail.has_kinks
    bound = ROUNDED_MASK_BOUND if rounded else GRADIENT_BOUND
    error = float(np.median(map_errors))
    detail = f"median relative error of the maps; largest {max(map_errors):.1e}"
    return [
        *_gradient_checks(f"{name} at its layer", gradients, name),
        Check(f"{name} against its formula", error, bound, error <= bound, len(map_errors), detail, name),
    ]


def _input_formula(name: str, exact: Shipped, entry: Entry, formula: Formula, samples: Array) -> Check:
    """Hold a map at the input against its formula, from the input and the gradient that differences have checked."""
    errors = []
    for sample in within(_SECONDS, samples, at_least=1):
        given = exact.entered(sample)
        chosen = int(exact.scores(exact.stored(sample)).argmax())
        outputs = exact.runtime.call(entry.key, **given, **_class_argument(entry, chosen))
        expected = formula(given["x"], outputs["gradient"])
        errors.append(float(np.linalg.norm(outputs["map"] - expected) / max(float(np.linalg.norm(expected)), 1e-12)))
    return _formula_check(name, errors)


def _step_by_step(name: str, shipped: Shipped, entry: Entry, exact: Shipped, samples: Array) -> Check:
    """Hold steps one by one, which are exact in any numerics, against exact steps in a batch, checked already."""
    together = exact.compiled[name].entry(Role.STEPS)
    assert together is not None
    size = together.inputs["alphas"].shape[0]
    alphas = ((np.arange(size) + 0.5) / size).astype(np.float32)
    weights = np.full(size, 1 / size, np.float32)
    errors = []
    for sample in within(_SECONDS, samples, at_least=1):
        chosen = np.asarray([shipped.scores(shipped.stored(sample)).argmax()], np.int32)
        given = {**shipped.entered(sample), "class_index": chosen}
        given["baseline"] = np.zeros_like(given["x"])
        steps = [shipped.runtime.call(entry.key, **given, alphas=alphas[[place]])["map"] for place in range(size)]
        batch = exact.runtime.call(together.key, **given, alphas=alphas, weights=weights)["map"] * together.unit
        wrong = float(np.linalg.norm(np.mean(steps, 0) * entry.unit - batch))
        errors.append(wrong / max(float(np.linalg.norm(batch)), 1e-12))
    error = float(np.median(errors))
    detail = f"median relative error; largest {max(errors):.1e}"
    return Check(f"{name} step by step", error, STEP_BOUND, error <= STEP_BOUND, len(errors), detail, name)


def _layer_positions(name: str, shipped: Shipped, entry: Entry, method: Compiled, samples: Array) -> list[Check]:
    """Hold a map of what single positions of a layer give against the model behind it, one of them at a time."""
    tail, errors = _Tail(shipped.source, method.layer, entry), []
    entries = [known for role in (Role.PREDICTED, Role.CHOSEN) if (known := method.entry(role)) is not None]
    for sample in within(_SECONDS, samples):
        stored = store_input(shipped.source.head.input, sample)
        given, chosen = shipped.step(entry, stored), int(shipped.scores(stored).argmax())
        at = tail.enter(given, chosen)
        places = np.random.default_rng(0).permutation(at[0, ..., 0].size)[:_POSITIONS]
        nothing, expected = tail.logit(np.zeros_like(at)), []
        for place in places:
            alone = np.zeros_like(at)
            where = np.unravel_index(place, at.shape[1:-1])
            alone[0][where] = at[0][where]
            expected.append(tail.logit(alone) - nothing)
        for one in entries:
            found = shipped.runtime.call(one.key, **given, **_class_argument(one, chosen))["map"].reshape(-1) * one.unit
            size = max(float(np.abs(found).max()), float(np.abs(expected).max()), _SMALLEST_TOLD * abs(nothing), 1e-12)
            errors.append(float(np.abs(found[places] - expected).max()) / size)
    return [_formula_check(name, errors)]


class _Tail:
    """The float function from a layer's activations to the logits, everything that by-passes the layer held fixed."""

    def __init__(self, source: Source, layer: Tensor, entry: Entry) -> None:
        graph, head = source.graph, source.head
        path = between(graph, {layer}, head.logits)
        on_path = {tensor for op in path for tensor in op.outputs}
        given = [head.input, *head.states]
        dependent = reachable_from(graph, set(given))
        crossing = {t: None for op in path for t in op.inputs if t in dependent and t not in on_path}
        # Quantised activations, or float ones that an op with quantised weights rounds by itself.
        self.rounds = any(tensor.is_quantized for op in path for tensor in op.inputs if tensor is not None)
        self.has_kinks = any(fused_activation(op) or not AFFINE.get(op.code) for op in path)
        self._layer = layer
        self._names = {tensor: f"t{index}" for index, tensor in enumerate(crossing)}
        self._before = _runtime_for(source, entry.graph, given, [head.scores, *crossing], "before")
        ops = [op for op in graph.ops if op in set(path) or not dependent & set(op.outputs)]
        part = Graph("tail", list(graph.tensors), list(crossing), [head.logits], ops)
        self._after = self._compile(*float_twin(part, head.logits, source.store), source, crossing)
        self._fixed: dict[str, Array] = {}
        self._class = np.zeros(1, np.int32)

    def _compile(self, twin: Graph, twins: dict[Tensor, Tensor], source: Source, crossing: Iterable[Tensor]) -> Runtime:
        inputs = {self._names[tensor]: twins[tensor] for tensor in crossing}
        (logits,) = twin.outputs
        slopes = twin.copy("gradient")
        builder = Builder(slopes)
        index = class_input(builder)
        emit = Emitter(builder, source.store)
        (value,) = backward(slopes, {logits: OneHot(index, logits.shape)}, [twins[self._layer]], emit)
        gradient = emit.expand(emit.rescale(emit.dense(value), 1.0), twins[self._layer].shape).tensor
        slopes.inputs, slopes.outputs = [*twin.inputs, index], [gradient]
        signatures = [
            Signature("tail", twin, inputs, {"logits": logits}),
            Signature("gradient", slopes, {**inputs, "class_index": index}, {"gradient": gradient}),
        ]
        return Runtime(write(Model([twin, slopes], signatures)))

    def enter(self, given: Mapping[str, NDArray[Any]], class_index: int) -> Array:
        """Run the model up to the layer, hold what by-passes it, and return the layer's activations."""
        outputs = self._before.call("before", **given)
        self._fixed = {name: real(t, outputs[f"output{k}"]) for k, (t, name) in enumerate(self._names.items(), 1)}
        self._class = np.asarray([class_index], np.int32)
        return self._fixed[self._names[self._layer]]

    def _inputs(self, at: Array) -> dict[str, Array]:
        return {**self._fixed, self._names[self._layer]: at}

    def logit(self, at: Array) -> float:
        """Return the logit of the class for these activations of the layer."""
        return float(self._after.call("tail", **self._inputs(at))["logits"].reshape(-1)[self._class[0]])

    def gradient(self, at: Array) -> Array:
        """Return its gradient."""
        outputs = self._after.call("gradient", **self._inputs(at), class_index=self._class)
        return np.asarray(outputs["gradient"], np.float32)

    def mean_gradient(self, low: Array, high: Array) -> Array:
        """Return the mean of its gradient between two activations."""
        return np.asarray(np.mean([self.gradient(low + f * (high - low)) for f in _points(low, high)], 0), np.float32)


def _runtime_for(source: Source, shipped: Graph, inputs: list[Tensor], outputs: list[Tensor], key: str) -> Runtime:
    """Return the forward pass of a graph that ships, with more outputs.

    On the same ops, for other kernels round otherwise; the scores stay an output, so that nothing is fused differently.
    Where one of the outputs was left out as needless (a RESHAPE), on those of ``source``.
    """
    there = {tensor.name for tensor in shipped.tensors}.issuperset(tensor.name for tensor in outputs)
    part = (shipped if there else source.graph).copy(key)
    inputs, outputs = ([_in_graph(part, tensor) for tensor in side] for side in (inputs, outputs))
    part.inputs, part.outputs = inputs, outputs
    prune(part)
    found = {f"output{index}": tensor for index, tensor in enumerate(outputs)}
    file = write(Model([part, *source.called], [Signature(key, part, {"x": inputs[0], **named(inputs[1:])}, found)]))
    return Runtime(file, recurrent=is_recurrent(part))


def _in_graph(graph: Graph, tensor: Tensor) -> Tensor:
    """Return what ``graph`` has of a tensor: itself, or the one of which it is the twin of a known shape."""
    return tensor if tensor in set(graph.tensors) else graph.tensor(tensor.name)


def _gradient_checks(what: str, gradients: Sequence[GradientErrors], method: str) -> list[Check]:
    """Return how a gradient did along itself, and in random directions."""
    rows = []
    for title, errors, bound in (
        (f"{what} against central differences", [g.along for g in gradients], GRADIENT_BOUND),
        (f"{what} in random directions", [error for g in gradients for error in g.random], RANDOM_BOUND),
    ):
        median, worst = float(np.median(errors)), max(errors)
        detail = f"median relative error; largest {worst:.1e} of {_WORST:g} bounds"
        passed = median <= bound and worst <= _WORST * bound
        rows.append(Check(title, median, bound, passed, len(gradients), detail, method))
    return rows
