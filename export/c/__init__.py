"""The static C emitter: an int8 graph as C11 for microcontrollers, scheduled and laid out at compile time."""

from .emit import Described, Explained, Sources, Steps, emit

__all__ = ["Described", "Explained", "Sources", "Steps", "emit"]
