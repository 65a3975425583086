"""Smartwatch exercise recognition: a small CNN, and what it looked at."""

import os

# TensorFlow reads it when it is loaded: warnings and errors, not thirty lines of how the conversion goes.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
