"""Checks that decide whether explanations may ship, made on the very file that ships."""

from .checks import run

__all__ = ["run"]
