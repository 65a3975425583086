"""Whether a map depends on what the model has learned: Adebayo et al. 2018 (arXiv 1810.03292), sec. 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from .cascade import Draw
from .likeness import Array, Verdict, band, is_dead, likeness, own_and_others, shifted, unrelated
from .maps import SEEDS, Map, OfInputs, noise_likeness

DRAWS = tuple(Draw(seed, mirrored) for seed in SEEDS for mirrored in (False, True))


def depths(layers: int) -> list[int]:
    """Return how many of the last layers to randomise, in the order in which to do it: the last one, all, half."""
    return list(dict.fromkeys((1, layers, -(-layers // 2))))


def randomization(
    maps: OfInputs, randomized: Mapping[int, Sequence[Sequence[Map]]], layers: int
) -> tuple[Verdict | None, str]:
    """Return how alike maps are to those of the same inputs and classes in randomised models, at the worst depth.

    ``randomized[count]`` are the maps of each model whose last ``count`` layers were drawn anew, ``[model][input]``.
    At every depth the median likeness must lie in the band of unrelated maps or below: of a map of the trained model
    and one of a randomised model for *another* input, which share neither, and of one moved to other places, which
    tells maps that are always the same. Over mirrored draws that median is 0 for whatever takes the sign of the logit,
    so where all layers were drawn anew the size of the likeness is bounded as well (:func:`_either_sign`). A zero map
    is unlike any other; where most are zero, a depth decides nothing. None where none does, with what is to be said.
    """
    told = [index for index, values in enumerate(maps.best) if not is_dead(values)]
    if len(told) < maps.fewest:
        return None, f"only {len(told)} of {len(maps.best)} maps are not zero"
    random = np.random.default_rng(0)
    best = [maps.best[index] for index in told]
    verdicts: list[Verdict] = []
    said: list[str] = []
    for count, models in sorted(randomized.items()):
        parts: tuple[list[Array], ...] = ([], [], [])  # same input, other inputs, other places
        dead = 0
        for model in models:
            found = [model[index] for index in told]
            alive = np.asarray([not is_dead(values) for values in found])
            dead += int((~alive).sum())
            table = likeness(best, found) * alive
            elsewhere = likeness(best, shifted(found, random)) * alive
            for part, values in zip(parts, (*own_and_others(table), own_and_others(elsewhere)[0]), strict=True):
                part.append(values)
        own, others, moved = (np.concatenate(part) for part in parts)
        verdict = unrelated(own, others, moved)
        zero = f", {dead} of {len(models) * len(told)} maps zero" if dead else ""
        said.append(f"last {count} of {layers} layers {verdict.value:.2f} (unrelated up to {verdict.bound:.2f}{zero})")
        if 2 * dead <= len(models) * len(told):
            verdicts.append(verdict)
            if count == layers:
                verdicts.append(_either_sign(own, others, moved, noise_likeness(maps, told)))
                said.append(f"of either sign {verdicts[-1].value:.2f} (bound {verdicts[-1].bound:.2f})")
    if not verdicts:
        return None, f"randomised models give zero maps: {'; '.join(said)}"
    detail = f"median rank correlation with maps of randomised models: {'; '.join(said)}"
    return replace(min(verdicts, key=lambda verdict: verdict.margin), detail=detail), ""


def _either_sign(own: Array, others: Array, moved: Array, noise: Array | None) -> Verdict:
    """Return whether the size of a likeness is, in the median, nearer to that of unrelated maps than of the same map.

    The same map is that of a noisy copy, or the map itself where noise means nothing. Maps of one input are alike a
    little whatever the weights are, by the input and the architecture: the band of unrelated ones would be too narrow.
    """
    null = min(np.abs(others), np.abs(moved), key=lambda sizes: float(np.median(sizes)))
    same = 1.0 if noise is None else float(np.median(noise))
    bound = max(band(null)[1], (float(np.median(null)) + same) / 2)
    value = float(np.median(np.abs(own)))
    return Verdict(value, bound, band(null), value <= bound)
