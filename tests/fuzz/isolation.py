"""One input, one process: whatever it does to the process is seen, is its own doing, and costs what was allowed."""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Verdict = tuple[str, str]
"""What came of an input, and in which words."""
Judge = Callable[[Path], Verdict]
"""Runs one input in a folder of its own; raises :class:`Broken` for what must not be."""


class Broken(AssertionError):
    """A promise that was not kept, in words."""


@dataclass(frozen=True)
class Outcome:
    """What one input did: ``kind`` as its judge names it, or what went wrong, with the peak memory of its process.

    ``detail`` holds the message or the stack; ``noise`` the warnings that a user would see.
    """

    kind: str
    detail: str
    seconds: float
    bytes: int
    finding: bool
    noise: tuple[str, ...] = ()


def isolated(judge: Judge, seconds: float, memory: int) -> Outcome:
    """Run ``judge`` in a forked process, with a folder of its own, that may take so long and so much."""
    folder = Path(tempfile.mkdtemp(prefix="whylite-fuzz-"))
    reader, writer = os.pipe()
    begin = time.monotonic()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(judge, folder, writer, memory)
    os.close(writer)
    try:
        said, late = _listen(reader, begin + seconds)
        if late:
            os.killpg(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
        took = time.monotonic() - begin
        stderr = (folder / ".stderr").read_text("utf-8", "replace")[-2000:] if (folder / ".stderr").exists() else ""
    finally:
        os.close(reader)
        shutil.rmtree(folder, ignore_errors=True)
    peak = usage.ru_maxrss * 1024
    if late:
        return Outcome("hang", f"no end after {seconds:g} s", took, peak, True)
    if os.WIFSIGNALED(status):
        return Outcome(f"died of {signal.Signals(os.WTERMSIG(status)).name}", stderr, took, peak, True)
    if not said:
        return Outcome(f"exit with {os.WEXITSTATUS(status)}", stderr, took, peak, True)
    report = json.loads(said)
    return Outcome(report["kind"], report["detail"], took, peak, report["finding"], tuple(report["noise"]))


def _listen(reader: int, until: float) -> tuple[bytes, bool]:
    """Return what comes through a pipe until it is closed, and whether that was too late."""
    said = b""
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return said, True
        part = os.read(reader, 1 << 16)
        if not part:
            return said, False
        said += part


def _child(judge: Judge, folder: Path, writer: int, memory: int) -> None:
    """Judge, report and end; never returns to the caller's code."""
    status = 70
    try:
        os.setpgid(0, 0)  # so that a hang is ended together with the processes it has started
        with (folder / ".stderr").open("wb") as file:
            os.dup2(file.fileno(), 2)
        faulthandler.enable(2)  # where Python was when a kernel dies
        resource.setrlimit(resource.RLIMIT_AS, (memory, resource.getrlimit(resource.RLIMIT_AS)[1]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.write(writer, json.dumps(_judged(judge, folder)).encode())
        status = 0
    finally:
        os._exit(status)


def _judged(judge: Judge, folder: Path) -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            (kind, detail), finding = judge(folder), False
        except Broken as error:
            kind, detail, finding = f"broken promise: {error}".splitlines()[0][:100], str(error), True
        except BaseException as error:  # noqa: BLE001 - the very thing that is looked for
            where = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"raw {type(error).__name__} in {Path(where.filename).name}:{where.lineno}"
            detail, finding = traceback.format_exc(), True
    noise = sorted({f"{w.category.__name__}: {w.message} ({Path(w.filename).name}:{w.lineno})" for w in heard})
    return {"kind": kind, "detail": detail[-6000:], "finding": finding, "noise": noise}
