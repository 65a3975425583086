"""Whole applications: data, training, conversion, explanations and their report."""
