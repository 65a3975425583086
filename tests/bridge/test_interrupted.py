"""Commands that compile firmware, told to end while they do: they say so, and leave neither compilers nor folders."""

import os
import signal
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest

from edge.bundle import npz_bytes, seal
from edge.micro import GOLDEN
from tests.bridge import firmware
from tests.link import wait_for

# As GCC does, it has another process do the work, whose death it would wait for.
_COMPILER = """#!/bin/sh
[ "$1" = -dumpfullversion ] && echo 1.0 && exit
exec 3>"$AT_WORK"
sleep 600 &
echo $$ >&3
wait
"""
_BOARD = ("--board", "unicorn-cortex-m4")


@pytest.mark.parametrize(
    ("arguments", "number", "says"),
    [
        (["run", *_BOARD, "--source", "synthetic:sine"], signal.SIGINT, "error: interrupted\n"),
        (["run", *_BOARD, "--source", "synthetic:sine"], signal.SIGTERM, "error: interrupted\n"),
        (["flash", "--board", "qemu-mps2-an386"], signal.SIGINT, "error: build: interrupted\n"),
        (["profile", *_BOARD], signal.SIGTERM, "error: interrupted\n"),
    ],
)
def test_who_ends_it_while_firmware_is_compiled_finds_nothing_left(tmp_path, arguments, number, says):
    golden = npz_bytes(**dict.fromkeys(("x", "scores", "contrast"), np.eye(4, dtype=np.int8)))
    plain = firmware.bundle()
    seal(plain.manifest, {**plain.members, GOLDEN: golden}).save(tmp_path / "tiny.why")
    tools, room, at_work = (tmp_path / name for name in ("tools", "room", "at_work"))
    tools.mkdir()
    room.mkdir()
    (tools / "arm-none-eabi-gcc").write_text(_COMPILER)
    (tools / "arm-none-eabi-gcc").chmod(0o755)
    os.mkfifo(at_work)
    reader = os.open(at_work, os.O_RDONLY | os.O_NONBLOCK)
    environment = os.environ | {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "TMPDIR": str(room), "AT_WORK": str(at_work),
    }  # fmt: skip
    command = [sys.executable, "-m", "whylite", arguments[0], str(tmp_path / "tiny.why"), *arguments[1:]]
    with os.fdopen(reader, "rb", buffering=0) as work, subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:  # fmt: skip
        leaders = [process.pid]
        try:
            wait_for(lambda: leaders.extend(map(int, (work.read() or b"").split())) or leaders[1:] or process.poll())
            assert list(room.glob("whylite-*"))
            process.send_signal(number)  # to it alone, as by a supervisor
            _, said = process.communicate(timeout=60)
            assert (process.returncode, said) == (130, says)
            assert not list(room.iterdir())
            wait_for(lambda: work.read() == b"")  # the pipe's end: no compiler has it open
        finally:
            for leader in leaders:
                with suppress(ProcessLookupError):
                    os.killpg(leader, signal.SIGKILL)
