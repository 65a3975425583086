"""Command-line arguments that several commands share: what firmware is compiled with."""

from __future__ import annotations

import argparse
from pathlib import Path

from firmware_bridge.build import DEFAULTS, OPTIMIZATIONS, BuildOptions
from firmware_bridge.toolchain import TOOLCHAINS


def add_build_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that :func:`build_options` reads."""
    parser.add_argument("--toolchain", choices=TOOLCHAINS, help="to compile with (default: gcc where it is installed)")
    levels = [level.removeprefix("-") for level in OPTIMIZATIONS]
    default = DEFAULTS.optimize.removeprefix("-")
    parser.add_argument("--optimize", choices=levels, default=default, help="default: %(default)s")
    parser.add_argument(
        "--cmsis-nn",
        type=Path,
        metavar="FOLDER",
        help="compile with the CMSIS-NN in FOLDER: its convolutions and matrix products in place of the bundle's",
    )


def build_options(arguments: argparse.Namespace) -> BuildOptions:
    """Return what the arguments say that firmware is compiled with."""
    return BuildOptions(arguments.toolchain, f"-{arguments.optimize}", arguments.cmsis_nn)
