"""DeconvNet."""

from __future__ import annotations

from typing import ClassVar

from .guided_backprop import GuidedBackprop


class DeconvNet(GuidedBackprop):
    """Zeiler & Fergus 2013 (arXiv 1311.2901), sec. 2.1: R_l = [R_l+1 > 0] R_l+1 at each ReLU, wherever it was open.

    That is what Guided Backpropagation selects, without the rectifier's own derivative. All other ops, max poolings
    with their switches among them, hand back what they do for the gradient (Simonyan et al. 2013, arXiv 1312.6034,
    sec. 4). Where several values of a pooling's window are its maximum, as zeros behind a rectifier often are, each
    gets an equal share: the paper's switch is one place, and TensorFlow picks one.
    """

    name: ClassVar[str] = "deconvnet"
    sloped: ClassVar[bool] = False
