import dataclasses
import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from edge.wire.port import Port
from edge.wire.records import Session
from firmware_bridge.boards import Emulator, boards, named
from firmware_bridge.build import build_sources
from firmware_bridge.emulate import INSTRUCTION_NS, missing, start, unicorn
from firmware_bridge.emulate.cortex_m import CortexM
from firmware_bridge.emulate.qemu import Qemu
from firmware_bridge.emulate.unicorn import Unicorn
from firmware_bridge.errors import EmulatorError
from firmware_bridge.feeding import Feeder, Wishes
from firmware_bridge.monitor import Monitor
from firmware_bridge.session import Timing
from tests.bridge.firmware import bundle, tiny
from tests.link import FarEnd
from tests.tools import QEMU, needs, require

VIRTUAL = [board.name for board in boards().values() if board.virtual]
PATIENCE = 60.0
GDB = "gdb-multiarch"
needs_qemu = needs(QEMU)


@pytest.fixture(scope="module")
def an386(tmp_path_factory):
    """Firmware with the memory map that QEMU's AN386 and the boards in Unicorn share."""
    return build_sources(tiny(), "tiny", named("qemu-mps2-an386"), tmp_path_factory.mktemp("an386") / "firmware").elf


def in_unicorn():
    return dataclasses.replace(named("qemu-mps2-an386"), emulator=Emulator("unicorn"))


class Rows:
    """A source of these windows."""

    def __init__(self, *rows):
        import numpy as np

        from edge.sources import Window

        self.windows = [Window(i, np.array(row, np.float32), 0, truth=i % 4) for i, row in enumerate(rows)]

    @property
    def ended(self):
        return not self.windows

    def take(self, seconds):
        return self.windows.pop(0)


def answers(machine, *rows):
    """Return what a board says of windows."""
    with closing(Monitor(machine.url)) as monitor:
        feeder = Feeder(monitor, Rows(*rows), bundle(), lambda: machine.failure)
        return [event for events in feeder.polls(Wishes()) for event in events]


def timings(machine, *rows):
    return [event for event in answers(machine, *rows) if isinstance(event, Timing)]


@pytest.mark.parametrize("name", VIRTUAL)
def test_every_virtual_board_boots_and_answers(tmp_path, name):
    if named(name).emulator.machine:
        require(QEMU)
    firmware = build_sources(tiny(), "tiny", named(name), tmp_path / "firmware")
    with start(firmware.elf, named(name)) as machine:
        said = answers(machine, [0, 9, 1, 2], [3, 0, 1, -7])
        assert machine.failure is None
    results = [event for event in said if type(event).__name__ == "Result"]
    assert [(result.sequence, result.class_index, result.truth) for result in results] == [(0, 1, 0), (1, 0, 1)]
    assert {event.board for event in said if type(event).__name__ == "Session"} == {name}
    maps = [event for event in said if type(event).__name__ == "Attribution"]
    assert [found.values.tolist() for found in maps] == [[-0.5, 63.5, -0.5, -0.5], [63.5, -0.5, -0.5, -0.5]]


@needs_qemu
def test_qemu_and_unicorn_take_the_same_time_which_is_instructions(an386):
    rows = [[0, 9, 1, 2]] * 3
    with start(an386, named("qemu-mps2-an386")) as machine:
        emulated = [timing.phases["predict"] for timing in timings(machine, *rows)]
    with start(an386, in_unicorn()) as machine:
        counts = []
        machine.core.watch(address(an386, "whylite_tiny_work"), counts.append)
        counted = [timing.phases["predict"] for timing in timings(machine, *rows)]
    assert len(emulated) == len(counted) == 3
    # a tick of SysTick is 1.25 instructions, and its interrupt, of 6, may come in between
    assert emulated == pytest.approx(counted, abs=10 * INSTRUCTION_NS)
    assert len(counts) == 3
    assert min(emulated) > 20000 * 4 * INSTRUCTION_NS


def test_instructions_are_counted_as_they_are_executed(an386):
    work = address(an386, "whylite_tiny_work")
    after = address(an386, "whylite_tiny_work", end=True)
    seen = []
    with start(an386, in_unicorn()) as machine:
        machine.core.watch(work, lambda count: seen.append((count, machine.core.register("r0"))))
        timings(machine, [1, 2, 3, 4], [1, 2, 3, 4])
    (first, where), (second, again) = seen
    assert where == again != 0
    assert after > work
    assert second - first > 20000 * 4


def address(elf, name, *, end=False):
    with ELFFile.load_from_path(str(elf)) as program:
        (symbol,) = program.get_section_by_name(".symtab").get_symbol_by_name(name)
        return symbol["st_value"] + (symbol["st_size"] if end else 0)


def test_a_fault_ends_a_unicorn_board_and_says_where(tmp_path):
    sources = tiny()
    sources["whylite_tiny.c"] = sources["whylite_tiny.c"].replace(
        b"  uint32_t number = 1;", b"  uint32_t number = *(volatile uint32_t *)0x60000000u;"
    )
    firmware = build_sources(sources, "tiny", named("unicorn-cortex-m3"), tmp_path / "firmware")
    with start(firmware.elf, named("unicorn-cortex-m3")) as machine:
        with pytest.raises(EmulatorError, match=r"died after [0-9,]+ instructions.* pc 0x0000"):
            answers(machine, [1, 2, 3, 4])
        assert machine.wait(PATIENCE)
        assert "UC_ERR_READ_UNMAPPED" in machine.failure
    assert "UC_ERR_READ_UNMAPPED" in machine.failure


@needs_qemu
def test_a_program_that_qemu_cannot_load_is_a_failure_with_its_words(tmp_path):
    (tmp_path / "none.elf").write_bytes(b"no ELF")
    with start(tmp_path / "gone.elf", named("qemu-mps2-an386")) as machine, Port(machine.url):
        assert machine.wait(PATIENCE)
        assert "gone.elf" in machine.failure
        assert "exit code 1" in machine.failure
    assert "gone.elf" in machine.failure


@needs_qemu
def test_a_killed_qemu_says_so_and_a_stopped_one_has_not_failed(an386):
    with Qemu(an386, named("qemu-mps2-an386")) as machine, Port(machine.url):
        os.kill(machine._process.pid, signal.SIGKILL)
        assert machine.wait(PATIENCE)
        assert "signal 9" in machine.failure
    with Qemu(an386, named("qemu-mps2-an386")) as machine:
        assert not machine.wait(0)
        assert machine.failure is None
        machine.stop()
        machine.stop()
    assert machine.failure is None


@needs_qemu
def test_no_process_stays_whatever_ends_the_block(an386):
    with pytest.raises(ZeroDivisionError), Qemu(an386, named("qemu-mps2-an386")) as machine:
        numbers = machine._process.pid, machine._guard.pid
        assert not machine.wait(0)
        _ = 1 / 0
    for number in numbers:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)


@needs_qemu
def test_qemu_does_not_outlive_a_guard_that_cannot_be_started(an386, monkeypatch):
    started, popen = [], subprocess.Popen

    def without_shell(command, **options):
        if command[0] == "/bin/sh":
            raise FileNotFoundError(2, "No such file or directory")
        started.append(popen(command, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", without_shell)
    with pytest.raises(EmulatorError, match="cannot start a shell"):
        Qemu(an386, named("qemu-mps2-an386"))
    assert [process.returncode for process in started] == [-signal.SIGKILL]


@needs_qemu
@pytest.mark.parametrize("notice", [lambda machine: machine.failure, lambda machine: machine.wait(PATIENCE)])
def test_the_guard_of_a_qemu_that_is_gone_kills_nobody_else(an386, notice):
    with Qemu(an386, named("qemu-mps2-an386")) as machine:
        machine._process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, machine._process.pid, os.WEXITED | os.WNOWAIT)
        assert notice(machine)
        assert machine._guard.returncode is not None


@needs_qemu
def test_a_qemu_that_stays_is_told_of(an386, monkeypatch):
    machine = Qemu(an386, named("qemu-mps2-an386"))
    process = machine._process
    monkeypatch.setattr("firmware_bridge.emulate.qemu._PATIENCE", 0)
    monkeypatch.setattr(process, "kill", lambda: None)
    with pytest.raises(EmulatorError, match=rf"process {process.pid}, was killed and is still there"):
        machine.stop()
    monkeypatch.undo()
    process.kill()
    process.wait(PATIENCE)
    assert machine._complaints.closed


def runs(number):
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@needs_qemu
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_qemu_does_not_outlive_a_program_that_is_killed(an386):
    program = (
        "import sys, time; from pathlib import Path; from firmware_bridge.boards import named\n"
        "from firmware_bridge.emulate.qemu import Qemu\n"
        "machine = Qemu(Path(sys.argv[1]), named('qemu-mps2-an386'))\n"
        "print(machine._process.pid, machine._guard.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(an386)], stdout=subprocess.PIPE) as host:
        numbers = [int(word) for word in host.stdout.readline().split()]
        assert [runs(number) for number in numbers] == [True, True]
        host.kill()
    try:
        end = time.monotonic() + PATIENCE
        while any(map(runs, numbers)):
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        for number in filter(runs, numbers):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)


def test_no_thread_stays_whatever_ends_the_block(an386):
    for opened in (False, True):
        with pytest.raises(ZeroDivisionError), Unicorn(an386, in_unicorn()) as machine:
            if opened:
                Port(machine.url).close()
            _ = 1 / 0
    gc.collect()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("virtual board")]


def test_a_thread_that_goes_on_is_told_of(an386, monkeypatch):
    monkeypatch.setattr(unicorn, "_JOIN", 0.1)
    entered, end = threading.Event(), threading.Event()
    machine = Unicorn(an386, in_unicorn())
    machine.core.run = lambda: (entered.set(), end.wait(PATIENCE))
    with closing(Port(machine.url)):
        assert entered.wait(PATIENCE)
        with pytest.raises(EmulatorError, match="still runs"):
            machine.stop()
        end.set()
        assert machine.wait(PATIENCE)
    machine.stop()


def test_a_caller_who_is_gone_before_he_is_answered_is_none():
    class Deserted:
        def setblocking(self, blocking):
            pass

        def accept(self):
            raise ConnectionAbortedError

    assert not unicorn._Line(Deserted()).peek()


@pytest.mark.parametrize("machine", [pytest.param(Qemu, marks=needs_qemu), Unicorn])
def test_two_runs_are_two_sessions(an386, machine):
    board = named("qemu-mps2-an386") if machine is Qemu else in_unicorn()
    sessions = []
    for _ in range(2):
        with machine(an386, board) as running, closing(FarEnd(running.url)) as host:
            sessions += [record.session for record in host.listen_for(Session, seconds=PATIENCE)[:1]]
    assert len(set(sessions)) == 2


@needs(QEMU, GDB)
def test_a_halted_board_waits_for_a_debugger_which_has_a_port(an386):
    with Qemu(None, named("qemu-mps2-an386"), halted=True, debug=True) as machine:
        commands = [f"target remote {machine.debugger}", "load", "compare-sections", "set $sp = *(unsigned *)0"]
        commands += ["set $pc = *(unsigned *)4", "detach"]
        words = [word for command in commands for word in ("-ex", command)]
        done = subprocess.run(
            [GDB, "-q", "-nx", "-batch", *words, str(an386)],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert ".text" in done.stdout and "matched" in done.stdout, done.stdout + done.stderr
        assert len(timings(machine, [1, 2, 3, 4])) == 1


def test_a_port_can_be_opened_again(an386):
    with start(an386, in_unicorn()) as machine:
        assert len(timings(machine, [1, 2, 3, 4])) == 1
        assert [timing.sequence for timing in timings(machine, [1, 2, 3, 4], [5, 6, 7, 8])] == [1, 2]
        assert machine.failure is None


class Sleeper:
    """A UART at which nothing comes, and at the tenth look time has passed."""

    def __init__(self, nanoseconds):
        self.core, self.left, self.nanoseconds = None, 10, nanoseconds

    def take(self):
        return None

    def peek(self):
        self.left -= 1
        if not self.left:
            self.core.rest(self.nanoseconds)
        return False

    def give(self, byte):
        pass


def test_the_timer_interrupts_when_it_has_run_out(an386):
    almost = 10**9 * (1 << 24) // 25_000_000 - 10**6
    sleeper = Sleeper(almost)
    core = sleeper.core = CortexM(an386, in_unicorn(), sleeper)
    seen = []

    def interrupted(count):
        seen.append(count)
        core.stop()

    core.watch(address(an386, "whylite_tick"), interrupted)
    core.run()
    assert len(seen) == 1
    assert seen[0] * INSTRUCTION_NS + almost == pytest.approx(10**9 * (1 << 24) // 25_000_000, rel=1e-3)
    assert seen[0] > 10**6 / INSTRUCTION_NS * 0.9


def test_a_program_for_other_memories_is_refused_by_unicorn(an386):
    board = in_unicorn()
    for elsewhere in (
        dataclasses.replace(board, flash=dataclasses.replace(board.flash, origin=0x1000_0000)),
        dataclasses.replace(board, ram=dataclasses.replace(board.ram, origin=0x2000_0008)),
    ):
        with pytest.raises(EmulatorError, match=r"firmware\.elf cannot be loaded to qemu-mps2-an386 in Unicorn"):
            Unicorn(an386, elsewhere)


@needs_qemu
def test_a_machine_of_another_core_is_refused():
    wrong = dataclasses.replace(named("qemu-mps2-an385"), core="cortex-m4f")
    assert missing(named("qemu-mps2-an385")) is None
    assert missing(wrong) == ("QEMU's mps2-an385 has a cortex-m3, and 'core' says cortex-m4f", 'say core = "cortex-m3"')
    with pytest.raises(EmulatorError, match="has a cortex-m3"):
        start(None, wrong)


def test_what_lacks_is_said_with_what_to_do(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    what, hint = missing(named("qemu-mps2-an386"))
    assert "qemu-system-arm" in what
    assert "unicorn-" in hint
    with pytest.raises(EmulatorError, match="qemu-mps2-an386 cannot be emulated"):
        start(None, named("qemu-mps2-an386"))
    with pytest.raises(EmulatorError, match="real board"):
        start(None, named("nrf52840-dk"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install" in missing(named("unicorn-cortex-m4"))[1]
