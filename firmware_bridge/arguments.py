"""Command-line arguments that several commands share: what firmware is compiled with."""

from __future__ import annotations

import argparse
from pathlib import Path

from firmware_bridge.build import DEFAULTS, OPTIMIZATIONS, BuildOptions
from firmware_bridge.toolchain import TOOLCHAINS


def add_build_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that :func:`build_options` reads, of which none is there unless it is given."""
    parser.add_argument("--toolchain", choices=TOOLCHAINS, help="to compile with (default: gcc where it is installed)")
    levels = [level.removeprefix("-") for level in OPTIMIZATIONS]
    default = DEFAULTS.optimize.removeprefix("-")
    parser.add_argument("--optimize", choices=levels, help=f"default: {default}")
    parser.add_argument(
        "--cmsis-nn",
        type=Path,
        metavar="FOLDER",
        help="compile with the CMSIS-NN in FOLDER: its convolutions and matrix products in place of the bundle's",
    )


def check_build_options(parser: argparse.ArgumentParser, arguments: argparse.Namespace, *instead: str) -> None:
    """End with wrong usage where one of these options is given, and one ``instead`` of which firmware is compiled."""
    option = given_build_option(arguments)
    for other in instead:
        if option and getattr(arguments, other) is not None:
            parser.error(f"{option} has no effect: with --{other} nothing is compiled\n  hint: leave out one of them")


def given_build_option(arguments: argparse.Namespace) -> str | None:
    """Return the first of these options that was given."""
    names = ("toolchain", "optimize", "cmsis_nn")
    return next((f"--{name.replace('_', '-')}" for name in names if getattr(arguments, name) is not None), None)


def build_options(arguments: argparse.Namespace) -> BuildOptions:
    """Return what the arguments say that firmware is compiled with."""
    optimize = DEFAULTS.optimize if arguments.optimize is None else f"-{arguments.optimize}"
    return BuildOptions(arguments.toolchain, optimize, arguments.cmsis_nn)
