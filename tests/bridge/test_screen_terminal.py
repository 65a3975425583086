"""`whylite monitor` in a real terminal: tmux around the command, a board at the other end of a pty."""

from __future__ import annotations

import math
import re
import sys
import time
from dataclasses import replace

import pytest

from firmware_bridge.recording import load
from firmware_bridge.session import Mark
from tests.board import WATCH, Board
from tests.terminal import Terminal
from tests.tools import needs

MONITOR = [sys.executable, "-m", "whylite", "monitor"]

pytestmark = [needs("tmux"), pytest.mark.slow]


def ask_until_done(terminal):
    """Ask for an explanation, on a busy machine more than once: what was answered is said for a while only."""
    asked = -math.inf

    def done(shown):
        nonlocal asked
        if time.monotonic() > asked + 10:
            asked = time.monotonic()
            terminal.type("e")
        return ": done" in shown

    terminal.wait(done)


def test_a_person_watches_asks_marks_records_and_quits(modem, tmp_path):
    path = tmp_path / "seen.jsonl"
    with Terminal([*MONITOR, modem.host], tmp_path) as terminal:
        terminal.wait(lambda shown: "waiting for the device" in shown)
        with Board(modem.device, rate=0.5) as board:
            parts = ("● running", "gradcam for ", "p50, p99", "predict", "link lost 0 frames", "q quit")
            shown = terminal.wait(
                lambda shown: all(part in shown for part in parts) and re.search("0 [⠁-⣿]{10}", shown) and "⣿" in shown
            )
            assert len(shown.splitlines()) <= 24
            assert "\x1b[38" in terminal.escapes() or "\x1b[3" in terminal.escapes()
            ask_until_done(terminal)
            terminal.type("s")
            terminal.wait(lambda shown: "record to" in shown and ".jsonl" in shown)
            terminal.type("C-u")
            terminal.wait(lambda shown: ".jsonl" not in shown)
            terminal.type(str(path), "Enter")
            terminal.wait(lambda shown: "recording " in shown.splitlines()[0])
            terminal.type("k")
            terminal.wait(lambda shown: "mark this moment" in shown)
            terminal.type("here", "Enter")
            terminal.wait(lambda shown: "mark this moment" not in shown)
            terminal.type("End")
            terminal.wait(lambda shown: "mark: here" in shown)
            terminal.resize(120, 40)
            shown = terminal.wait(lambda shown: "p95" in shown)
            assert max(map(len, shown.splitlines())) > 100
            assert board.asked
        terminal.wait(lambda shown: "silent for " in shown)
        terminal.type("q")
        shown = terminal.wait(lambda shown: "exit code 0" in shown)
        assert "losses: link lost 0 frames" in shown  # the summary, in the terminal as it was before
        assert "● running" not in shown
    assert [mark.text for mark in load(path).of(Mark)] == ["here"]


def test_without_colours_and_glyphs_and_ended_by_a_key_of_old(modem, tmp_path):
    image = replace(WATCH, input_shape=(32, 32, 3))
    plain = {"LANG": "C", "NO_COLOR": "1"}
    with Terminal([*MONITOR, modem.host], tmp_path, **plain) as terminal, Board(modem.device, image, rate=10.0):
        shown = terminal.wait(lambda shown: "against" in shown and "gradcam for" in shown)
        assert shown.isascii()
        assert "* running" in shown
        assert not set(terminal.escapes().split("\x1b[")[1:]) & {"31m", "32m", "36m"}
        terminal.resize(40, 12)
        terminal.wait(lambda shown: len(shown.splitlines()[0]) <= 40 and "running" in shown)
        terminal.type("C-c")
        terminal.wait(lambda shown: "exit code 0" in shown)


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(modem, tmp_path):
    with Terminal([*MONITOR, modem.host], tmp_path, TERM="dumb") as terminal, Board(modem.device, rate=10.0):
        shown = terminal.wait(lambda shown: "gradcam |" in shown)
        assert "running" not in shown
        terminal.type("C-c")
        terminal.wait(lambda shown: "exit code 0" in shown)
