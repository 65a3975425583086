"""Explanation methods: one file each, registered by being imported here."""

from .base import WALKS, Compiled, Entry, Method, Role, Source
from .cam import ClassActivationMap
from .gradcam import GradCAM
from .gradcam_plus_plus import GradCAMPlusPlus
from .hirescam import HiResCAM
from .input_x_gradient import InputXGradient
from .integrated_gradients import IntegratedGradients
from .layercam import LayerCAM
from .layercam_signed import SignedLayerCAM
from .lrp_epsilon import LRPEpsilon
from .relevance import LayerwiseRelevance
from .saliency import Saliency
from .xgradcam import XGradCAM

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        GradCAM,
        HiResCAM,
        XGradCAM,
        SignedLayerCAM,
        Saliency,
        InputXGradient,
        IntegratedGradients,
        LRPEpsilon,
        LayerCAM,
        GradCAMPlusPlus,
    )
}

__all__ = [
    "METHODS",
    "WALKS",
    "ClassActivationMap",
    "Compiled",
    "Entry",
    "GradCAM",
    "GradCAMPlusPlus",
    "HiResCAM",
    "InputXGradient",
    "IntegratedGradients",
    "LRPEpsilon",
    "LayerCAM",
    "LayerwiseRelevance",
    "Method",
    "Role",
    "Saliency",
    "SignedLayerCAM",
    "Source",
    "XGradCAM",
]
