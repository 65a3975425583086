"""A bundle's own maps, held against what is compiled again from the model in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.errors import BundleError
from edge.manifest import Check

from .clock import within
from .methods import WALKS, Role
from .shipped import Runtime, Shipped, is_recurrent
from .trust.attribution import attribution

Array = NDArray[np.float32]

_SECONDS, _SAMPLES = 4.0, 4
_EXACT, _ROUNDED = 1e-3, 0.5
"""Bounds of the relative error. Integer gradients are stored on grids that depend on the data: compiled for other data
they round elsewhere. A map of another method, or of another scale or sign, is off by about 1 or more."""


def of_bundle(made: Shipped, bundle: Bundle) -> Shipped:
    """Return what was compiled again with the file, signatures and units of the bundle in place of its own."""
    manifest = bundle.manifest
    compiled = {}
    for head in manifest.heads:
        method = made.compiled[head.method]
        entries = [
            replace(entry, key=head.chosen, unit=head.unit) if entry.role in (Role.CHOSEN, *WALKS) else entry
            for entry in method.entries
        ]
        compiled[head.method] = replace(method, entries=entries)
    fronts = (head.front for head in manifest.heads if head.front is not None)
    keys = {Role.FRONT: next(fronts, None), Role.SCORES: manifest.scores, Role.STATE: manifest.state}
    aids = {role: replace(entry, key=keys[role] or entry.key) for role, entry in made.aids.items()}
    runtime = Runtime(bundle.model, recurrent=is_recurrent(made.source.graph))
    return replace(made, file=bundle.model, compiled=compiled, aids=aids, runtime=runtime)


def against_compiled(
    shipped: Shipped, made: Shipped, samples: Sequence[Array] | Array, baseline: Array, name: str
) -> list[Check]:
    """Return how far each method's maps in bundle ``name`` are from compiled ones, of the same inputs and classes.

    Raises :class:`BundleError` where the bundle's are of another shape.
    """
    bound = _ROUNDED if made.source.integer_backward else _EXACT
    checks = []
    for method in made.compiled:
        own, again = attribution(shipped, method, baseline), attribution(made, method, baseline)
        errors = []
        for sample in within(_SECONDS, samples[:_SAMPLES], at_least=1):
            best = int(made.scores(made.stored(sample)).argmax())
            for index in {best, (best + 1) % made.source.head.classes}:
                expected = again(sample, index)
                try:
                    found = own(sample, index)
                except ValueError as error:
                    raise BundleError(
                        f"bundle {name!r}: maps of {method!r} are not of the shape {expected.shape}", "export it again"
                    ) from error
                errors.append(_relative_error(found, expected))
        worst = max(errors)
        detail = "largest relative error of the bundle's maps against those compiled again from its model"
        checks.append(Check(f"{method} as compiled", worst, bound, worst <= bound, len(errors), detail, method))
    return checks


def _relative_error(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    length = max(float(np.linalg.norm(expected)), 1e-12)
    return float(np.nan_to_num(np.linalg.norm(found - expected) / length, nan=np.inf, posinf=1e12))
