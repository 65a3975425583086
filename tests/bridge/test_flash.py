"""Flashing virtual boards from first to last, and everything that can go wrong on the way, with real programs."""

from __future__ import annotations

import dataclasses
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import whylite
from edge.bundle import Bundle, npz_bytes, seal
from edge.errors import LinkError
from edge.micro import GOLDEN, MODEL, SOURCES, Operation
from edge.wire.port import Port
from firmware_bridge import flash, flash_cli
from firmware_bridge.boards import named
from firmware_bridge.build import build, build_sources
from firmware_bridge.emulate.qemu import Qemu
from firmware_bridge.emulate.seed import seed
from firmware_bridge.errors import BoardError, BuildError, FitError, FlashError, WrongAnswerError, WrongBoardError
from firmware_bridge.flash import chosen, sequence
from firmware_bridge.flash import gdb as gdb_way
from firmware_bridge.flash.gdb import GdbWay
from firmware_bridge.flash.image import read
from firmware_bridge.flash.qemu import QemuWay
from firmware_bridge.flash.sequence import Flashing
from firmware_bridge.flash.way import Connection
from firmware_bridge.footprint import measure
from tests.bridge import firmware as tiny_model
from tests.bridge import profiled
from tests.tools import GCC, QEMU, needs

BOARD = "qemu-mps2-an386"
BAUD = 921600
STEPS = ["fit", "build", "connect", "write", "verify", "reset", "session", "model", "golden"]
GDB = next(filter(None, map(shutil.which, gdb_way.PROGRAMS)), None)
needs_gdb = needs(GDB or gdb_way.PROGRAMS[0])
pytestmark = needs(QEMU)


def with_golden(x: np.ndarray) -> Bundle:
    """Return the model ``tiny`` with golden vectors: its scores are its input, its map points at the largest."""
    plain = tiny_model.bundle()
    best = x.argmax(axis=1)[:, None] == np.arange(4)
    golden = npz_bytes(x=x, scores=x, contrast=np.where(best, 127, -1).astype(np.int8))
    return seal(plain.manifest, {**plain.members, GOLDEN: golden, MODEL: b"none"})


@pytest.fixture(scope="module")
def bundle():
    return with_golden(np.random.default_rng(3).integers(-128, 128, (5, 4)).astype(np.int8))


@pytest.fixture(scope="module")
def firmware(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flash") / "firmware"
    return read(build_sources(tiny_model.tiny(), "tiny", named(BOARD), folder).elf, named(BOARD))


@pytest.fixture(scope="module")
def wrong_firmware(tmp_path_factory):
    """A firmware that says it is of the bundle's model and has another constant in it."""
    sources = tiny_model.tiny()
    sources["whylite_tiny.c"] = sources["whylite_tiny.c"].replace(b"i == best ? 127", b"i == best ? 126")
    folder = tmp_path_factory.mktemp("flash") / "wrong"
    return read(build_sources(sources, "tiny", named(BOARD), folder).elf, named(BOARD))


@pytest.fixture
def board():
    """A board that runs nothing, and its debug server."""
    with Qemu(None, named(BOARD), halted=True, debug=True) as machine:
        yield machine


@pytest.fixture
def built(monkeypatch, firmware, bundle, tmp_path):
    """The command line with a firmware that is built already; returns the bundle's path."""
    monkeypatch.setattr(flash_cli, "built", lambda *_, **__: firmware)
    path = tmp_path / "tiny.why"
    path.write_bytes(bundle.to_bytes())
    monkeypatch.setattr(Bundle, "open", lambda _: bundle)
    return str(path)


def kill(machine):
    """End QEMU as a pulled cable would."""
    machine._process.kill()
    machine._process.wait(60)


def gdb_options(machine, port=None):
    return ["--way", "gdb", "--gdb", machine.debugger, "--port", port or machine.url]


@pytest.mark.parametrize("way", ["qemu", pytest.param("gdb", marks=needs_gdb)])
def test_a_board_is_flashed_and_answers_as_the_bundle_says(built, board, capsys, way):
    options = gdb_options(board) if way == "gdb" else []
    assert whylite.main(["flash", built, "--board", BOARD, *options, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [step["name"] for step in said["steps"]] == STEPS
    assert all(step["seconds"] >= 0 for step in said["steps"])
    assert "5 windows, equal in every byte: scores, contrast" in said["steps"][-1]["what"]
    assert board.failure is None


def test_lines_for_people_tell_each_step_and_what_came_of_it(built, capsys):
    assert whylite.main(["flash", built, "--board", BOARD]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*STEPS, BOARD]
    assert all(line.split()[2] == "s" for line in lines[:-1])


@needs_gdb
def test_a_dry_run_says_all_and_touches_nothing(built, board, capsys):
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.setblocking(False)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        arguments = ["--way", "gdb", "--gdb", address, "--port", "/dev/none", "--dry-run", "--json"]
        assert whylite.main(["flash", built, "--board", BOARD, *arguments]) == 0
        with pytest.raises(BlockingIOError):
            server.accept()
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert [step["name"] for step in steps] == STEPS
    assert [step["seconds"] is None for step in steps] == [False] * 2 + [True] * 7


def test_patience_grows_with_the_model_and_shrinks_with_the_speed(bundle, firmware):
    virtual = named(BOARD)

    def plan(bundle, baud, board=None):
        with closing(Flashing(bundle, board or virtual, QemuWay(virtual, Connection()), lambda: firmware, baud)) as it:
            steps = {step.name: step.what for step in it.steps(dry_run=True)}
        hello = re.search(r"at most (\d+) s", steps["session"])
        answer = re.search(r"at most (\d+) s each", steps["golden"])
        return int(hello[1]), int(answer[1])

    micro = bundle.manifest.micro
    heavy = dataclasses.replace(micro, operations=(Operation("CONV_2D", "conv", "predict", 10_000_000),))
    assert plan(bundle, 921600) == (45, 15)
    assert plan(bundle, 921600, dataclasses.replace(virtual, emulator=None)) == (15, 15)
    assert plan(bundle, 300) > (70, 60)
    # 20 cycles for each, once to predict and once more to explain, at 25 MHz
    much = Bundle(dataclasses.replace(bundle.manifest, micro=heavy), bundle.members)
    assert plan(much, 921600) == (45, 15 + 2 * 20 * 10_000_000 // 25_000_000)


# --- refused before anything is written ---


@needs_gdb
def test_another_core_is_refused_before_anything_is_written(built, capsys):
    with Qemu(None, named("qemu-mps2-an385"), halted=True, debug=True) as other:
        assert whylite.main(["flash", built, "--board", BOARD, *gdb_options(other), "--json"]) == 2
        said = json.loads(capsys.readouterr().out)
        assert said["failed"]["step"] == "connect"
        assert said["failed"]["error"] == "WrongBoardError"
        assert said["failed"]["cause"] == f"{BOARD} has a cortex-m4f, and what is connected is cortex-m3"
        assert said["written"] is False


@needs_gdb
def test_what_is_no_cortex_m_is_refused():
    listener = socket.create_server(("127.0.0.1", 0))
    command = ["qemu-system-arm", "-M", "virt", "-display", "none", "-nodefaults", "-S"]
    command += ["-chardev", f"socket,id=gdb,fd={listener.fileno()},server=on,wait=off", "-gdb", "chardev:gdb"]
    process = subprocess.Popen(command, pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL)
    listener_name = f"127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    way = GdbWay(named(BOARD), Connection("unused", listener_name))
    try:
        with pytest.raises(WrongBoardError, match=r"is no Cortex-M"):
            way.connect()
    finally:
        way.close()
        process.kill()
        process.wait(60)


def test_what_is_too_big_is_refused_before_a_board_is_started(monkeypatch, bundle, firmware):
    small = dataclasses.replace(named(BOARD), flash=dataclasses.replace(named(BOARD).flash, size=256))
    monkeypatch.setattr(QemuWay, "connect", lambda _: pytest.fail("it was started"))
    with (
        closing(Flashing(bundle, small, QemuWay(small, Connection()), lambda: firmware, BAUD)) as flashing,
        pytest.raises(BoardError, match=r"needs at least 300 bytes of flash, and qemu-mps2-an386 has 256"),
    ):
        list(flashing.steps())
    assert flashing.step == "fit"
    assert not flashing.touched


@needs_gdb
def test_a_busy_port_is_told_before_anything_is_written(built, board, capsys):
    ours, theirs = pty.openpty()
    with Port(os.ttyname(theirs)):
        assert whylite.main(["flash", built, "--board", BOARD, *gdb_options(board, os.ttyname(theirs))]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: connect: cannot open port")
    assert "has it open" in said
    for descriptor in (ours, theirs):
        os.close(descriptor)


@needs_gdb
def test_a_debug_server_that_is_not_there(built, capsys):
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    arguments = ["--way", "gdb", "--gdb", address, "--port", "socket://127.0.0.1:9"]
    assert whylite.main(["flash", built, "--board", BOARD, *arguments]) == 2
    assert f"connect: no debug server listens at {address}" in capsys.readouterr().err


@needs_gdb
def test_a_debug_server_that_says_nothing(monkeypatch, bundle):
    ask = gdb_way._Gdb.ask

    def hurried(gdb, command, patience=60.0):
        return ask(gdb, command, 1.0 if command.startswith("-target-select") else patience)

    monkeypatch.setattr(gdb_way._Gdb, "ask", hurried)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with (
            closing(GdbWay(named(BOARD), Connection("unused", address))) as way,
            pytest.raises(LinkError, match="did not do '-target-select"),
        ):
            way.connect()


@pytest.mark.parametrize(
    ("board_name", "way", "options", "says"),
    [
        (BOARD, "esptool", [], "there is no way 'esptool' to flash yet"),
        (BOARD, "gdb", [], "its debug server and the port of its link must be known"),
        (BOARD, "qemu", ["--port", "x"], "is started for this"),
        ("nrf52840-dk", None, [], "is flashed with pyocd, which is not among the ways there are yet: qemu, gdb"),
        ("nrf52840-dk", "gdb", [], "is not flashed with gdb"),
        ("unicorn-cortex-m4", None, [], "has no flash: each run loads its program"),
        ("raspberry-pi-4", None, [], "is flashed with linux"),
        ("nothing-like-it", None, [], "there is no board"),
    ],
)
def test_ways_that_are_not(built, capsys, board_name, way, options, says):
    arguments = [*(["--way", way] if way else []), *options]
    assert whylite.main(["flash", built, "--board", board_name, *arguments]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert "hint:" in said


def test_without_gdb_it_says_where_gdb_comes_from(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FlashError, match="neither arm-none-eabi-gdb nor gdb-multiarch") as caught:
        GdbWay(named(BOARD), Connection("port", "127.0.0.1:3333"))
    assert caught.value.hint == "apt-get install gdb-multiarch"


def test_a_bundle_without_golden_vectors_is_refused(firmware):
    plain = tiny_model.bundle()
    empty = seal(plain.manifest, {**plain.members, GOLDEN: npz_bytes(x=np.zeros((0, 4), np.int8))})
    with pytest.raises(BoardError, match="has no x to compare"):
        Flashing(empty, named(BOARD), QemuWay(named(BOARD), Connection()), lambda: firmware, BAUD)


def linked_for(name, tmp_path):
    """Return an ELF for another board's memories: a few bytes of firmware at its flash's address."""
    source = tmp_path / "bytes.s"
    source.write_text(".syntax unified\n.thumb\n.text\n.word 0x20001000, 9, 1, 2\n")
    elf = tmp_path / "bytes.elf"
    where = named(name).flash.origin
    gcc = [GCC, "-mthumb", "-mcpu=cortex-m4", "-nostdlib", f"-Wl,-Ttext={where:#x}", "-Wl,-e0"]
    subprocess.run([*gcc, "-Wl,-n", str(source), "-o", str(elf)], check=True)
    return elf


def cmsis_nn(folder):
    """Write a CMSIS-NN of one function, and the model ``tiny`` as a bundle that calls it; return where both are."""
    sources = folder / "CMSIS-NN" / "Source" / "ConvolutionFunctions"
    sources.mkdir(parents=True)
    (folder / "CMSIS-NN" / "Include").mkdir()
    (folder / "CMSIS-NN" / "Include" / "arm_nnfunctions.h").write_text("int arm_one(void);\n")
    (sources / "arm_one.c").write_text('#include "arm_nnfunctions.h"\nint arm_one(void) { return 1; }\n')
    plain = with_golden(np.zeros((1, 4), np.int8))
    kernel = b"#include <arm_nnfunctions.h>\nint one(void);\nint one(void) { return arm_one(); }\n"
    seal(plain.manifest, {**plain.members, f"{SOURCES}whylite_one_cmsis.c": kernel}).save(folder / "calling.why")
    return folder / "CMSIS-NN", folder / "calling.why"


@needs(GCC)
def test_firmware_is_compiled_with_what_was_chosen(tmp_path, capsys):
    library, path = cmsis_nn(tmp_path)
    options = ["--toolchain", "gcc", "--optimize", "Os", "--cmsis-nn", str(library)]
    assert whylite.main(["flash", str(path), "--board", BOARD, "--dry-run", "--json", *options]) == 0
    build = json.loads(capsys.readouterr().out)["steps"][1]
    assert re.search(r", by arm-none-eabi-gcc \S+ with CMSIS-NN -Os$", build["what"])


def test_a_folder_without_cmsis_nn_is_refused_before_a_board_is_started(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(QemuWay, "connect", lambda _: pytest.fail("a board was started"))
    with_golden(np.zeros((1, 4), np.int8)).save(tmp_path / "tiny.why")
    (tmp_path / "empty").mkdir()
    arguments = ["--board", BOARD, "--json", "--cmsis-nn", str(tmp_path / "empty")]
    assert whylite.main(["flash", str(tmp_path / "tiny.why"), *arguments]) == 2
    said = json.loads(capsys.readouterr().out)
    assert (said["failed"]["step"], said["written"]) == ("build", False)
    assert f"there is no CMSIS-NN in {tmp_path / 'empty'}" in said["failed"]["cause"]


@needs_gdb
def test_an_elf_of_the_boards_own_sdk_is_flashed_as_it_is(monkeypatch, built, board, firmware, capsys):
    monkeypatch.setattr(flash_cli, "built", lambda *_, **__: pytest.fail("it was built"))
    arguments = [*gdb_options(board), "--elf", str(firmware.elf), "--json"]
    assert whylite.main(["flash", built, "--board", BOARD, *arguments]) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert str(firmware.elf) in steps[1]["what"]


@needs(GCC)
def test_an_elf_for_other_memories_is_refused(firmware, tmp_path):
    elf = linked_for("qemu-netduinoplus2", tmp_path)
    assert read(elf, named("qemu-netduinoplus2")).data[4:8] == bytes([9, 0, 0, 0])
    with pytest.raises(FitError, match=r"0x8000000 to 0x80000\w\w, and the flash .*-an505 is from 0x10000000"):
        read(elf, named("qemu-mps2-an505"))
    small = dataclasses.replace(named(BOARD), ram=dataclasses.replace(named(BOARD).ram, size=1024))
    with pytest.raises(FitError, match=r"needs [0-9,]+ bytes of RAM, and qemu-mps2-an386 has 1,024"):
        read(firmware.elf, small)


def test_files_that_are_no_programs_for_arm_are_refused(firmware, tmp_path):
    for name, data, says in (
        ("text", b"hello", "is no ELF"),
        ("short", firmware.elf.read_bytes()[:2000], "is no ELF|cut short|nothing to write"),
        ("other", Path(sys.executable).resolve().read_bytes(), "is a program for EM_"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BuildError, match=says):
            read(tmp_path / name, named(BOARD))
    with pytest.raises(BuildError, match="cannot read"):
        read(tmp_path / "none", named(BOARD))


damage = st.tuples(st.integers(-0x600, 0x100), st.sampled_from([0, 1, 0x7F, 0xFF]) | st.integers(0, 255))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(damage, min_size=1, max_size=4))
@example([(0x1C, 0xFF)])  # where the segments' table is
@example([(0x20, 0xFF)])  # the sections'
@example([(0x2E, 0)])  # the size of one in there
def test_an_elf_that_is_damaged_anywhere_is_read_or_refused(firmware, tmp_path, places):
    """In its header, the segments behind that, and the sections' headers at its end."""
    data = bytearray(firmware.elf.read_bytes())
    for place, byte in places:
        data[place] = byte
    elf = tmp_path / "damaged"
    elf.write_bytes(data)
    for use in (lambda: read(elf, named(BOARD)), lambda: measure(elf, {}), lambda: seed(elf)):
        with suppress(BuildError, FitError):
            use()


def test_a_damaged_elf_is_wrong_input_and_a_stripped_one_has_no_symbols(built, firmware, tmp_path, capsys):
    data = bytearray(firmware.elf.read_bytes())
    data[0x1C:0x20] = (len(data) - 4).to_bytes(4, "little")  # the table of segments ends with the file
    (tmp_path / "damaged").write_bytes(data)
    assert whylite.main(["flash", built, "--board", BOARD, "--elf", str(tmp_path / "damaged")]) == 2
    assert re.match(r"error: .*damaged is no ELF, or damaged", capsys.readouterr().err)
    data = firmware.elf.read_bytes().replace(b".symtab", b".gone!!")
    (tmp_path / "stripped").write_bytes(data)
    assert seed(tmp_path / "stripped") is None
    with pytest.raises(BuildError, match="it has no symbols"):
        measure(tmp_path / "stripped", {})


@needs_gdb
def test_a_real_board_is_reset_by_the_command_of_probes_which_qemu_does_not_know(bundle, firmware, board):
    real = dataclasses.replace(named(BOARD), emulator=None)
    way = GdbWay(real, Connection(board.url, board.debugger))
    with (
        closing(Flashing(bundle, real, way, lambda: firmware, BAUD)) as flashing,
        pytest.raises(FlashError, match="knows no 'reset'"),
    ):
        list(flashing.steps())
    assert flashing.step == "reset"


@needs_gdb
def test_a_path_that_gdb_would_take_for_commands_is_refused(firmware, board, tmp_path):
    odd = tmp_path / 'x"\n-interpreter-exec console "shell true"\n'
    assert gdb_way._quoted('a "\\b') == r'"a \"\\b"'
    with closing(GdbWay(named(BOARD), Connection(board.url, board.debugger))) as way:
        way.connect()
        with pytest.raises(FlashError, match="not all printable"):
            way.write(dataclasses.replace(firmware, elf=odd))


@needs_gdb
def test_an_interrupted_command_leaves_nothing_behind(built, capsys):
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        callers = []

        def interrupt():
            callers.append(server.accept()[0])
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=interrupt, daemon=True).start()
        before = signal.getsignal(signal.SIGTERM)
        try:
            arguments = ["--way", "gdb", "--gdb", address, "--port", "none"]
            assert whylite.main(["flash", built, "--board", BOARD, *arguments]) == 130
        finally:
            signal.signal(signal.SIGTERM, before)
        assert capsys.readouterr().err == "error: connect: interrupted\n"
        with closing(callers[0]) as caller:
            caller.settimeout(60)
            with suppress(ConnectionResetError):
                while caller.recv(4096):  # what GDB had to say before its end
                    pass


# --- failed with the board written to ---


@pytest.mark.parametrize("way", ["qemu", pytest.param("gdb", marks=needs_gdb)])
@pytest.mark.parametrize("before", ["write", "verify", "reset", "session", "golden"])
def test_a_board_that_dies_at_any_step_is_told(bundle, firmware, board, way, before):
    connection = Connection(board.url, board.debugger) if way == "gdb" else Connection()
    chosen_way = chosen(named(BOARD), way, connection)
    with closing(Flashing(bundle, named(BOARD), chosen_way, lambda: firmware, BAUD)) as flashing:
        steps = flashing.steps()
        while next(steps).name != STEPS[STEPS.index(before) - 1]:
            pass
        kill(board if way == "gdb" else chosen_way._machine)
        with pytest.raises(LinkError) as caught:
            list(steps)
    assert STEPS.index(flashing.step) >= STEPS.index(before)  # what it said before it died is heard all the same
    assert flashing.touched
    assert "lost" in caught.value.cause or "QEMU ended with signal 9" in caught.value.cause
    assert caught.value.hint


def test_a_board_that_dies_between_two_answers(monkeypatch, bundle, firmware):
    way = QemuWay(named(BOARD), Connection())
    held = []

    def hold_and_kill(*arguments):
        held.append(arguments)
        kill(way._machine)

    monkeypatch.setattr(sequence, "hold", hold_and_kill)
    with (
        closing(Flashing(bundle, named(BOARD), way, lambda: firmware, BAUD)) as flashing,
        pytest.raises(LinkError, match="lost port socket"),
    ):
        list(flashing.steps())
    assert flashing.step == "golden"
    assert len(held) == 1


@needs_gdb
def test_a_silent_port_is_told_from_one_at_another_speed(monkeypatch, bundle, firmware, board):
    monkeypatch.setattr(sequence, "HELLO", 0.5)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        url = f"socket://127.0.0.1:{server.getsockname()[1]}"
        way = GdbWay(named(BOARD), Connection(url, board.debugger))
        with (
            closing(Flashing(bundle, named(BOARD), way, lambda: firmware, BAUD)) as flashing,
            pytest.raises(LinkError, match=r"no SESSION came within \d s from socket") as caught,
        ):
            list(flashing.steps())
    assert flashing.step == "session"
    assert caught.value.hint.startswith("not one byte came")


@pytest.mark.parametrize("way", ["qemu", pytest.param("gdb", marks=needs_gdb)])
def test_what_reads_back_otherwise_is_told_with_its_place(bundle, firmware, board, way):
    connection = Connection(board.url, board.debugger) if way == "gdb" else Connection()
    chosen_way = chosen(named(BOARD), way, connection)
    with closing(Flashing(bundle, named(BOARD), chosen_way, lambda: firmware, BAUD)) as flashing:
        steps = flashing.steps()
        while next(steps).name != "write":
            pass
        flipped = bytes([firmware.data[0x123] ^ 1])
        if way == "gdb":
            chosen_way._debugger.ask(f'-data-write-memory-bytes 0x123 "{flipped.hex()}"')
        else:
            chosen_way._remote.write(0x123, flipped)
        told = "not those of firmware.elf: .text" if way == "gdb" else r"1 of [0-9,]+ bytes .* the first at 0x123"
        with pytest.raises(FlashError, match=told):
            list(steps)
    assert flashing.step == "verify"


def test_firmware_of_another_model_is_told(bundle, firmware, monkeypatch, capsys):
    other = Bundle(dataclasses.replace(bundle.manifest, model_digest="ab" * 32), bundle.members)
    monkeypatch.setattr(flash_cli, "built", lambda *_, **__: firmware)
    monkeypatch.setattr(Bundle, "open", lambda _: other)
    assert whylite.main(["flash", "x.why", "--board", BOARD, "--json"]) == 1
    failed = json.loads(capsys.readouterr().out)["failed"]
    assert (failed["step"], failed["error"]) == ("model", "WrongBoardError")
    assert "runs model tiny (01020304" in failed["cause"]


def test_one_wrong_constant_is_found_by_the_golden_vectors(bundle, wrong_firmware):
    way = QemuWay(named(BOARD), Connection())
    with (
        closing(Flashing(bundle, named(BOARD), way, lambda: wrong_firmware, BAUD)) as flashing,
        pytest.raises(
            WrongAnswerError, match=r"golden vector 0: contrast: 1 of 4 bytes differ; byte \d is 126, and 127"
        ),
    ):
        list(flashing.steps())
    assert flashing.step == "golden"
    assert way._machine.wait(0)


def flashed(made: Bundle, folder: Path) -> str:
    """Return what came of the last step of flashing the firmware of a bundle."""
    board = named(BOARD)
    way = QemuWay(board, Connection())
    with closing(Flashing(made, board, way, lambda: read(build(made, board, folder).elf, board), BAUD)) as flashing:
        return list(flashing.steps())[-1].what


def test_sums_over_steps_are_held_to_golden_bytes(tmp_path):
    said = flashed(profiled.bundle(), tmp_path / "right")
    assert said.startswith("3 windows, equal in every byte: scores, gradcam; of the first, too: integrated_gradients")
    with pytest.raises(WrongAnswerError, match=r"golden vector 0: integrated_gradients: .* are right"):
        flashed(profiled.displaced(), tmp_path / "displaced")


class Recorder:
    """A way to flash that notes what it is told to do, and fails at writing."""

    plan = QemuWay.plan

    def __init__(self, board, connection):
        self.url, self.did = connection.port, []

    def connect(self):
        self.did.append("connect")
        return "connected"

    def write(self, image):
        self.did.append("write")
        raise FlashError("it smokes", "switch it off")

    def close(self):
        self.did.append("close")


def test_a_way_is_a_class_and_one_registration(monkeypatch, built, capsys):
    made = []
    monkeypatch.setitem(flash.WAYS, "gdb", lambda *given: made.append(Recorder(*given)) or made[0])
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = f"socket://127.0.0.1:{server.getsockname()[1]}"
        assert whylite.main(["flash", built, "--board", BOARD, "--way", "gdb", "--port", port]) == 1
    assert made[0].did == ["connect", "write", "close"]
    said = capsys.readouterr().err
    assert said.startswith("error: write: it smokes\n  hint: switch it off\n")
    assert "may hold half a program" in said
