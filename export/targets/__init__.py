"""Where a bundle will run: which numerics it can run there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import micro
from ..errors import UnsupportedModelError
from ..methods import METHODS
from ..numerics import NUMERICS, Numerics


@dataclass(frozen=True)
class Target:
    """A class of devices, and the numerics it can run for a quantised and for a float model.

    The first is exact; the others are tried against it. ``defaults`` are the methods where nobody names any,
    ``without_positions`` those in their place where none of them finds a layer to look at; ``only`` are all that the
    devices can be given, where that is not every method.
    """

    name: str
    quantized: tuple[str, ...]
    float: tuple[str, ...]
    defaults: tuple[str, ...] = ("gradcam", "integrated_gradients")
    without_positions: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None

    def methods(self, asked: Sequence[str] | None) -> Sequence[str]:
        """Return the names of the methods asked for, or the target's own; refuses one that its devices cannot have."""
        names = self.defaults if asked is None else (asked,) if isinstance(asked, str) else asked
        for name in names:
            if self.only is not None and name in METHODS and name not in self.only:
                raise UnsupportedModelError(
                    f"target {self.name!r} cannot explain by {name}: it has no int8 form",
                    f"choose from: {', '.join(self.only)}; or export it for --target pi",
                )
        return names

    def candidates(self, wanted: str, *, quantized: bool) -> list[Numerics]:
        """Return the numerics to consider: all legal ones for "auto", else the one asked for and what to judge it by.

        Raises :class:`UnsupportedModelError` where ``wanted`` is not legal here.
        """
        legal = self.quantized if quantized else self.float
        if wanted != "auto" and wanted not in legal:
            raise UnsupportedModelError(
                f"numerics {wanted!r} are not available for a {'quantised' if quantized else 'float'} model "
                f"on target {self.name!r}",
                f"choose auto or one of: {', '.join(legal)}",
            )
        if wanted == "auto":
            names = legal
        elif NUMERICS[wanted].exact:
            names = (wanted,)
        else:
            # Beside integer gradients also float ones along the same pass, to tell what loses the map.
            beside = ("mixed",) if NUMERICS[wanted].integer_backward else ()
            names = (legal[0], *beside, wanted)
        chosen = [NUMERICS[name] for name in names]
        # Several exact candidates differ in size only; "auto" keeps the first.
        return [numerics for index, numerics in enumerate(chosen) if index == 0 or not numerics.exact]


PI = Target("pi", quantized=("deq", "f32", "hybrid", "mixed", "int8"), float=("f32",))
"""Linux on Cortex-A with LiteRT or tflite-runtime and XNNPACK: float arithmetic is fast, so faithful numerics win."""

MICRO = Target(
    "micro",
    PI.quantized,
    PI.float,
    defaults=("gradcam",),
    without_positions=("integrated_gradients",),
    only=tuple(micro.METHODS),
)
"""Cortex-M and its kin: one int8 graph and C made of it, beside all that PI has, for the workstation to be asked."""

TARGETS = {target.name: target for target in (PI, MICRO)}
