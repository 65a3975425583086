"""The firmware on virtual boards: it boots, and says the same as the model in numpy on every core and serial port."""

from __future__ import annotations

import re
import subprocess
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest

from edge.wire.records import Health, Latency, Map, Request, Result, Session
from firmware_bridge import boards, toolchain
from firmware_bridge.build import BuildOptions, _layout, build_sources
from firmware_bridge.emulate.cortex_m import CortexM
from tests.firmware import toy
from tests.firmware.build import FIRMWARE, HERE, ROOT, compiled, run
from tests.firmware.test_device import feed, values
from tests.link import FarEnd
from tests.tools import GCC, QEMU, needs

BOARDS = ("qemu-microbit", "qemu-lm3s6965evb", "qemu-netduinoplus2", "qemu-mps3-an547")  # one per serial port


@contextmanager
def emulated(board, elf):
    """Run firmware on a virtual board of QEMU's, and connect a host to it."""
    command = (QEMU, "-M", board.emulator.machine, "-nographic", "-monitor", "none", "-serial", "pty")
    process = subprocess.Popen(
        [*command, "-icount", "shift=5,sleep=off", "-kernel", str(elf)], stdout=subprocess.PIPE, text=True
    )
    try:
        host = FarEnd(re.search(r"/dev/\S+", process.stdout.readline())[0])
        try:
            yield host
        finally:
            host.close()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def virtual(tmp_path):
    """Start a board with the hand-written model and return its host."""
    with ExitStack() as stack:

        def start(name):
            board = boards.named(name)
            files = (HERE / "whylite_toy.c", HERE / "whylite_toy.h", ROOT / "export/c/kernels/whylite.h")
            sources = {path.name: path.read_bytes() for path in files}
            options = BuildOptions(toolchain="gcc", optimize="-Os")
            firmware = build_sources(sources, "toy", board, tmp_path / "build", options)
            return stack.enter_context(emulated(board, firmware.elf))

        yield start


@needs(GCC, QEMU)
@pytest.mark.parametrize("name", BOARDS)
def test_a_virtual_board_answers_and_explains(virtual, name):
    host, windows = virtual(name), toy.windows(3)
    host.say(Request(what=Session.code))
    host.listen_for(Session)
    feed(host, *windows)
    for x, result, cam, attribution in zip(
        windows, host.of(Result), host.of(Map)[0::2], host.of(Map)[1::2], strict=True
    ):
        assert result.scores == tuple(toy.scores(x))
        assert np.array_equal(values(cam), toy.cam(x, result.class_index))
        exact, residual = toy.integrated_gradients(x, result.class_index)
        assert np.abs(values(attribution) - exact).max() <= 0.505 * attribution.scale
        assert attribution.residual == (None if residual is None else pytest.approx(residual, abs=1e-5))
    host.say(Request(what=Health.code))
    health = host.listen_for(Health, 2)[-1]
    assert 1000 < health.memory < 4096  # static memory, and the stack as far down as it has been
    assert (health.bad_frames, health.stalls, health.clock_faults) == (0, 0, 0)
    session = host.of(Session)[0]
    assert session.board == name
    assert all(latency.valid for latency in host.of(Latency))


def test_the_clock_counts_up_by_one_over_all_values_of_systick(tmp_path):
    """The function of main.c as it stands, with a counter of 4 bits that a loop moves on."""
    text = (FIRMWARE / "virtual" / "main.c").read_text()
    clock = re.search(r"static uint32_t ticks\(void \*context\) \{.*?\n\}\n", text, re.S)[0]
    source = tmp_path / "clock.c"
    source.write_text(f"""#include <stddef.h>
#include <stdint.h>
#define SYSTICK_BITS 4u
#define SYSTICK_MAX ((1u << SYSTICK_BITS) - 1u)
#define SYSTICK_VALUE systick
static volatile uint32_t wraps, systick;
static void take_interrupt(void) {{}}
{clock}
int main(void) {{
  for (uint32_t passed = 0; passed < 100u; passed++) {{
    if (ticks(NULL) != passed) {{
      return 1;
    }}
    systick = systick == 0 ? SYSTICK_MAX : systick - 1u;
    wraps += systick == 0; /* where its interrupt comes */
  }}
  return 0;
}}
""")
    assert run(str(compiled(tmp_path / "clock", source))) == ""


class Ear:
    """A UART at which nothing comes: it hears what is said until a "."."""

    def __init__(self):
        self.core, self.heard = None, b""

    def take(self):
        return None

    def peek(self):
        return False

    def give(self, byte):
        self.heard += bytes([byte])
        if byte == ord("."):
            self.core.stop()


def test_the_clock_never_goes_back_where_interrupts_come_between_blocks_only(tmp_path):
    """The clock of main.c as it stands, in Unicorn, with a timer that runs out at every instruction sometimes."""
    text = (FIRMWARE / "virtual" / "main.c").read_text()
    clock = re.search(r"static volatile uint32_t wraps.*?(?=static uint32_t write)", text, re.S)[0]
    for name in ("startup.c", "virtual.h"):
        (tmp_path / name).write_bytes((FIRMWARE / "virtual" / name).read_bytes())
    board = boards.named("unicorn-cortex-m4")
    (tmp_path / "clock.c").write_text(f"""#include <stddef.h>
#include "virtual.h"
#define SYSTICK ((volatile uint32_t *)0xE000E010u)
#define SYSTICK_VALUE SYSTICK[2]
#define SYSTICK_BITS 9u
#define SYSTICK_MAX ((1u << SYSTICK_BITS) - 1u)
#define SAY (*(volatile uint32_t *){board.uart.base:#x}u)
{clock}
int main(void) {{
  SYSTICK[1] = SYSTICK_MAX;
  SYSTICK[2] = 0;
  SYSTICK[0] = 7u;
  uint32_t last = 0;
  for (uint32_t i = 0; i < 20000u; i++) {{
    uint32_t now = ticks(NULL);
    if (now - last >= 1u << 31) {{
      SAY = '<';
    }}
    last = now;
  }}
  SAY = wraps > 100u ? '+' : '-';
  SAY = '.';
  return 0;
}}
""")
    (tmp_path / "link.ld").write_text(_layout(board))
    compiler = toolchain.find()
    objects = compiler.compile(["clock.c", "startup.c"], tmp_path, board.cpu, optimize="-Os")
    compiler.link(objects, "link.ld", tmp_path, board.cpu, "clock.elf")
    ear = Ear()
    ear.core = CortexM(tmp_path / "clock.elf", board, ear)
    ear.core.run()
    assert ear.heard == b"+."
