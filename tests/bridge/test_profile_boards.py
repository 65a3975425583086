"""Profiles of firmware on virtual boards: what is counted is what is executed, there and with another emulator."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from edge.bundle import npz_bytes, seal
from edge.micro import GOLDEN
from edge.wire.port import Port
from firmware_bridge.boards import Energy, named
from firmware_bridge.build import build
from firmware_bridge.emulate import start
from firmware_bridge.emulate.unicorn import Unicorn
from firmware_bridge.errors import BoardError, InvalidProfileError, ProfileError
from firmware_bridge.profile.document import parse, write
from firmware_bridge.profile.firmware import profile
from firmware_bridge.profile.lines import Device
from firmware_bridge.profile.tables import table
from firmware_bridge.profile_cli import main
from tests.bridge import firmware
from tests.bridge.profiled import STEPS, bundle, displaced
from tests.tools import QEMU, needs

BOARD = "unicorn-cortex-m4"


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    return profile(bundle(), named(BOARD), tmp_path_factory.mktemp("firmware"))


def test_parts_and_operations_are_counted(counted):
    plain, gradcam, integrated = counted.parts
    first, second, third = counted.operations
    assert counted.unit == "instructions"
    assert (counted.windows, counted.clock_hz) == (3, None)
    assert plain.count.least == pytest.approx(first.count.least + second.count.least, abs=40)
    assert gradcam.ratio == pytest.approx((plain.count.median + gradcam.count.median) / plain.count.median, rel=1e-3)
    # a loop of 1000 against one of 2000
    assert third.count.median == pytest.approx(second.count.median / 2, rel=0.15)
    assert integrated.steps == STEPS
    # its predictions begin nearer to the baseline, 1, than the window, 10
    assert integrated.count.median > STEPS * (third.count.median + second.count.median)
    assert integrated.macs == STEPS * 700
    assert 100 < plain.stack < 2048


def test_what_depends_on_the_data_shows(counted):
    first, second, _ = counted.operations
    assert first.count.most == pytest.approx(4 * first.count.least, rel=0.02)
    assert second.count.constant
    assert not first.count.constant


def test_memory_is_told_by_section_and_source(counted):
    memory = counted.memory
    assert (memory.arena, memory.reference_arena) == (64, 128)
    code = sum(source.code + source.constants for source in memory.sources)
    assert 0.9 * memory.flash < code <= memory.flash
    assert memory.sections[".text"] <= memory.flash
    fits = {fit.board: fit for fit in counted.fits}
    assert fits["nrf52840-dk"].fits
    assert [name for name, fit in fits.items() if fit.exact] == [BOARD]
    assert "rp2040-pico" in fits
    assert "esp32-s3" not in fits  # no code of a Cortex-M says what it would take there


def test_it_reads_back_as_it_was(counted):
    assert parse(write(counted).encode(), "p") == counted


def test_every_run_counts_the_same(counted, tmp_path):
    again = profile(bundle(), named(BOARD), tmp_path, windows=1)
    for one, two in zip((*counted.parts, *counted.operations), (*again.parts, *again.operations), strict=True):
        assert two.count.least == pytest.approx(one.count.least, rel=1e-3, abs=4)  # the resolution of SysTick


def test_the_counts_are_those_of_the_instructions_executed(tmp_path):
    """Unicorn counts blocks as they begin: between two calls of the hook lie one operation and the hook itself."""
    made = build(bundle(), named(BOARD), tmp_path / "firmware", profile=True)
    from elftools.elf.elffile import ELFFile

    symbols = ELFFile.load_from_path(str(made.elf)).get_section_by_name(".symtab")
    hook = symbols.get_symbol_by_name("whylite_operation")[0]["st_value"]
    moments = []
    with Unicorn(made.elf, named(BOARD)) as machine:
        machine.core.watch(hook, moments.append)
        with Port(machine.url) as port:
            board = Device(port, 30.0)
            sample = board.measure(bytes([10, 1, 1, 1, 1, 1, 1, 1]))
    scale = 1e9 / board.greeting.clock_hz / 32
    empty, (first, second) = moments[: sample.hook_calls], moments[sample.hook_calls :][:2]
    between = (empty[-1] - empty[0]) / (len(empty) - 1)
    assert sample.counted(sample.parts[0])[1] * scale == pytest.approx(second - first - between, abs=6)


@needs(QEMU)
def test_qemu_counts_the_same(counted, tmp_path):
    other = profile(bundle(), named("qemu-mps2-an386"), tmp_path)
    for one, two in zip(counted.parts, other.parts, strict=True):
        assert two.count.median == pytest.approx(one.count.median, rel=1e-3)
    for one, two in zip(counted.operations, other.operations, strict=True):
        assert two.count.median == pytest.approx(one.count.median, rel=1e-3, abs=4)


@pytest.mark.slow
@needs(QEMU)
@pytest.mark.parametrize("name", ["qemu-lm3s6965evb", "qemu-netduinoplus2", "qemu-mps3-an547"])
def test_a_board_of_qemu_says_its_clock_right(counted, tmp_path, name):
    made = build(bundle(), named(name), tmp_path / "firmware", profile=True)
    with start(made.elf, named(name)) as machine, Port(machine.url) as port:
        board = Device(port, 30.0)
        sample = board.measure(bytes([10, 1, 1, 1, 1, 1, 1, 1]))
    found = sample.counted(sample.parts[0])[1] * 1e9 / board.greeting.clock_hz / 32
    # the same loop, in what a compiler makes of it for another core
    assert found == pytest.approx(counted.operations[1].count.median, rel=0.3)


def test_wrong_answers_make_no_profile(tmp_path):
    with pytest.raises(InvalidProfileError, match="gradcam of golden window 0"):
        profile(bundle(right=False), named(BOARD), tmp_path)


def test_a_gradient_from_another_place_makes_no_profile(tmp_path):
    with pytest.raises(InvalidProfileError, match="integrated_gradients of golden window 0"):
        profile(displaced(), named(BOARD), tmp_path)


@pytest.mark.parametrize("name", ["scores", "gradcam", "integrated_gradients_attribution"])
def test_a_bundle_that_recorded_less_is_refused(tmp_path, name):
    made = bundle()
    arrays = {key: array for key, array in made.arrays(GOLDEN).items() if key != name}
    before = seal(made.manifest, {**made.members, GOLDEN: npz_bytes(**arrays)})
    with pytest.raises(ProfileError, match=f"holds no {name} in micro.npz") as caught:
        profile(before, named(BOARD), tmp_path)
    assert caught.value.hint.startswith("export it again")


def test_a_real_board_wants_a_port(tmp_path):
    with pytest.raises(BoardError, match="nrf52840-dk is a real board"):
        profile(bundle(), named("nrf52840-dk"), tmp_path)


def test_a_board_behind_a_port_counts_cycles_and_its_documented_current_makes_joules(counted, tmp_path):
    made = build(bundle(), named(BOARD), tmp_path / "firmware", profile=True)
    # what is emulated stands in for it; its port counts at 25 MHz
    energy = Energy(supply_v=3.0, active_a=0.005, at_hz=50_000_000, source="a data sheet")
    real = dataclasses.replace(named(BOARD), name="mine", clock_hz=50_000_000, emulator=None, energy=energy)
    with Unicorn(made.elf, named(BOARD)) as machine:
        found = profile(bundle(), real, tmp_path, port=machine.url, windows=1)
    assert (found.unit, found.clock_hz, found.counter) == ("cycles", 50_000_000, "emulated SysTick at 25 MHz")
    ticks = counted.parts[0].count.least * 32 / 40
    assert found.parts[0].count.median == pytest.approx(2 * ticks, rel=1e-3)
    assert found.energy.joules["predict"] == pytest.approx(2 * ticks / 50e6 * 3.0 * 0.005, rel=1e-3)
    assert (found.energy.measured, found.energy.source) == (False, "a data sheet")
    assert found.memory.sources == ()
    assert "it was built elsewhere" in table(found)


def test_firmware_that_does_not_count_is_told_at_once_and_nobody_waits_in_silence(tmp_path, capsys, monkeypatch):
    made = build(bundle(), named(BOARD), tmp_path / "firmware")
    monkeypatch.setattr("firmware_bridge.profile_cli.Bundle.open", lambda path: bundle())
    with Unicorn(made.elf, named(BOARD)) as machine:
        arguments = ["profile", "loops.why", "--board", "nrf52840-dk", "--port", machine.url]
        began = time.monotonic()
        assert main(arguments) == 2
        assert time.monotonic() - began < 60  # half of the patience with a board that says nothing
    said = capsys.readouterr().err
    assert said.startswith(f"waiting for firmware at {machine.url} that calls whylite_profile\n")
    assert f"the firmware at {machine.url} is not compiled with -DWHYLITE_PROFILE" in said


@pytest.mark.slow
def test_from_the_command_line(tmp_path, capsys, monkeypatch):
    made = bundle()
    monkeypatch.setattr("firmware_bridge.profile_cli.Bundle.open", lambda path: made)
    path, picture = tmp_path / "p.json", tmp_path / "p.png"
    arguments = [
        "profile",
        "loops.why",
        "--board",
        BOARD,
        "--windows",
        "100",
        "--json",
        str(path),
        "--plot",
        str(picture),
    ]
    assert main([*arguments, "--meter", "a meter", "--joules", "predict=0.001"]) == 0
    said, noted = capsys.readouterr()
    assert "the bundle has 3 golden windows" in noted
    assert max(map(len, said.splitlines())) <= 120
    assert "predict + integrated_gradients, 3 steps" in said
    assert "measured with a meter" in said
    document = json.loads(path.read_bytes())
    assert document["energy"] == {"joules": {"predict": 0.001}, "measured": True, "source": "a meter"}
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["profile", "--compare", str(path), str(path)]) == 0
    assert "1.0000" in capsys.readouterr().out
    made = bundle(right=False)
    assert main(arguments) == 1
    assert "invalid: gradcam" in capsys.readouterr().err


def test_who_ends_it_finds_no_folder_left(tmp_path):
    golden = npz_bytes(**dict.fromkeys(("x", "scores", "contrast"), np.eye(4, dtype=np.int8)))
    plain = firmware.bundle()
    seal(plain.manifest, {**plain.members, GOLDEN: golden}).save(tmp_path / "tiny.why")
    room = tmp_path / "room"
    room.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(120)
        port = f"socket://127.0.0.1:{server.getsockname()[1]}"
        arguments = ["profile", str(tmp_path / "tiny.why"), "--board", "nrf52840-dk", "--port", port]
        with subprocess.Popen(
            [sys.executable, "-m", "whylite", *arguments],
            env=os.environ | {"TMPDIR": str(room)}, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            try:
                with server.accept()[0]:
                    assert list(room.glob("whylite-*"))
                    process.send_signal(signal.SIGTERM)
                    _, said = process.communicate(timeout=60)
            finally:
                process.kill()
    assert process.returncode == 130
    assert said.endswith("error: interrupted\n")
    assert not list(room.iterdir())
