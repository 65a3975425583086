"""The checks of arithmetic, in the runtime that will be used: what is asked of the file, and of which method."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..methods import METHODS, FullGrad, LayerwiseRelevance, Role
from ..methods.rectified import RectifiedBackward
from ..shipped import Shipped
from . import original
from .batched import noisy_copies, steps_one_by_one, steps_together
from .findings import Findings
from .input_gradients import input_gradient
from .layer_maps import layer_map
from .modified_walks import rectified, relevance
from .parity import parity
from .subject import Subject
from .terms import sum_of_terms

Array = NDArray[np.float32]
Checker = Callable[[Subject], Findings]

BY_ROLE: dict[Role, Checker] = {
    Role.CHOSEN: layer_map,
    Role.GRADIENT: input_gradient,
    Role.SAMPLES: noisy_copies,
    Role.STEPS: steps_together,
    Role.EACH: steps_one_by_one,
}
"""What is asked of a method that has an entry with this role."""
BY_KIND: dict[type, Checker] = {
    FullGrad: sum_of_terms,
    LayerwiseRelevance: relevance,
    RectifiedBackward: rectified,
}
"""What is asked of a method of this kind beside that."""
_SAMPLES = 8


def run(shipped: Shipped, exact: Shipped, x: Array) -> Findings:
    """Return the checks of a compiled model on inputs ``x`` ``[N, ...]`` (float).

    ``exact`` is the same in exact numerics, in which input gradients can be held against differences: the same object,
    where exact numerics ship; where others do, their fidelity to these is a check of its own (``export.choose``).
    """
    others = original.answers_of_others(shipped.original, shipped.file, shipped.predict.key)
    whole = (original.unchanged(shipped.original, shipped.file), parity(shipped, x), others)
    found = Findings(tuple(check for check in whole if check is not None))
    for name, method in shipped.compiled.items():
        subject = Subject(name, shipped, exact, x[:_SAMPLES])
        for role, check in BY_ROLE.items():
            found += check(subject) if method.entry(role) is not None else Findings()
        for kind, check in BY_KIND.items():
            found += check(subject) if issubclass(METHODS[name], kind) else Findings()
    return found
