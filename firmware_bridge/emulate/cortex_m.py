"""A Cortex-M in Unicorn: its program, a CMSDK UART, SysTick with its interrupt, and an exact count of instructions."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import unicorn
from unicorn import arm_const

from firmware_bridge.boards import PAGE, SYSTEM_PAGES, Board, Memory
from firmware_bridge.emulate import INSTRUCTION_NS
from firmware_bridge.emulate.seed import seed
from firmware_bridge.errors import EmulatorError
from firmware_bridge.footprint import open_elf

_SYSTEM, _, _RETURN = SYSTEM_PAGES
_SYSTICK_CONTROL, _SYSTICK_RELOAD, _SYSTICK_VALUE = _SYSTEM + 0x10, _SYSTEM + 0x14, _SYSTEM + 0x18
_ENABLE, _INTERRUPT, _COUNTED = 1 << 0, 1 << 1, 1 << 16  # of SysTick's control register
_SYSTICK_VECTOR = 15
_STATUS, _FULL, _ARRIVED = 0x04, 1, 2  # of the UART
_SLICE = 1 << 20  # instructions at the most between two looks at whether to stop
_NANOSECONDS = 1_000_000_000
_REGISTERS = ("r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "sp", "lr", "pc", "xpsr")
_CAUSES = {1: "undefined instruction", 2: "SVC without a handler", 3: "bad jump", 4: "bad access", 7: "breakpoint"}


class Uart(Protocol):
    """The other end of the wire."""

    def take(self) -> int | None:
        """Return the byte that has come, and is taken by that; None where there is none."""
        ...

    def peek(self) -> bool:
        """Whether a byte has come."""
        ...

    def give(self, byte: int) -> None:
        """Send a byte."""
        ...


@dataclass
class _SysTick:
    """The system timer; ``begun`` is the tick at which its counter stood at 0 last, before it counts down."""

    hz: int
    control: int = 0
    reload: int = 0
    begun: int = 0
    wraps: int = 0  # that have been seen by an interrupt, or would have been

    def ticks(self, time_ns: int) -> int:
        return time_ns * self.hz // _NANOSECONDS

    def value(self, time_ns: int) -> int:
        """Return what the counter shows."""
        elapsed = self.ticks(time_ns) - self.begun
        if not self.control & _ENABLE or elapsed <= 0:
            return 0
        return self.reload - (elapsed - 1) % (self.reload + 1)

    def due(self) -> int | None:
        """Return when the counter runs out next, in nanoseconds; None where nobody wants to know."""
        if not self.control & _ENABLE or not self.control & _INTERRUPT or not self.reload:
            return None
        tick = self.begun + (self.wraps + 1) * (self.reload + 1)
        return -(-tick * _NANOSECONDS // self.hz)


class CortexM:
    """A processor with its memories. ``run`` until ``stop``, or until it faults: EmulatorError with its registers.

    EmulatorError for a program that the board's memories do not hold, BuildError for what is none.
    """

    def __init__(self, elf: Path, board: Board, uart: Uart) -> None:
        assert board.cpu is not None and board.flash is not None and board.ram is not None and board.uart is not None
        self._idle_ns = 0  # emulated time that passed without instructions
        self._uart = uart
        self._systick = _SysTick(board.clock_hz)
        self._count = self._due = 0
        self._block = self._block_size = 0
        self._stopping = False
        self._fault = ""
        self._lengths: dict[tuple[int, int], int] = {}
        self._core = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        self._core.ctl_set_cpu_model(getattr(arm_const, str(board.cpu.unicorn)))
        try:
            self._load(elf, board)
        except unicorn.UcError as error:
            raise EmulatorError(
                f"{elf} cannot be loaded to {board.name} in Unicorn: {error}",
                "is it built for this board? Its file says where the memories lie",
            ) from error
        self._vectors = board.flash.origin
        self._core.hook_add(unicorn.UC_HOOK_BLOCK, self._on_block)
        self._core.hook_add(unicorn.UC_HOOK_INTR, self._on_exception)
        self._core.hook_add(unicorn.UC_HOOK_MEM_READ, self._on_system_read, None, _SYSTICK_CONTROL, _SYSTICK_VALUE + 3)
        self._core.hook_add(unicorn.UC_HOOK_MEM_WRITE, self._on_system_write, None, _SYSTEM, _SYSTEM + PAGE - 1)

    def _load(self, elf: Path, board: Board) -> None:
        """Map what a board has, and put the program there."""
        assert board.flash is not None and board.ram is not None and board.uart is not None
        for memory in (board.flash, board.ram, *(Memory(page, PAGE) for page in SYSTEM_PAGES)):
            self._core.mem_map(memory.origin, -(-memory.size // PAGE) * PAGE)
        self._core.mmio_map(board.uart.base, PAGE, self._uart_read, None, self._uart_write, None)
        with open_elf(elf) as program:
            for segment in program.iter_segments("PT_LOAD"):
                self._core.mem_write(segment["p_paddr"], segment.data())
        if word := seed(elf):
            self._core.mem_write(word[0], struct.pack("<I", word[1]))

    @property
    def instructions(self) -> int:
        """How many have been executed, those of the block that is being executed included."""
        return self._count

    def register(self, name: str) -> int:
        """Return a register by its name, such as "r0"."""
        return int(self._core.reg_read(getattr(arm_const, f"UC_ARM_REG_{name.upper()}")))

    def watch(self, address: int, call: Callable[[int], None]) -> None:
        """Have ``call`` told how many instructions came before each time that the function at ``address`` begins."""

        def entered(core: Any, at: int, size: int, data: Any) -> None:
            call(self._count - self._length(at, size))

        at = address & ~1
        self._core.hook_add(unicorn.UC_HOOK_BLOCK, entered, None, at, at)

    def stop(self) -> None:
        """Have ``run`` return soon; from any thread."""
        self._stopping = True
        self._due = 0

    def rest(self, nanoseconds: int) -> None:
        """Let time pass in which nothing is executed; from what the UART is asked."""
        self._idle_ns += nanoseconds
        self._due = 0

    def run(self) -> None:
        """Run from reset until ``stop``; EmulatorError where the processor faults."""
        stack, at = struct.unpack("<II", self._core.mem_read(self._vectors, 8))
        self._core.reg_write(arm_const.UC_ARM_REG_SP, stack)
        interrupted: list[Any] = []  # what was running when the interrupt came
        self._plan()
        while not self._stopping:
            self._emulate(at)
            at = self.register("pc")
            if at == _RETURN:
                self._core.context_restore(interrupted.pop())
                at = self.register("pc")
            elif not interrupted and self._is_due() and not self.register("primask"):
                self._systick.wraps += 1
                interrupted.append(self._core.context_save())
                at = self._enter(_SYSTICK_VECTOR)
            self._plan()

    def _emulate(self, at: int) -> None:
        """Run until something is to be looked at."""
        try:
            self._core.emu_start(at | 1, _RETURN)
        except unicorn.UcError as error:
            self._fault = self._fault or str(error)
        if self._fault:
            pairs = (f"{name} {self.register(name):#010x}" for name in _REGISTERS)
            raise EmulatorError(
                f"the program died after {self._count:,} instructions: {self._fault}; {', '.join(pairs)}",
                "arm-none-eabi-addr2line -e firmware.elf says where pc and lr are",
            )

    def _enter(self, vector: int) -> int:
        """Put an exception's frame on the stack and return where its handler begins."""
        frame = [self.register(name) for name in ("r0", "r1", "r2", "r3", "r12", "lr", "pc", "xpsr")]
        top = (self.register("sp") & ~7) - 4 * len(frame)
        self._core.mem_write(top, struct.pack("<8I", *frame))
        self._core.reg_write(arm_const.UC_ARM_REG_SP, top)
        self._core.reg_write(arm_const.UC_ARM_REG_LR, _RETURN | 1)
        (handler,) = struct.unpack("<I", self._core.mem_read(self._vectors + 4 * vector, 4))
        return int(handler)

    def _time(self, instructions: int) -> int:
        """Return the emulated time after so many instructions, in nanoseconds."""
        return instructions * INSTRUCTION_NS + self._idle_ns

    def _is_due(self) -> bool:
        due = self._systick.due()
        return due is not None and self._time(self._count) >= due

    def _plan(self) -> None:
        """Set after how many instructions to look up from running."""
        due = self._systick.due()
        self._due = self._count + _SLICE
        if due is not None:
            self._due = min(self._due, max(self._count + 1, -(-(due - self._idle_ns) // INSTRUCTION_NS)))

    def _on_block(self, core: Any, at: int, size: int, data: Any) -> None:
        """Count a block's instructions, or stop before it where there is something to look at."""
        if self._count >= self._due:
            core.emu_stop()
            return
        self._block, self._block_size = at, size
        count = self._lengths.get((at, size))
        self._count += self._length(at, size) if count is None else count

    def _length(self, at: int, size: int) -> int:
        """Return how many instructions a block has: those of 32 bits begin with 0b111 and no 00 behind it."""
        known = self._lengths.get((at, size))
        if known is None:
            code = struct.unpack(f"<{size // 2}H", self._core.mem_read(at, size))
            known, place = 0, 0
            while place < len(code):
                place += 2 if code[place] >> 11 in {0x1D, 0x1E, 0x1F} else 1
                known += 1
            self._lengths[at, size] = known
        return known

    def _on_exception(self, core: Any, number: int, data: Any) -> None:
        self._fault = _CAUSES.get(number, f"exception {number}")
        core.emu_stop()

    def _on_system_read(self, core: Any, access: int, address: int, size: int, value: int, data: Any) -> None:
        """Put what a register of SysTick shows where the program is about to read it."""
        done = self._length(self._block, self.register("pc") - self._block) + 1  # that of the block, this one included
        time = self._time(self._count - self._length(self._block, self._block_size) + done)
        shown = self._systick.value(time) if address == _SYSTICK_VALUE else None
        if shown is not None:
            core.mem_write(address, struct.pack("<I", shown))

    def _on_system_write(self, core: Any, access: int, address: int, size: int, value: int, data: Any) -> None:
        timer = self._systick
        if address == _SYSTICK_CONTROL:
            timer.control = value
        elif address == _SYSTICK_RELOAD:
            timer.reload = value & 0xFFFFFF
        if address in {_SYSTICK_CONTROL, _SYSTICK_VALUE}:
            timer.begun, timer.wraps = timer.ticks(self._time(self._count)), 0
        self._due = 0  # the plan has changed

    def _uart_read(self, core: Any, offset: int, size: int, data: Any) -> int:
        if offset == _STATUS:
            return _ARRIVED if self._uart.peek() else 0
        return (self._uart.take() or 0) if offset == 0 else 0

    def _uart_write(self, core: Any, offset: int, size: int, value: int, data: Any) -> None:
        if offset == 0:
            self._uart.give(value & 0xFF)
