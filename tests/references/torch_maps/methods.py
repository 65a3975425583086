"""What the libraries answer, one function per method: an entry in :data:`REFERENCES` is all that another one takes."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from captum import attr
from numpy.typing import NDArray

from . import libraries  # noqa: F401  (before what imports torchvision)

import pytorch_grad_cam as cams  # isort: skip
from pytorch_grad_cam.base_cam import BaseCAM  # isort: skip
from zennit import rules, types  # isort: skip
from zennit.attribution import Gradient  # isort: skip
from zennit.composites import LayerMapComposite  # isort: skip
from zennit.core import Hook, Stabilizer  # isort: skip
from zennit.layer import Sum  # isort: skip

from .networks import CLASSES, Network
from .twin import Twin, from_torch, to_torch

Array = NDArray[np.float64]
Reference = Callable[[Network, Array, int], Array]
"""The map of one class for one input ``[1, height, width, channels]``, of the input's shape or the target layer's."""

STEPS = 16
"""Of Integrated Gradients, by the midpoint rule."""
TINY = 1e-12
"""What zennit adds to what it divides by, where a rule's formula has no epsilon."""

warnings.filterwarnings("ignore", category=UserWarning, module="captum")


def logits(network: Network, x: Array, class_index: int) -> Array:
    """Return no map, but the logits, which say that both networks are the same."""
    del class_index
    return Twin(network)(to_torch(x)).detach().numpy()


def captum(method: type[attr.Attribution], /, **options: object) -> Reference:
    """Return one of Captum's methods at the input."""

    def explain(network: Network, x: Array, class_index: int) -> Array:
        given = to_torch(x).requires_grad_()
        return from_torch(method(Twin(network)).attribute(given, target=class_index, **options))

    return explain


def integrated_gradients(network: Network, x: Array, class_index: int) -> Array:
    """Return Captum's Integrated Gradients from the network's baseline."""
    options = {"n_steps": STEPS, "method": "riemann_middle", "baselines": to_torch(network.baseline[None])}
    return captum(attr.IntegratedGradients, **options)(network, x, class_index)


def smoothgrad(network: Network, x: Array, class_index: int) -> Array:
    """Return the mean of Captum's gradients at noisy copies, the noise being that of a device."""
    noise = np.random.default_rng(0).normal(size=(32, *x.shape)).astype(np.float32)
    deviation = 0.15 * (x.max() - x.min())
    saliency = captum(attr.Saliency, abs=False)
    return np.mean([saliency(network, x + deviation * one, class_index) for one in noise], axis=0)


def fullgrad(*, absolute: bool) -> Reference:
    """Return Srinivas & Fleuret 2019, with signs or as published, from gradients that torch's hooks see.

    pytorch-grad-cam has the latter, but scales channel by channel, and neither it nor the paper's program knows what a
    clipped rectifier adds.
    """

    def explain(network: Network, x: Array, class_index: int) -> Array:
        twin, seen = Twin(network), {}
        for layer in twin.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear | torch.nn.ReLU6):
                layer.register_forward_hook(lambda layer, given, result: seen.update({layer: (given[0], result)}))
        given = to_torch(x).requires_grad_()
        score = twin(given)[0, class_index]
        ends = [given, *(tensor for pair in seen.values() for tensor in pair)]
        slopes = dict(zip(map(id, ends), torch.autograd.grad(score, ends), strict=True))
        terms = [given * slopes[id(given)]]
        for layer, (before, after) in seen.items():
            if isinstance(layer, torch.nn.ReLU6) and absolute:
                continue  # rounding would be scaled to 1
            if isinstance(layer, torch.nn.ReLU6):
                terms.append(after * slopes[id(after)] - before * slopes[id(before)])
            else:
                terms.append(slopes[id(after)] * layer.bias.reshape((-1,) + (1,) * (after.ndim - 2)))
        heatmap = sum(_on_the_input(term, x.shape[1:3], absolute=absolute) for term in terms)
        return heatmap.detach().numpy()

    return explain


def _on_the_input(term: torch.Tensor, size: tuple[int, ...], *, absolute: bool) -> torch.Tensor:
    def resized(values: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(values, size, mode="bilinear", align_corners=False).sum(1)

    if term.ndim == 2:  # of no position
        return torch.zeros(1, *size) if absolute else (term.sum() / np.prod(size)).expand(1, *size)
    if absolute:
        term = term.abs()
        return resized((term - term.min()) / (term.max() - term.min()).clamp(min=1e-30))
    ones = torch.ones_like(term[:, :1], requires_grad=True)
    (weights,) = torch.autograd.grad(resized(ones).sum(), ones)  # how much of it each position is spread over
    return resized(term / weights)


def class_activation_map(method: type[BaseCAM], *, rectified: bool) -> Reference:
    """Return a map of pytorch-grad-cam before it is scaled to an image: rectified or of both signs."""

    def explain(network: Network, x: Array, class_index: int) -> Array:
        twin = Twin(network)
        with method(twin, [twin.target]) as cam:
            scores = cam.activations_and_grads(to_torch(x).requires_grad_())
            scores[0, class_index].backward()
            seen = [values[0].numpy() for values in (cam.activations_and_grads.activations, _gradients(cam))]
            found = cam.get_cam_image(to_torch(x), twin.target, None, *seen, False)
        return np.maximum(found, 0) if rectified else found

    return explain


def _gradients(cam: BaseCAM) -> list[torch.Tensor]:
    return list(cam.activations_and_grads.gradients)


def relevance(rule: Callable[[], Hook]) -> Reference:
    """Return zennit's LRP with a rule for layers with weights; the whole logit is shared out."""

    def explain(network: Network, x: Array, class_index: int) -> Array:
        layers = [(types.Activation, rules.Pass()), (types.AvgPool, rules.Norm(TINY)), (Sum, rules.Norm(TINY))]
        layers += [(types.Convolution, rule()), (torch.nn.Linear, rule())]
        wanted = torch.nn.functional.one_hot(torch.tensor([class_index]), CLASSES)
        with Gradient(Twin(network), LayerMapComposite(layers), lambda logits: logits * wanted) as attributor:
            _, found = attributor(to_torch(x).requires_grad_())
        return from_torch(found)

    return explain


def rectifiers(hook: Hook) -> Reference:
    """Return the gradient at the input where a hook of zennit's changes what every rectifier hands back."""

    def explain(network: Network, x: Array, class_index: int) -> Array:
        composite = LayerMapComposite([((torch.nn.ReLU, torch.nn.ReLU6), hook)])
        seed = torch.eye(CLASSES, dtype=torch.float64)[[class_index]]
        with Gradient(model=Twin(network), composite=composite) as attribute:
            _, found = attribute(to_torch(x).requires_grad_(), seed)
        return from_torch(found)

    return explain


def recipro_cam(network: Network, x: Array, class_index: int) -> Array:
    """Return what the network says of each position of its target layer alone, less what it says of none."""
    twin = Twin(network)

    def logit(place: tuple[int, ...] | None) -> float:
        def masked(module: torch.nn.Module, given: object, result: torch.Tensor) -> torch.Tensor:
            kept = torch.zeros_like(result)
            if place is not None:
                kept[(slice(None), slice(None), *place)] = result[(slice(None), slice(None), *place)]
            return kept

        with twin.target.register_forward_hook(masked):
            return twin(to_torch(x))[0, class_index].item()

    shape = network.shapes[network.target][:2]
    return np.asarray([logit(place) - logit(None) for place in np.ndindex(shape)]).reshape(1, *shape)


def epsilon() -> Hook:
    """Return the epsilon rule, epsilon in units of the root mean square of what the layer computes."""
    return rules.Epsilon(Stabilizer(epsilon=0.01, norm_scale=True))


class RectGrad(Hook):
    """Kim et al. 2019, which no library has: what a ReLU hands back where it contributes as much as 98 % do not."""

    def forward(self, module: torch.nn.Module, given: object, output: torch.Tensor) -> None:
        """Remember what the rectifier let pass."""
        del module, given
        self.stored_tensors["output"] = output

    def backward(self, module: torch.nn.Module, grad_input: object, grad_output: object) -> tuple[torch.Tensor]:
        """Return the gradient where output times gradient is among the largest 2 %, one at the least."""
        del module
        contribution = self.stored_tensors["output"] * grad_output[0]
        size = contribution.numel()
        lowest = contribution.flatten().sort().values[min(int(np.floor(0.98 * size)), size - 1)]
        return (grad_input[0] * (contribution >= lowest) * (contribution > 0),)

    def copy(self) -> RectGrad:
        """Return another, with nothing remembered."""
        return RectGrad()


REFERENCES: dict[str, Reference] = {
    "logits": logits,
    "saliency": captum(attr.Saliency, abs=False),
    "input_x_gradient": captum(attr.InputXGradient),
    "integrated_gradients": integrated_gradients,
    "smoothgrad": smoothgrad,
    "fullgrad": fullgrad(absolute=False),
    "fullgrad_abs": fullgrad(absolute=True),
    "recipro_cam": recipro_cam,  # its paper's, of no library
    "lrp_epsilon": relevance(epsilon),
    "lrp_alpha_beta": relevance(lambda: rules.AlphaBeta(2, 1, TINY)),
    "lrp_z_plus": relevance(lambda: rules.ZPlus(TINY)),
    "gradcam": class_activation_map(cams.GradCAM, rectified=True),
    "hirescam": class_activation_map(cams.HiResCAM, rectified=False),
    "xgradcam": class_activation_map(cams.XGradCAM, rectified=False),
    "layercam": class_activation_map(cams.LayerCAM, rectified=True),
    "gradcam_plus_plus": class_activation_map(cams.GradCAMPlusPlus, rectified=True),
    "guided_backprop": rectifiers(rules.ReLUGuidedBackprop()),
    "deconvnet": rectifiers(rules.ReLUDeconvNet()),
    "rectgrad": rectifiers(RectGrad()),
}
