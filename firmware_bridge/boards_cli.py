"""``whylite boards``: which boards there are, and what can be done with each of them here."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence

from edge.errors import WhyLiteError
from firmware_bridge import toolchain
from firmware_bridge.boards import Board, Memory, boards, named
from firmware_bridge.emulate import missing
from firmware_bridge.errors import BuildError
from firmware_bridge.flash import WAYS
from firmware_bridge.tools import ELF, TOOLS

_LEGEND = """
(...): a way that `whylite flash` does not have yet; the board's own SDK has it
emit: `whylite emit` writes C for the board's own SDK; --port, --elf: for the firmware that is built there
fits: `whylite profile` says whether a bundle has room there"""


def main(argv: Sequence[str]) -> int:
    """Run ``whylite boards``; 0 success, 2 wrong usage or bad input."""
    arguments = _parser().parse_args(argv[1:])
    try:
        wanted = [named(arguments.board)] if arguments.board else list(boards().values())
    except WhyLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    compiler, lack = _compiler()
    lack = lack or ELF.install * (not ELF.there)
    rows = [(board, *_here(board, lack)) for board in wanted]
    if arguments.json:
        tools = [
            {"name": tool.name, "for": tool.serves, "there": tool.there, "install": tool.install} for tool in TOOLS
        ]
        print(json.dumps({"toolchain": compiler, "boards": [_document(*row) for row in rows], "tools": tools}))
        return 0
    _print(rows)
    if arguments.board:
        board = wanted[0]
        print("".join(f"\n{text}" for text in (board.title, board.note, board.source) if text))
    else:
        _print_tools()
    print(f"\nfirmware is compiled by {compiler}" if compiler else f"\nno firmware can be compiled: {lack}")
    return 0


def _compiler() -> tuple[str | None, str]:
    """Return the compiler that firmware is built with here, and else what there is to do."""
    try:
        return toolchain.find().version, ""
    except BuildError as error:
        return None, error.hint


def _here(board: Board, lack: str) -> tuple[list[str], list[str]]:
    """Return what can be done with a board here, and what must be done before more can be."""
    if board.linux:
        return ["run"], []
    flashes = ["flash"] * any(way in WAYS for way in board.flash_with)
    if not board.virtual:
        fit = ["fits"] * (board.cpu is not None)
        return ["emit", "run --port", "profile --port", *fit, *(f"{flash} --elf" for flash in flashes)], []
    absent = missing(board)
    lacks = [lack] * bool(lack) + ([absent[1]] if absent else [])
    return ["build"] * (not lack) + ["run", "profile", *flashes] * (not lacks), lacks


def _document(board: Board, can: list[str], lacks: list[str]) -> dict[str, object]:
    return {**dataclasses.asdict(board), "virtual": board.virtual, "linux": board.linux, "can": can, "missing": lacks}


def _print(rows: Sequence[tuple[Board, list[str], list[str]]]) -> None:
    table = [("board", "core", "MHz", "flash", "RAM", "flash with", "here")]
    for board, can, lacks in rows:
        here = ", ".join(can) + (f" (for more: {'; '.join(lacks)})" if lacks else "")
        memories = (_size(board.flash), _size(board.ram))
        ways = ", ".join(way if way in WAYS else f"({way})" for way in board.flash_with if not board.linux) or "-"
        table.append((board.name, board.core, f"{board.clock_hz / 1e6:g}", *memories, ways, here))
    _print_table(table)
    print(_LEGEND)


def _print_tools() -> None:
    rows = [
        (tool.serves, tool.name, "") if tool.there else (tool.serves, f"no {tool.name}", tool.install) for tool in TOOLS
    ]
    print()
    _print_table([("for", "there is", ""), *rows])


def _print_table(table: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _size(memory: Memory | None) -> str:
    if memory is None:
        return "-"
    return f"{memory.size >> 20} MiB" if memory.size % (1 << 20) == 0 else f"{memory.size >> 10} KiB"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whylite boards",
        description="Which boards there are, real and virtual, what can be done with them on this machine, and "
        "which tools for microcontrollers it has.",
        epilog="exit codes: 0 success, 2 wrong usage or bad input",
    )
    parser.add_argument("board", nargs="?", metavar="BOARD", help="this one alone: a name, or a .toml of your own")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, with all that is known")
    return parser
