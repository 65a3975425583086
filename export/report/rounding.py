"""What the numerics that ship did to the maps: the table they were chosen from, and maps beside exact ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge.manifest import Manifest

from ..choose import FIDELITY_BOUND, TAIL_BOUND, rank_correlation, step_inputs
from ..methods import WALKS, Role
from ..shipped import Shipped
from .markup import Markup, element, table
from .panels import Scales, panel, row_class
from .samples import Sample

Array = NDArray[np.float32]
Compare = Callable[[Array, int], Mapping[str, tuple[Array, Array]]]
"""Gives maps of an input and one of the model's outputs by method: in the numerics that ship, and in exact ones."""

_PAIRS = 2
_STEPS = 16  # of Integrated Gradients, and copies of SmoothGrad, at least


def comparison(shipped: Shipped, exact: Shipped, baseline: Array) -> Compare | None:
    """Return what compares the maps of gradients in two numerics; None where they are the same."""
    if shipped is exact:
        return None
    steps = max(method.steps_per_call for method in (*shipped.compiled.values(), *exact.compiled.values()))
    steps *= -(-_STEPS // max(steps, 1))

    def compare(sample: Array, class_index: int) -> dict[str, tuple[Array, Array]]:
        found = {}
        for name, method in exact.compiled.items():
            if method.entry(*WALKS) is not None:
                ours, theirs = (_map(one, name, baseline, sample, class_index, steps) for one in (shipped, exact))
                found[name] = (ours, theirs)
        return found

    return compare


def _map(shipped: Shipped, name: str, baseline: Array, sample: Array, class_index: int, steps: int) -> Array:
    entry = shipped.compiled[name].entry(*WALKS)
    assert entry is not None
    entered = shipped.entered(sample)
    chosen = np.asarray([class_index], np.int32)
    calls = step_inputs(entry, baseline, steps)
    total = sum(shipped.runtime.call(entry.key, **entered, class_index=chosen, **extra)["map"] for extra in calls)
    factor = (entered["x"] - baseline[None]) if entry.role is Role.STEPS else np.ones(1)
    return np.asarray(total * np.float32(entry.unit) * factor, np.float32)


def section_of(manifest: Manifest, shown: Sequence[Sample], scales: Scales, compare: Compare | None) -> list[Markup]:
    """Return the candidates' table and pairs of maps; nothing where only exact numerics were tried."""
    if not manifest.candidates:
        return []
    rows = [
        (
            row.numerics,
            row.method,
            f"{row.cost_ratio:.2f} ×",
            f"{row.fidelity:.3f}",
            f"{row.fidelity_p05:.3f}",
            "shipped" if row.numerics == manifest.numerics else "",
        )
        for row in manifest.candidates
    ]
    head = ("numerics tried", "method", "one gradient over a bare answer", "fidelity, median", "5th percentile", "")
    said = (
        f"Fidelity is the rank correlation of a map with that of exact arithmetic; {FIDELITY_BOUND} in the median and "
        f"{TAIL_BOUND} at the 5th percentile make numerics faithful. The cheapest that are ship, unless others were "
        "asked for."
    )
    return [element("p", said), table(head, rows, words=(1, 5)), *_pairs(manifest, shown, scales, compare)]


def _pairs(manifest: Manifest, shown: Sequence[Sample], scales: Scales, compare: Compare | None) -> list[Markup]:
    if compare is None:
        return []
    cards = []
    for sample in shown[:_PAIRS]:
        place = manifest.place(sample.prediction.class_index)
        shapes = {e.method: e.map.shape for e in sample.explanations}
        pairs: list[Markup] = []
        for method, (ours, exact) in compare(sample.x, place).items():
            rho = f"as shipped; rank correlation {rank_correlation(ours, exact):.3f}"
            pairs += [
                panel(sample, method, values.reshape(shapes[method]), scales, [element("small", said)])
                for values, said in ((ours, rho), (exact, "in exact arithmetic"))
            ]
        title = element("h3", f"Input {sample.index}, as shipped and in exact arithmetic")
        cards.append(element("article", title, element("div", *pairs, class_=row_class(scales))))
    return cards
