"""Integrated Gradients by Captum on a torch model with the same weights: ``... peer_torch FOLDER``.

Runs in an environment that has torch, Captum and numpy and none of WhyLite; the model comes as a list of ops
(``benchmarks.program``). Tensors are [n, h, w, c], which torch's convolutions take as channels-last without a copy.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import captum
import numpy as np
import torch
from captum.attr import IntegratedGradients
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .worker import Explain, Job, best_batch, serve

Step = Mapping[str, Any]


class Twin(torch.nn.Module):
    """The float twin of a TFLite model, op by op."""

    def __init__(self, program: Mapping[str, Any], constants: Mapping[str, NDArray[Any]]) -> None:
        super().__init__()
        self.program = program
        self.constants = {name: torch.from_numpy(np.array(value)) for name, value in constants.items()}
        for step in program["ops"]:  # kernels in the layout that torch computes with
            if step["code"] in ("CONV_2D", "DEPTHWISE_CONV_2D"):
                order = (0, 3, 1, 2) if step["code"] == "CONV_2D" else (3, 0, 1, 2)
                kernel = self.constants[step["inputs"][1]].permute(order)
                self.constants[step["inputs"][1]] = kernel.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of a batch."""
        values = {self.program["input"]: x}
        for step in self.program["ops"]:
            operands = [values[n] if n in values else self.constants[n] for n in step["inputs"]]
            values[step["output"]] = _ACTIVATIONS[step["activation"]](_OPS[step["code"]](step, *operands))
        return values[self.program["logits"]].reshape(len(x), -1)


def main(folder: str) -> None:
    """Explain on request, with the batch of steps that suits Captum best."""
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    job = Job.read(folder)
    program = json.loads((job.folder / "program.json").read_text())
    method = IntegratedGradients(Twin(program, np.load(job.folder / "constants.npz")))
    x = torch.from_numpy(job.x)

    def explain_at(batch: int) -> Explain:
        def explain() -> NDArray[Any]:
            attribution = method.attribute(
                x,
                target=job.class_index,
                n_steps=job.steps,
                method=job.rule,
                internal_batch_size=batch,
            )
            return attribution.detach().numpy()

        return explain

    batch, explain = best_batch(explain_at, job.steps)
    serve(explain, {"batch": batch, "name": f"Captum {captum.__version__}, torch {torch.__version__}"})


def _padded(step: Step, x: Tensor, value: float = 0.0) -> Tensor:
    """Return [n, c, h, w] with the padding of TFLite, which may be one more behind than before."""
    top, bottom, left, right = step["padding"]
    x = x.permute(0, 3, 1, 2)
    return functional.pad(x, (left, right, top, bottom), value=value) if any(step["padding"]) else x


def _conv(step: Step, x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    padded = _padded(step, x)
    groups = padded.shape[1] // kernel.shape[1]
    y = functional.conv2d(padded, kernel, bias, step["strides"], 0, step["dilations"], groups)
    return y.permute(0, 2, 3, 1)


def _average_pool(step: Step, x: Tensor) -> Tensor:
    if any(step["padding"]):
        raise NotImplementedError("average pooling that counts padding")
    return functional.avg_pool2d(_padded(step, x), step["window"], step["strides"]).permute(0, 2, 3, 1)


def _max_pool(step: Step, x: Tensor) -> Tensor:
    padded = _padded(step, x, -torch.inf)
    return functional.max_pool2d(padded, step["window"], step["strides"]).permute(0, 2, 3, 1)


def _dense(step: Step, x: Tensor, weights: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.linear(x.reshape(-1, weights.shape[1]), weights, bias)


_OPS: dict[str, Callable[..., Tensor]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _conv,
    "AVERAGE_POOL_2D": _average_pool,
    "MAX_POOL_2D": _max_pool,
    "FULLY_CONNECTED": _dense,
    "ADD": lambda step, a, b: a + b,
    "MEAN": lambda step, x, axes: x.mean([int(axis) for axis in axes.reshape(-1)], keepdim=step["keep_dims"]),
    "RESHAPE": lambda step, x, *_: x.reshape(len(x), *step["shape"]),
    "PAD": lambda step, x, amounts: functional.pad(x, [int(v) for row in amounts.flip(0) for v in row]),
    "RELU": lambda step, x: x.relu(),
    "RELU6": lambda step, x: x.clamp(0, 6),
    "QUANTIZE": lambda step, x: x,
    "DEQUANTIZE": lambda step, x: x,
}
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "NONE": lambda x: x,
    "RELU": lambda x: x.relu(),
    "RELU6": lambda x: x.clamp(0, 6),
}


if __name__ == "__main__":
    main(*sys.argv[1:])
