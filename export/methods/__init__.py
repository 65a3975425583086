"""Explanation methods: one file each, registered by being imported here."""

from .base import WALKS, Compiled, Entry, Method, Role, Source
from .cam import ClassActivationMap
from .deconvnet import DeconvNet
from .fullgrad import FullGrad
from .fullgrad_abs import FullGradAbs
from .gradcam import GradCAM
from .gradcam_plus_plus import GradCAMPlusPlus
from .guided_backprop import GuidedBackprop
from .hirescam import HiResCAM
from .input_x_gradient import InputXGradient
from .integrated_gradients import IntegratedGradients
from .layer_map import LayerMap
from .layercam import LayerCAM
from .layercam_signed import SignedLayerCAM
from .lrp_alpha_beta import LRPAlphaBeta
from .lrp_epsilon import LRPEpsilon
from .lrp_z_plus import LRPZPlus
from .recipro_cam import ReciproCAM
from .rectgrad import RectGrad
from .rectified import RectifiedBackward
from .relevance import LayerwiseRelevance
from .saliency import Saliency
from .smoothgrad import SmoothGrad
from .xgradcam import XGradCAM

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        GradCAM,
        HiResCAM,
        XGradCAM,
        SignedLayerCAM,
        ReciproCAM,
        Saliency,
        InputXGradient,
        IntegratedGradients,
        SmoothGrad,
        FullGrad,
        LRPEpsilon,
        LRPAlphaBeta,
        LayerCAM,
        GradCAMPlusPlus,
        GuidedBackprop,
        DeconvNet,
        RectGrad,
        LRPZPlus,
        FullGradAbs,
    )
}

__all__ = [
    "METHODS",
    "WALKS",
    "ClassActivationMap",
    "Compiled",
    "DeconvNet",
    "Entry",
    "FullGrad",
    "FullGradAbs",
    "GradCAM",
    "GradCAMPlusPlus",
    "GuidedBackprop",
    "HiResCAM",
    "InputXGradient",
    "IntegratedGradients",
    "LRPAlphaBeta",
    "LRPEpsilon",
    "LRPZPlus",
    "LayerCAM",
    "LayerMap",
    "LayerwiseRelevance",
    "Method",
    "ReciproCAM",
    "RectGrad",
    "RectifiedBackward",
    "Role",
    "Saliency",
    "SignedLayerCAM",
    "SmoothGrad",
    "Source",
    "XGradCAM",
]
