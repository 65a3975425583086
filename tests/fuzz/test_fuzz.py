"""A stretch of fuzzing in the suite, and proof that the fuzzer sees what it is there to see."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from tests.fuzz.isolation import Broken, isolated
from tests.fuzz.targets import TARGETS, hold_command, hold_error
from tests.link import wait_for

ROOT = Path(__file__).parents[2]
MEMORY = 8 << 30


def fuzz(target: str, runs: int, seed: int, findings: Path) -> str:
    """Fuzz in a program of its own, which has loaded nothing that a fork would harm; return its table."""
    command = [sys.executable, "-m", "tests.fuzz", target, f"--runs={runs}", f"--seed={seed}", f"--findings={findings}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{runs} runs in" in done.stdout
    return done.stdout


RUNS = {"export": 70, "cli": 25, "data": 30, "bundle": 250}


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_damaged_or_lies_is_refused_or_explained(target, tmp_path):
    printed = fuzz(target, RUNS[target], 1, tmp_path)
    assert re.search(r"\d+  (bundle|exit 0|ran)\n", printed), printed
    assert re.search(r"\d+  (ModelFileError|exit 2|BundleError)", printed), printed


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_the_same_at_length(target, tmp_path):
    fuzz(target, 3 * RUNS[target], 2, tmp_path)


def outcome(judge, seconds=30.0, memory=MEMORY):
    return isolated(judge, seconds, memory)


def test_a_process_that_dies_is_a_finding():
    for death in (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE):
        seen = outcome(lambda folder, death=death: os.kill(os.getpid(), death))
        assert seen.finding
        assert seen.kind == f"died of {death.name}"
    assert outcome(lambda folder: ctypes.string_at(0)).kind == "died of SIGSEGV"
    assert outcome(lambda folder: os._exit(3)).kind == "exit with 3"


def test_a_process_that_does_not_end_is_a_finding_and_its_children_end_with_it(tmp_path):
    note = tmp_path / "pid"

    def hang(folder):
        child = subprocess.Popen(["sleep", "1000"])
        note.write_text(str(child.pid))
        time.sleep(1000)

    for seconds in (1.5, 10, 60):
        seen = outcome(hang, seconds)
        assert (seen.kind, seen.finding) == ("hang", True)
        if note.exists():  # else the machine was too busy for it to come so far
            break
    state = Path(f"/proc/{note.read_text()}/stat")

    def gone():
        try:
            return state.read_text().split()[2] == "Z"
        except FileNotFoundError:
            return True

    wait_for(gone)


def test_memory_is_bounded_and_told():
    seen = outcome(lambda folder: (str(len(bytearray(1 << 40))), ""))
    assert seen.finding
    assert seen.kind.startswith("raw MemoryError")
    assert outcome(lambda folder: (str(sum(bytearray(300 << 20))), "")).bytes > 300 << 20


def test_what_is_raised_is_a_finding_and_warnings_are_told():
    def judge(folder):
        warnings.warn("look here", RuntimeWarning, stacklevel=1)
        return "fine", ""

    seen = outcome(judge)
    assert (seen.kind, seen.finding) == ("fine", False)
    assert "look here" in seen.noise[0]
    seen = outcome(lambda folder: 1 // 0)
    assert seen.finding
    assert seen.kind.startswith("raw ZeroDivisionError in test_fuzz.py")
    assert outcome(lambda folder: sys.exit(0)).finding


def test_the_folder_of_a_run_is_gone_afterwards(tmp_path):
    note = tmp_path / "folder"
    outcome(lambda folder: (note.write_text(str(folder)), ""))
    assert not Path(note.read_text()).exists()


@pytest.mark.parametrize("error", [("", "hint"), ("victim.tflite is bad", ""), ("it is bad", "hint")])
def test_an_error_that_says_too_little_is_a_broken_promise(error):
    from export.errors import ModelFileError

    with pytest.raises(Broken):
        hold_error(ModelFileError(*error), "victim.tflite")
    assert hold_error(ModelFileError("victim.tflite is bad", "hint"), "victim.tflite")[0] == "ModelFileError"


@pytest.mark.parametrize("sin", ["code 3", "leaves a file", "loses the older bundle", "says nothing", "raises"])
def test_a_command_that_breaks_a_promise_is_noticed(sin, tmp_path, monkeypatch):
    def main(arguments):
        if sin == "code 3":
            return 3
        if sin == "leaves a file":
            Path(".victim.why.1.part").touch()
        if sin == "loses the older bundle":
            Path("victim.why").unlink()
        if sin == "raises":
            raise KeyError(0)
        if sin != "says nothing":
            sys.stderr.write("error: victim.tflite is bad\n  hint: mend it\n")
        return 2

    monkeypatch.setattr("whylite.main", main)
    with pytest.raises(KeyError if sin == "raises" else Broken):
        hold_command(tmp_path, {"victim.tflite": b""}, ["victim.tflite"])
