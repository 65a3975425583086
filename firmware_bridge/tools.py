"""The programs and packages that microcontrollers take: what each is for, whether it is here, and where it is from."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass

_MICRO = "pip install 'whylite[micro]'"


@dataclass(frozen=True)
class Tool:
    """One of ``programs``, or the Python package ``package``."""

    name: str
    serves: str
    install: str
    programs: tuple[str, ...] = ()
    package: str = ""

    @property
    def there(self) -> bool:
        """Whether it is installed."""
        if self.package:
            return importlib.util.find_spec(self.package) is not None
        return any(map(shutil.which, self.programs))


GCC = Tool("GCC", "compiling firmware", "apt-get install gcc-arm-none-eabi", ("arm-none-eabi-gcc",))
ZIG = Tool("Zig", "compiling firmware, where there is no GCC", _MICRO, package="ziglang")
ELF = Tool("pyelftools", "reading what was compiled", _MICRO, package="elftools")
QEMU = Tool("QEMU", "the boards qemu-...", "apt-get install qemu-system-arm", ("qemu-system-arm",))
UNICORN = Tool("Unicorn", "the boards unicorn-...", _MICRO, package="unicorn")
GDB = Tool("GDB", "whylite flash --way gdb", "apt-get install gdb-multiarch", ("arm-none-eabi-gdb", "gdb-multiarch"))
TFLM = Tool(
    "TensorFlow Lite Micro",
    "whylite export --target micro, which compares with it",
    "pip install --pre 'whylite[micro]' on x86-64 Linux",
    package="tflite_micro",
)
TOOLS = (GCC, ZIG, ELF, QEMU, UNICORN, GDB, TFLM)
