"""A bundle held against its promises once more, on any data: parity, completeness and the sanity checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.bundle import Bundle
from edge.explainer import Explainer
from edge.integrate import default_schedule
from edge.manifest import Check, Measure

from . import asked, micro, tflite, trust
from . import calibration as calibrations
from .clock import within
from .compiling import MARK, compile_methods
from .completeness import Left, held_back
from .errors import UNFORESEEN, UnsupportedModelError, unforeseen
from .methods import METHODS, LayerMap, Method
from .numerics import NUMERICS, Calibration
from .shipped import Shipped
from .trust import Findings
from .trust.sanity import SECONDS
from .verify_maps import against_compiled, of_bundle

Array = NDArray[np.float32]

_COMPLETENESS_SECONDS = 10.0
_CALIBRATION_SAMPLES = 16


@dataclass(frozen=True)
class Verification:
    """What was found of a bundle: checks, what is to be said of those that were not made, and what decides nothing."""

    name: str
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every check that decides anything passed."""
        return all(check.passed for check in self.checks if check.gating)


def verify(
    bundle: str | Path | Bundle,
    x: ArrayLike | None = None,
    *,
    seconds: float = SECONDS,
    progress: Callable[[str], None] = lambda stage: None,
) -> Verification:
    """Check a bundle in the interpreter that is installed, on inputs ``x`` ``[N, ...]`` (float).

    Golden vectors are compared bit for bit. Where there are inputs, what the usual schedule leaves unexplained is
    held to the bound of an export, the maps that the bundle gives are held against those compiled again from its model,
    what a microcontroller computes (where TensorFlow Lite Micro is installed) against its model and exact arithmetic,
    and the sanity checks (within ``seconds``) and measures are made of them.
    Raises :class:`BundleError` for a bundle that is not sound, :class:`CalibrationError` for inputs that do not fit it,
    and :class:`UnsupportedModelError` where this version cannot compile it again.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    progress("comparing golden vectors")
    explainer = Explainer(opened)
    different, golden = explainer.check_golden(), len(opened.arrays()["x"])
    detail = f"golden inputs whose scores differ in any bit from those in {opened.manifest.runtime}"
    checks = [Check("golden vectors", different, 0, different == 0, golden, detail)]
    device = micro.golden(opened)
    checks += device.checks
    if x is None:
        notes = (*device.notes, "sanity checks and measures were not made: no data was given")
        return Verification(opened.manifest.name, tuple(checks), notes)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        same, sanity, measured = _sanity(opened, x, seconds, progress)
        progress("measuring what schedules leave unexplained")
        adds_up = _completeness(explainer, np.asarray(x, np.float32))
    return Verification(
        opened.manifest.name,
        (*checks, *same.checks, *adds_up.checks, *sanity.checks),
        device.notes + same.notes + adds_up.notes + sanity.notes + measured.notes,
        measured.rows,
    )


def _completeness(explainer: Explainer, x: Array) -> Findings:
    """Return what the usual schedule leaves unexplained, on the inputs that an export would measure it on."""
    found = Findings()
    for head in explainer.manifest.heads:
        if not head.schedules:
            continue
        left = Left()
        for sample in within(_COMPLETENESS_SECONDS, held_back(x)):
            explained = explainer.explain(sample, head.method)
            assert explained.residual is not None
            left.add(explained.residual, float(explained.map.sum(dtype=np.float64)) + explained.residual)
        found += trust.completeness(head.method, default_schedule(head.schedules), left)
    return found


def _sanity(
    bundle: Bundle, x: ArrayLike, seconds: float, progress: Callable[[str], None]
) -> tuple[Findings, trust.Sanity, trust.Measures]:
    """Return the checks of the bundle's maps: against what is compiled again, and the sanity checks; and measures."""
    manifest = bundle.manifest
    try:
        original, methods, numerics = _original(bundle), _methods(bundle), NUMERICS[manifest.numerics]
        signature, output = manifest.predict, manifest.output.name
        exact = compile_methods(original, methods, NUMERICS["f32"], None, output, signature)
    except UNFORESEEN as error:
        raise unforeseen(f"bundle {manifest.name!r} cannot be compiled again", error) from error
    graph, head = exact.source.graph, exact.source.head
    samples = calibrations.check(x, head)
    calibrations.check_lookups(samples, graph, head)
    calibrations.check_scale(samples, graph, head)
    exact = exact.after(samples[:_CALIBRATION_SAMPLES])
    given = [exact.entered(sample) for sample in samples[:_CALIBRATION_SAMPLES]]
    seen = Calibration(given, bundle.baseline, head.classes)

    def again(file: bytes) -> Shipped:
        made = compile_methods(file, methods, numerics, seen, output, signature)
        return made.after(samples[:_CALIBRATION_SAMPLES])

    made = again(original)
    shipped = of_bundle(made, bundle).after(samples[:_CALIBRATION_SAMPLES])
    progress("comparing maps with what is compiled again")
    same = Findings(tuple(against_compiled(shipped, made, samples, bundle.baseline, bundle.manifest.name)))
    if manifest.micro is not None:
        progress("running the microcontroller's graph in TensorFlow Lite Micro")
        same += micro.on_data(bundle, made, exact, samples)
    sanity = trust.sanity_checks(
        shipped,
        again,
        samples,
        bundle.baseline,
        cascade=lambda: trust.Cascade(original, output, signature),
        noise=not calibrations.takes_ids(graph, head),
        seconds=seconds,
        progress=progress,
    )
    return same, sanity, trust.measures(shipped, sanity.maps, bundle.baseline, progress=progress)


def _methods(bundle: Bundle) -> list[Method]:
    """Return the bundle's methods as they were asked for."""
    found: list[Method] = []
    for head in bundle.manifest.heads:
        if head.method not in METHODS:
            raise UnsupportedModelError(f"this version has no method {head.method!r}", "update WhyLite")
        kind = METHODS[head.method]
        method = kind(head.layer) if issubclass(kind, LayerMap) else kind()
        found += asked.at([method], head.steps_per_call) if head.steps_per_call else [method]
    return found


def _original(bundle: Bundle) -> bytes:
    """Return the model without what explains it: the user's own subgraphs, as they were."""
    manifest = bundle.manifest
    model = tflite.read(bundle.model, manifest.name)
    keys = {key for head in manifest.heads for key in (head.chosen, head.predicted, head.front, head.each)}
    keys |= {manifest.logits, manifest.scores, manifest.state}
    added = {id(signature.graph) for signature in model.signatures if signature.key in keys}
    added.discard(id(model.graphs[0]))
    model.graphs = [graph for graph in model.graphs if id(graph) not in added]
    model.signatures = [signature for signature in model.signatures if id(signature.graph) not in added]
    model.metadata = [(key, data) for key, data in model.metadata if key != MARK]
    return tflite.write(model)
