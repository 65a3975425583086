"""Imports what wants torchvision on builds of torch that torchvision's own operators do not load on."""

from __future__ import annotations

import torch

try:
    import torchvision
except RuntimeError:
    # The index's torchvision is built for CUDA, and torch here for the CPU. Its Python part wants two operators to be
    # declared; nothing here calls them.
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for _name in ("nms", "qnms"):
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision  # noqa: F401
