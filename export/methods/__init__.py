"""Explanation methods: one file each, registered by being imported here."""

from .base import Compiled, Entry, Method, Role, Source
from .gradcam import GradCAM
from .integrated_gradients import IntegratedGradients
from .saliency import Saliency

METHODS: dict[str, type[Method]] = {method.name: method for method in (GradCAM, IntegratedGradients, Saliency)}

__all__ = ["METHODS", "Compiled", "Entry", "GradCAM", "IntegratedGradients", "Method", "Role", "Saliency", "Source"]
