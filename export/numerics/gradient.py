"""What flows backwards: a gradient as a stored tensor, and the one-hot seed it starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..tflite.graph import Tensor


@dataclass(frozen=True)
class Gradient:
    """The gradient of the explained logit with respect to some tensor; its true value is ``tensor / factor``.

    The factor absorbs scalings on the way (a mask stored as {0, 1e-12}, the 1/n of a mean) and is folded into the
    constants of the next kernel, so that it costs nothing at run time. A dimension of size 1 where the forward tensor
    has more means that the gradient is the same along it.
    """

    tensor: Tensor
    factor: float = 1.0


@dataclass(frozen=True)
class OneHot:
    """The seed: 1 at class ``index`` (int32 ``[1]``) along the last dimension of ``shape``, 0 elsewhere.

    Kept symbolic because the next op is almost always a matrix product, of which a one-hot vector selects one row.
    ``weights`` (``[steps]``), where given, makes one seed per batch entry: 1 becomes that entry's weight.
    """

    index: Tensor
    shape: tuple[int, ...]
    weights: Tensor | None = None


@dataclass(frozen=True)
class Deferred:
    """A gradient whose kernel is yet to be emitted, with whatever factor the other contributions to a sum have."""

    settle: Callable[[float], Gradient]


Value = Gradient | OneHot
Contribution = Gradient | OneHot | Deferred
