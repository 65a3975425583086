"""The networks as torch modules, in float64; every activation, sum and pooling is a module that libraries can hook."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from zennit.layer import Sum

from .networks import Layer, Network


class Twin(nn.Module):
    """Returns logits ``[n, classes]`` of ``[n, channels, height, width]``; ``target`` is the layer of class maps."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.steps = nn.ModuleDict({layer.name: _step(network, layer) for layer in network.layers})
        self.double().eval()

    @property
    def target(self) -> nn.Module:
        """What gives the activations of the network's target layer."""
        step = self.steps[self.network.target]
        return step[-1] if isinstance(step, nn.Sequential) else step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        values = {"x": x}
        for layer in self.network.layers:
            operands = [values[name] for name in self.network.inputs_of(layer)]
            values[layer.name] = self.steps[layer.name](torch.stack(operands, -1) if layer.op == "add" else operands[0])
        return values[self.network.layers[-1].name]


def _step(network: Network, layer: Layer) -> nn.Module:
    inputs = network.shapes[network.inputs_of(layer)[0]]
    modules: list[nn.Module] = []
    if layer.op in {"conv", "depthwise"}:
        kernel, bias = network.weights[layer.name]
        taps = kernel.shape[1:3]
        pads = [
            max((-(-size // layer.stride) - 1) * layer.stride + extent - size, 0)
            for size, extent in zip(inputs[:2], taps, strict=True)
        ]
        (top, bottom), (left, right) = ((pad // 2, pad - pad // 2) for pad in pads)
        if any(pads):
            modules.append(nn.ZeroPad2d((left, right, top, bottom)))
        groups = inputs[2] if layer.op == "depthwise" else 1
        modules.append(nn.Conv2d(inputs[2], len(bias), taps, layer.stride, groups=groups))
        order = (3, 0, 1, 2) if layer.op == "depthwise" else (0, 3, 1, 2)
        _set(modules[-1], kernel.transpose(order), bias)
    elif layer.op == "dense":
        kernel, bias = network.weights[layer.name]
        modules.append(nn.Linear(kernel.shape[1], kernel.shape[0]))
        _set(modules[-1], kernel, bias)
    elif layer.op in {"max", "average"}:
        window = tuple(min(layer.taps, size) for size in inputs[:2])
        pool = MaxPool if layer.op == "max" else nn.AvgPool2d
        modules.append(pool(window, layer.stride))
    elif layer.op == "add":
        modules.append(Sum(dim=-1))
    elif layer.op == "mean":
        modules += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    else:
        modules += [ChannelsLast(), nn.Flatten()]
    modules += {"relu": [nn.ReLU()], "relu6": [nn.ReLU6()], "": []}[layer.activation]
    return nn.Sequential(*modules) if len(modules) > 1 else modules[0]


def _set(module: nn.Module, kernel: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    module.weight.data = torch.from_numpy(np.ascontiguousarray(kernel))
    module.bias.data = torch.from_numpy(bias)


class MaxPool(nn.MaxPool2d):
    """A max pooling of which values that tie share what comes back, where torch's own gives it to the first."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the largest value of each window."""
        height, width = self.kernel_size
        return x.unfold(2, height, self.stride).unfold(3, width, self.stride).amax((-2, -1))


class ChannelsLast(nn.Module):
    """Arranges a map as TFLite flattens it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[n, height, width, channels]``."""
        return x.permute(0, 2, 3, 1)


def to_torch(values: NDArray[np.floating]) -> torch.Tensor:
    """Return ``[n, height, width, channels]`` as float64 ``[n, channels, height, width]``."""
    return torch.from_numpy(np.asarray(values, np.float64).transpose(0, 3, 1, 2).copy())


def from_torch(values: torch.Tensor) -> NDArray[np.float64]:
    """Return ``[n, channels, height, width]`` as ``[n, height, width, channels]``."""
    return values.detach().numpy().transpose(0, 2, 3, 1)
