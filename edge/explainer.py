"""Predicting and explaining one input at a time, from a bundle."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import asked
from . import interpreter as interpreters
from .bundle import GOLDEN, Bundle
from .errors import BundleError, InputError, InterpreterError
from .explanation import Explanation, Flag, Prediction
from .integrate import RESIDUAL_BOUND, Integral, Integrator, completed
from .manifest import ExplanationHead, Manifest
from .refine import Refiner
from .smooth import Smoother, check_samples

# The two best scores closer than this (in units of the scores' range, or of the sum of two): the answer could as well
# be the other one.
_SMALL_MARGIN = 0.1
_LARGEST = 1e30  # of an input's values, in units or in steps: what is above is no measurement, and float32 overflows


State = Mapping[str, NDArray[Any]]
Given = dict[str, NDArray[Any]]


class Explainer:
    """Runs the signatures of one bundle in one interpreter. Not for use from several threads at once."""

    def __init__(self, bundle: Bundle, *, threads: int = 1, interpreter: str = "auto") -> None:
        """Load ``bundle`` into an interpreter; raises ``InterpreterError`` where there is none that takes it."""
        self.bundle = bundle
        self.manifest: Manifest = bundle.manifest
        self._interpreter, self.runtime = interpreters.load(bundle.model, threads=threads, interpreter=interpreter)
        self._runners: dict[str, Callable[..., dict[str, NDArray[Any]]]] = {}
        self._integrators: dict[str, Integrator] = {}
        self._smoothers: dict[str, Smoother] = {}
        self._refiners: dict[str, Refiner] = {}
        self._reset: Callable[[], None] | None = None
        self._largest = _LARGEST * min(1.0, self.manifest.input.scale or 1.0)
        self._failed = {check.method for check in self.manifest.checks if check.gating and not check.passed}

    @classmethod
    def load(cls, path: str | Path, *, threads: int = 1, interpreter: str = "auto") -> Explainer:
        """Open and verify a bundle and load it; raises ``BundleError`` or ``InterpreterError``."""
        return cls(Bundle.open(path), threads=threads, interpreter=interpreter)

    @property
    def methods(self) -> tuple[str, ...]:
        """The explanation methods the bundle has."""
        return tuple(head.method for head in self.manifest.heads)

    def answers_too(self, method: str) -> bool:
        """Whether explaining the predicted class by ``method`` gives the scores as well, at no extra cost."""
        return self.manifest.head(method).predicted is not None

    def refines(self, method: str) -> bool:
        """Whether ``method`` can take steps until a tolerance is met."""
        return self.manifest.head(method).each is not None

    def fewest_steps(self, method: str) -> int:
        """Return how many steps, or noisy copies, one call of ``method`` takes: a deadline can leave no less to pay."""
        return max(1, self.manifest.head(method).steps_per_call)

    def check_golden(self) -> int:
        """Return how many of the bundle's golden inputs have other raw scores here, in any bit, than were recorded.

        That is no error: another runtime may differ by a few of the least significant bits. Raises
        :class:`BundleError` where the bundle holds no golden vectors or none of this model.
        """
        golden = self.bundle.arrays() if GOLDEN in self.bundle.members else {}
        nothing = np.zeros(())
        x, recorded = golden.get("x", nothing), golden.get("scores", nothing)
        fits = x.dtype == np.float32 and x.shape[1:] == self.manifest.input_shape and x.shape[:1] == recorded.shape[:1]
        fits &= all(golden.get(port.name, nothing).shape[:1] == x.shape[:1] for port in self.manifest.states)
        if not fits:
            raise BundleError(f"bundle {self.manifest.name!r} holds no {GOLDEN} of its model", "export it again")
        states = [{port.name: golden[port.name][k] for port in self.manifest.states} for k in range(len(x))]
        found = (self._answer(sample, state).ravel() for sample, state in zip(x, states, strict=True))
        return sum(here.tobytes() != there.tobytes() for here, there in zip(found, recorded, strict=True))

    def _answer(self, real: NDArray[np.float32], state: State) -> NDArray[Any]:
        """Return the raw scores of an input in a certain state, which stays what it is."""
        stored = self.manifest.input.quantize(real)
        if self.manifest.scores is None:
            return self._runner(self.manifest.predict)(**{self.manifest.input.name: stored})[self.manifest.output.name]
        given = self._with_state(self.manifest.scores, {"input": stored}, state)
        return self._runner(self.manifest.scores)(**given)["scores"]

    def predict(self, x: ArrayLike) -> Prediction:
        """Return the scores of ``x``, float of the model's input shape without the batch.

        A streaming model's state goes on to the next step; the prediction keeps what it was before this one.
        Raises :class:`InputError` for an input of another shape or with values that are not finite.
        """
        return self._predict(self._window(x))

    def _predict(self, window: _Window) -> Prediction:
        latency: dict[str, int] = {}
        stored = self._stored(window, latency)
        state = self._state(latency)
        reading = latency.get("predict", 0)
        outputs = self._timed(latency, "predict", self.manifest.predict, {self.manifest.input.name: stored})
        latency["predict"] += reading
        scores = self._scores(outputs)
        return Prediction(scores, int(scores.argmax()), latency, state=state)

    def _foreseen(self, window: _Window) -> Prediction:
        """Return what a prediction would be now; a streaming model's state stays what it is."""
        if self.manifest.scores is None:
            return self._predict(window)
        latency: dict[str, int] = {}
        given = {"input": self._stored(window, latency)}
        state = self._state(latency)
        given = self._with_state(self.manifest.scores, given, state)
        scores = self._scores(self._timed(latency, "predict", self.manifest.scores, given), "scores")
        return Prediction(scores, int(scores.argmax()), latency, state=state)

    def _state(self, latency: dict[str, int]) -> State:
        """Return what the variables of a streaming model hold."""
        return {} if self.manifest.state is None else self._timed(latency, "predict", self.manifest.state, {})

    def _with_state(self, signature: str, given: Given, state: State) -> Given:
        """Return inputs of a signature with those states that it takes."""
        taken = self._interpreter.get_signature_list().get(signature, {"inputs": ()})["inputs"] if state else ()
        return given | {name: values for name, values in state.items() if name in taken}

    def explain(
        self,
        x: ArrayLike,
        method: str | None = None,
        class_index: int | None = None,
        deadline_ms: float | None = None,
        steps: int | None = None,
        prediction: Prediction | None = None,
        *,
        tolerance: float | None = None,
        max_steps: int | None = None,
        complete: bool = False,
    ) -> Explanation:
        """Return the attribution of one class for ``x``, float of the model's input shape without the batch.

        ``method`` defaults to the bundle's first, ``class_index`` to the predicted class, or class 1 where the model
        says yes or no with one score; ``prediction`` is what :meth:`predict` said of this very input, to spare asking
        again. A streaming model is explained in the state in which that prediction was made, or in its present state
        where there is none; it stays in the state it is in.
        ``steps`` picks a schedule of Integrated Gradients (by default the one that left the least unexplained in
        calibration), or says how many noisy copies SmoothGrad takes. ``deadline_ms`` is the time the whole call may
        take: it picks the longest schedule, or as many copies, as fit by the times measured so far, and ends what takes
        longer all the same, with a map of the steps taken; ``Flag.DEADLINE`` marks what is less than was asked for. It
        does not say that a map came late: a method of one pass has nothing to leave out and is never marked.

        The rest is about Integrated Gradients. ``tolerance`` takes steps one by one, until that part of the logit's
        change at the most is left unexplained, twice in a row, or until there are ``max_steps`` of them (64 by default;
        each keeps a gradient of the map's size); the bundle must have been exported with ``refine``. ``complete``
        spreads what is left unexplained over the map, by magnitude, and marks it ``Flag.CORRECTED``: it makes maps sum
        up, not right, and the residual stays the raw one.

        Raises :class:`InputError` for a bad input or class, or for options that the method or bundle has no use for.
        """
        begin = time.monotonic_ns()
        asked.check_deadline(deadline_ms)
        head = self.manifest.head(method or self.manifest.heads[0].method)
        if class_index is not None:
            class_index = asked.explained_class(class_index, self.manifest)
        refining = asked.refinement(head, tolerance, max_steps, steps)
        if complete and not head.schedules:
            raise InputError(f"method {head.method!r} leaves no residual to spread", "leave complete away")
        if steps is not None and not head.schedules:
            if head.noise is None:
                raise InputError(f"method {head.method!r} takes no interpolation steps", "leave steps away")
            check_samples(steps)
        window = self._window(x)
        if class_index is None and prediction is None and head.predicted is not None:
            return self._explain_predicted(window, head)
        prediction = prediction or self._foreseen(window)
        chosen = self._explained(prediction) if class_index is None else class_index
        place = self.manifest.place(chosen)
        latency = dict(prediction.latency)
        flags, residual, count = Flag.NONE, None, 1
        start = time.monotonic_ns()
        given = self._entered(window, head, prediction.state, latency)
        left = None if deadline_ms is None else deadline_ms * 1e6 - (time.monotonic_ns() - begin)
        if head.schedules:
            entered = given.pop("x")[0]
            if refining is None:
                result = self._integrator(head).integrate(entered, place, steps=steps, time_left_ns=left, held=given)
            else:
                result = self._refiner(head).refine(entered, place, refining, time_left_ns=left, held=given)
            flags |= _flags_of(result, RESIDUAL_BOUND if refining is None else min(RESIDUAL_BOUND, refining.tolerance))
            if complete:
                result, before = completed(result), result
                flags |= Flag.CORRECTED if result is not before else Flag.NONE
            attribution, residual, count = result.attribution, result.residual, result.steps
        elif head.noise is not None:
            mean = self._smoother(head).smooth(given, place, samples=steps, time_left_ns=left)
            attribution, count = mean.attribution, mean.samples
            flags |= Flag.DEADLINE if mean.shortened else Flag.NONE
        else:
            classes = np.asarray([place], np.int32)
            outputs = self._runner(head.chosen)(**given, class_index=classes)
            attribution = outputs["map"] * np.float32(head.unit)
        latency["explain"] = time.monotonic_ns() - start
        flags |= self._flags(window, prediction.scores, attribution, head)
        shaped = self._shaped(attribution, head)
        scores, state = prediction.scores, prediction.state
        return Explanation(
            scores, chosen, latency, head.method, shaped, residual, count, flags, head.layer, state=state
        )

    def logit_along(self, x: ArrayLike, places: ArrayLike, method: str, prediction: Prediction) -> NDArray[np.float64]:
        """Return the predicted class's logit at ``places`` of the path that ``method`` integrates along.

        0 is the baseline, 1 the input; ``prediction`` is what :meth:`predict` said of ``x``. Raises
        :class:`InputError` for a bad input, or for a method that integrates nothing.
        """
        head = self.manifest.head(method)
        if not head.schedules:
            raise InputError(f"method {method!r} integrates nothing", "ask for one that has schedules")
        given = self._entered(self._window(x), head, prediction.state, {})
        place = self.manifest.place(prediction.class_index)
        return self._integrator(head).logit_along(given, np.asarray(places, np.float32), place)

    def _explained(self, prediction: Prediction) -> int:
        """Return the class that is explained unless another is asked for."""
        return 1 if self.manifest.yes_no else prediction.class_index

    def _entered(self, window: _Window, head: ExplanationHead, state: State, latency: dict[str, int]) -> Given:
        """Return what the signatures of a head are given for an input and a state."""
        if head.stored_input:
            return self._with_state(head.chosen, {"x": self.manifest.input.quantize(window.real)}, state)
        held = {port.name: port.real(state[port.name]) for port in self.manifest.states if port.name in state}
        if head.front is None:
            return self._with_state(head.chosen, {"x": window.real[None]}, held)
        stored = self.manifest.input.quantize(window.real)
        front = self._timed(latency, "explain", head.front, self._with_state(head.front, {"input": stored}, state))
        return self._with_state(head.chosen, dict(front), held)

    def _explain_predicted(self, window: _Window, head: ExplanationHead) -> Explanation:
        """One pass through the signature that picks the class in the graph; its whole time is phase "predict"."""
        assert head.predicted is not None
        latency: dict[str, int] = {}
        outputs = self._timed(latency, "predict", head.predicted, {"x": self._stored(window, latency)})
        scores = self._scores(outputs, "scores")
        attribution = outputs["map"] * np.float32(head.unit)
        flags = self._flags(window, scores, attribution, head)
        class_index = 1 if self.manifest.yes_no else int(outputs["class_index"].ravel()[0])
        shaped = self._shaped(attribution, head)
        return Explanation(scores, class_index, latency, head.method, shaped, None, 1, flags, head.layer)

    def _integrator(self, head: ExplanationHead) -> Integrator:
        if head.method not in self._integrators:
            assert self.manifest.logits is not None
            self._integrators[head.method] = Integrator(
                head, self.bundle.baseline, self._runner(head.chosen), self._runner(self.manifest.logits)
            )
        return self._integrators[head.method]

    def _refiner(self, head: ExplanationHead) -> Refiner:
        if head.method not in self._refiners:
            assert head.each is not None
            ends = self._integrator(head).ends
            self._refiners[head.method] = Refiner(head, self.bundle.baseline, self._runner(head.each), ends)
        return self._refiners[head.method]

    def _smoother(self, head: ExplanationHead) -> Smoother:
        if head.method not in self._smoothers:
            self._smoothers[head.method] = Smoother(head, self._runner(head.chosen))
        return self._smoothers[head.method]

    def _runner(self, signature: str) -> Callable[..., dict[str, NDArray[Any]]]:
        if signature not in self._runners:
            self._runners[signature] = self._guarded(signature)
        return self._runners[signature]

    def _window(self, x: ArrayLike) -> _Window:
        """Return an input as float32 with its range; raises :class:`InputError` where it cannot be one."""
        real = asked.numbers(x)
        if real.shape != self.manifest.input_shape:
            raise InputError(
                f"an input of shape {list(real.shape)} does not fit {self.manifest.name!r}",
                f"pass float values of shape {list(self.manifest.input_shape)}, without a batch dimension",
            )
        window = _Window(real, float(real.min()), float(real.max()))
        if not (math.isfinite(window.low) and math.isfinite(window.high)):
            raise InputError("the input holds values that are not finite", "look at the sensor or file it came from")
        if not -self._largest <= window.low <= window.high <= self._largest:
            raise InputError(
                f"an input from {window.low:g} to {window.high:g} is beyond what {self.manifest.name!r} can be given",
                "look at the sensor or file it came from",
            )
        self._check_integers(x, window)
        return window

    def _check_integers(self, x: ArrayLike, window: _Window) -> None:
        """Raise :class:`InputError` where an input of integers holds something else, or ids that no table has."""
        port = self.manifest.input
        kind = np.dtype(port.dtype)
        if port.scale is None and kind.kind in "iub":
            if (np.rint(window.real) != np.asarray(x)).any():
                raise InputError(f"{self.manifest.name!r} takes {kind} inputs, and these are not", "pass whole numbers")
            low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
            if window.low < low or window.high > high:
                raise InputError(
                    f"an input from {window.low:g} to {window.high:g} does not fit {kind}", "look at where it came from"
                )
        if port.limits is not None and (window.low < port.limits[0] or window.high > port.limits[1]):
            raise InputError(
                f"{self.manifest.name!r} looks up ids from {port.limits[0]} to {port.limits[1]}, "
                f"and the input holds ids from {window.low:g} to {window.high:g}",
                "make ids as for training, with the same vocabulary",
            )

    def _stored(self, window: _Window, latency: dict[str, int]) -> NDArray[Any]:
        """Return the input as the model stores it, and note the time that took."""
        start = time.monotonic_ns()
        stored = self.manifest.input.quantize(window.real)
        latency["quantize"] = time.monotonic_ns() - start
        return stored

    def _timed(
        self, latency: dict[str, int], phase: str, signature: str, inputs: dict[str, NDArray[Any]]
    ) -> dict[str, NDArray[Any]]:
        runner = self._runner(signature)
        start = time.monotonic_ns()
        outputs = runner(**inputs)
        latency[phase] = time.monotonic_ns() - start
        return outputs

    def _guarded(self, signature: str) -> Callable[..., dict[str, NDArray[Any]]]:
        """Return a signature as a function that fails with an error of ours."""
        try:
            run: Callable[..., dict[str, NDArray[Any]]] = self._interpreter.get_signature_runner(signature)
        except ValueError as error:
            raise BundleError(
                f"bundle {self.manifest.name!r} has no signature {signature!r} in its model", "export it again"
            ) from error

        def call(**inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
            try:
                self._forget()
                return _Outputs(self.manifest.name, run(**inputs))
            except (RuntimeError, ValueError) as error:
                raise InterpreterError(
                    f"{self.runtime.name} {self.runtime.version} failed in {signature!r}: {str(error).strip()}",
                    "export the model again with this runtime, or choose another with --interpreter",
                ) from error

        return call

    def _forget(self) -> None:
        """Let a recurrent model begin from zero state, so that no answer depends on the input before."""
        if self.manifest.recurrent:
            self._reset = self._reset or interpreters.resetter(self._interpreter)
            self._reset()

    def _scores(self, outputs: dict[str, NDArray[Any]], name: str | None = None) -> NDArray[np.float32]:
        scores = outputs[name or self.manifest.output.name].reshape(-1)
        if scores.size + self.manifest.yes_no != len(self.manifest.labels):
            raise BundleError(
                f"the model of bundle {self.manifest.name!r} gives {scores.size} scores, its manifest has "
                f"{len(self.manifest.labels)} labels",
                "export it again",
            )
        real = self.manifest.output.dequantize(scores)
        return np.concatenate([np.float32(1) - real, real]) if self.manifest.yes_no else real

    def _shaped(self, attribution: NDArray[np.float32], head: ExplanationHead) -> NDArray[np.float32]:
        if attribution.size != math.prod(head.map_shape):
            raise BundleError(
                f"the model of bundle {self.manifest.name!r} gives a map {list(attribution.shape)} for {head.method}, "
                f"its manifest says {list(head.map_shape)}",
                "export it again",
            )
        return attribution.reshape(head.map_shape)

    def _flags(
        self, window: _Window, scores: NDArray[np.float32], attribution: NDArray[np.float32], head: ExplanationHead
    ) -> Flag:
        """Return what can be said of any explanation: see :class:`Flag`."""
        flags = Flag.NONE if attribution.any() else Flag.ZERO_MAP
        flags |= Flag.NONE if np.isfinite(attribution).all() else Flag.NOT_FINITE
        flags |= Flag.SMALL_MARGIN if _nearly_equal(scores.tolist()) else Flag.NONE
        port = self.manifest.input
        if port.minimum is not None and port.maximum is not None:
            flags |= Flag.OUT_OF_RANGE if window.low < port.minimum or window.high > port.maximum else Flag.NONE
        flags |= Flag.NONE if head.front is None else Flag.NOT_AT_INPUT
        flags |= Flag.UNFAITHFUL if self._failed.intersection(("", head.method)) else Flag.NONE
        return flags if head.signed else flags | Flag.VISUAL_AID


def _nearly_equal(scores: Sequence[float]) -> bool:
    """Whether the two best scores are: in units of the range, which two alone do not have, or of the sum of two."""
    ordered = sorted(scores)
    if len(ordered) < 2:
        return False
    unit = ordered[-1] - ordered[0] if len(ordered) > 2 else abs(ordered[0]) + abs(ordered[1])
    return ordered[-1] - ordered[-2] < _SMALL_MARGIN * unit


def _flags_of(result: Integral, bound: float) -> Flag:
    """Return what is to be said of an integral; ``bound`` is the part of the change that may be left unexplained."""
    flags = Flag.DEADLINE if result.shortened else Flag.NONE
    kept = abs(result.residual) <= bound * abs(result.change) < math.inf  # nothing that is NaN is
    flags |= Flag.NONE if kept else Flag.RESIDUAL_OVER_BOUND
    return flags if math.isfinite(result.residual) else flags | Flag.NOT_FINITE


@dataclass(frozen=True)
class _Window:
    """One checked input: float32 values and their range."""

    real: NDArray[np.float32]
    low: float
    high: float


class _Outputs(dict[str, NDArray[Any]]):
    """What a signature returned, by name; :class:`BundleError` for a name that the manifest alone knows."""

    def __init__(self, bundle: str, outputs: dict[str, NDArray[Any]]) -> None:
        super().__init__(outputs)
        self._bundle = bundle

    def __missing__(self, name: str) -> NDArray[Any]:
        raise BundleError(
            f"the model of bundle {self._bundle!r} gives {', '.join(self)} where it should give {name!r}",
            "export it again",
        )
