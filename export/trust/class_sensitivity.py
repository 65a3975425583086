"""Whether a map depends on the class it is said to be of: Khakzar et al. 2020 (arXiv 2012.00362)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .likeness import Verdict, band, is_dead, likeness, own_and_others, shifted, unrelated
from .maps import OfInputs, noise_likeness

_SHIFTS = 4


def class_sensitivity(maps: OfInputs) -> Verdict | None:
    """Return how alike the maps of the most and the least probable class of each input are, in the median.

    They share the input and not the class, so they must be less alike than noisy copies of one map are, and nearer to
    maps that have nothing to do with each other (those of different inputs, and maps moved to other places): inside
    their band, or at most half way from its middle to the noisy copies. A map that is zero for one of the classes
    differs from the other. None where too few inputs have a map at all.
    """
    told = [index for index, values in enumerate(maps.best) if not is_dead(values)]
    if len(told) < maps.fewest:
        return None
    best, least = ([maps.by_class[index][place] for index in told] for place in (0, 1))
    own, others = own_and_others(likeness(best, least))
    random = np.random.default_rng(0)
    moved = [own_and_others(likeness(best, shifted(least, random)))[0] for _ in range(_SHIFTS)]
    verdict = unrelated(own, others, np.concatenate(moved))
    dead = sum(is_dead(values) for values in least)
    detail = (
        "median rank correlation of the maps of the most and the least probable class; unrelated maps "
        "{:.2f} to {:.2f}".format(*verdict.band)
    )
    noise = noise_likeness(maps, told)
    if noise is not None:
        copies = band(noise)
        half_way = (sum(verdict.band) / 2 + float(np.median(noise))) / 2
        bound = min(max(verdict.bound, half_way), copies[0])
        verdict = replace(verdict, bound=bound, passed=verdict.value <= bound and verdict.value < copies[0])
        detail += ", noisy copies {:.2f} to {:.2f}".format(*copies)
    detail += f"; {dead} of {len(told)} maps of the least probable class are zero" if dead else ""
    return replace(verdict, detail=detail)
