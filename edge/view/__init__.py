"""Explanations for the eye: how an input and its map are laid out, coloured and put into words."""
