"""What a bundle says of itself where it was exported for microcontrollers: the C in it, and what that takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MODEL = "micro.tflite"
"""Member of the bundle: the single-subgraph int8 model that the C was made of, for TensorFlow Lite Micro to check."""
SOURCES = "c/"
"""Where in the bundle the C sources lie, each a member of its own: the model's, and the kernels it needs."""
INTERFACE = 4
"""Of models in C that this WhyLite's firmware and manual are for; each bundle has its own in ``c/whylite.h``."""
GOLDEN = "micro.npz"
"""Member with golden vectors: ``x`` as the model stores inputs ``[N, ...]``, ``scores`` ``[N, classes]``, and under
each method's name the stored map that its ``run`` gives for the predicted class ``[N, ...]``. Of a method with steps
also, for the first inputs, what these sum to (see :func:`attribution_of`). All bytes are to be reproduced."""


@dataclass(frozen=True)
class Stored:
    """A tensor of the C program: its shape without the batch, and ``real = scale * (stored - zero_point)`` in int8."""

    shape: tuple[int, ...]
    scale: float
    zero_point: int


@dataclass(frozen=True)
class MicroExplanation:
    """One explanation of the C program, in the order of its table.

    ``steps`` is 0 where ``map`` is the explanation itself; else ``map`` is the gradient of a logit at the input, of
    which Integrated Gradients sums ``steps``, at ``nodes`` with ``weights``, both in 1/32768, from ``baseline`` as the
    input is stored (a member of the C), where the classes' logits are ``baseline_logits``. ``fidelity`` and
    ``fidelity_p05`` are the median and 5th percentile over ``samples`` calibration inputs of the rank correlation with
    the same map in exact arithmetic, None where maps of too few inputs had anything to rank. ``units`` are what the
    real values of ``map`` are multiplied by to be in the unit of the bundle's head of that method, for each class: the
    weights of one may be many times those of another, and one int8 grid holds the maps of all. ``residual_p50`` and
    ``residual_p90`` are what part of the logit's change ``steps`` in int8 leave unexplained, the median and in 9 of 10
    of those inputs whose logit is not at an end of its int8 range: the schedules' are a workstation's.
    """

    method: str
    layer: str
    map: Stored
    fidelity: float | None
    fidelity_p05: float | None
    samples: int
    steps: int = 0
    nodes: tuple[int, ...] = ()
    weights: tuple[int, ...] = ()
    units: tuple[float, ...] = ()
    baseline_logits: tuple[float, ...] = ()
    residual_p50: float | None = None
    residual_p90: float | None = None


@dataclass(frozen=True)
class Operation:
    """One call of a kernel in the C program.

    ``code`` is the op of the model it does, ``part`` "predict" or the method whose explanation it belongs to, ``macs``
    its multiply-accumulate operations.
    """

    code: str
    kernel: str
    part: str
    macs: int


def attribution_of(method: str) -> tuple[str, str]:
    """Return what :data:`GOLDEN` calls a device's attributions by a method with steps, of the predicted class.

    The first are int8 values ``[M, ...]`` with a zero point of 0, the second their scales ``[M]``, in float32.
    """
    return f"{method}_attribution", f"{method}_scale"


def macs_by_part(operations: Sequence[Operation]) -> dict[str, int]:
    """Return the multiply-accumulates of predicting, and of what each explanation (or a step of it) adds to it."""
    found = {"predict": 0}
    for operation in operations:
        found[operation.part] = found.get(operation.part, 0) + operation.macs
    return found


@dataclass(frozen=True)
class Micro:
    """The C program in a bundle.

    ``identifier`` names it in C: ``whylite_<identifier>.h`` declares ``whylite_<identifier>``. ``arena`` and
    ``constants`` are bytes of RAM and of flash it takes beside code, ``reference_arena`` what TensorFlow Lite Micro (of
    version ``reference``) takes for the original model, which only predicts. ``operations`` are in the order of their
    indices. ``explaining`` of the constants only explanations read: a gradient's weights lie there a second time.
    """

    identifier: str
    input: Stored
    scores: Stored
    arena: int
    constants: int
    reference_arena: int
    reference: str
    explanations: tuple[MicroExplanation, ...]
    operations: tuple[Operation, ...]
    explaining: int = 0
