"""The command ``whylite``: hands each subcommand to the package that owns it, and imports that one only."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module

# subcommand: (module that has a `main(argv) -> exit code`, what it does)
COMMANDS = {
    "export": ("export.cli", "compile explanations into a trained .tflite model"),
    "report": ("export.report.cli", "write the page that shows a bundle's explanations and what they are worth"),
    "explain": ("edge.view.cli", "draw the explanation of one input as a picture"),
    "verify": ("export.verify_cli", "check a bundle again, on any data"),
    "emit": ("export.c.cli", "write an int8 model, or what a bundle has of it, as C for microcontrollers"),
    "run": ("edge.cli", "on the device: predict, explain and stream over serial"),
    "profile": ("firmware_bridge.profile_cli", "what predicting and explaining cost on a board, per operation"),
    "doctor": ("edge.doctor.cli", "what keeps it from running here, or from running well, and what to do about it"),
    "boards": ("firmware_bridge.boards_cli", "which boards there are, real and virtual, and what can be done here"),
    "flash": ("firmware_bridge.flash_cli", "put a bundle's firmware on a board, and see that it answers as it should"),
    "monitor": ("firmware_bridge.cli", "on the host: show and record what a board streams"),
    "convert": ("firmware_bridge.convert_cli", "turn a recording into another format, or into tables"),
    "replay": ("firmware_bridge.replay_cli", "play a recording as the monitor showed it"),
}
# these go on until they are told to end, and end well when that is before they have begun
ENDLESS = ("run", "monitor", "replay")
_ON_A_BOARD = "firmware_bridge.run_cli"  # `run --board`, which has firmware to compile before it goes on
_INTERRUPTED = 128 + signal.SIGINT  # as shells have it


def usage() -> str:
    """Return the list of subcommands."""
    rows = "\n".join(f"  {name:<9} {what}" for name, (_, what) in COMMANDS.items())
    return (
        "usage: whylite COMMAND [ARGUMENTS]\n       whylite --version\n\n"
        f"commands:\n{rows}\n\n'whylite COMMAND --help' explains one of them."
    )


def _module(argv: list[str]) -> str:
    """Return the module of a command; what runs on a microcontroller is not the board's own `run`."""
    if argv[0] == "run" and any(word == "--board" or word.startswith("--board=") for word in argv):
        return _ON_A_BOARD
    return COMMANDS[argv[0]][0]


def main(argv: list[str] | None = None) -> int:
    """Run the command line; 0 success, 1 a check failed, 2 wrong usage or bad input, 130 interrupted."""
    try:
        try:
            return _run(sys.argv[1:] if argv is None else argv)
        finally:
            sys.stdout.flush()  # not when Python ends: nothing can catch what fails there
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _run(argv: list[str]) -> int:
    """Run the command line, and let through what ends it early."""
    if argv and argv[0] in {"-h", "--help"}:
        print(usage())
        return 0
    if argv == ["--version"]:
        from importlib.metadata import version

        print(f"whylite {version('whylite')}")
        return 0
    if not argv or argv[0] not in COMMANDS:
        print(usage() if not argv else f"error: unknown command {argv[0]!r}\n\n{usage()}", file=sys.stderr)
        return 2
    name = _module(argv)
    if argv[0] in ENDLESS and name != _ON_A_BOARD:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: sys.exit(0))  # until the command has a handler of its own
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        hint = "pip install whylite brings what a board needs; the README says what else there is"
        print(f"error: {error.name} is not installed\n  hint: {hint}", file=sys.stderr)
        return 2
    result: int = module.main(argv)
    return result


if __name__ == "__main__":
    sys.exit(main())
