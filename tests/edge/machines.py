"""What Linux shows of a machine under /proc, /sys, /dev and /run, made up below a folder of a test's own."""

from __future__ import annotations

import os
from pathlib import Path

CORTEX_A72 = "".join(
    f"processor\t: {core}\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU part\t: 0xd08\n\n" for core in range(4)
)
MEMINFO = "MemTotal:        3885396 kB\nMemFree:          212000 kB\nMemAvailable:    3151872 kB\n"
SOMEBODY = 12345  # a user who owns nothing here


class Machine:
    """A Raspberry Pi 4 with nothing wrong, to which a test adds what it wants."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
        self.write("proc/cpuinfo", CORTEX_A72)
        self.write("proc/meminfo", MEMINFO)
        self.write("proc/cmdline", "coherent_pool=1M console=tty1 root=PARTUUID=1 rootwait\n")
        self.write("proc/locks", "")
        self.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
        self.write("sys/class/thermal/thermal_zone0/temp", "48312\n")
        self.write("sys/devices/platform/soc/soc:firmware/get_throttled", "0\n")
        self.write("sys/devices/system/clocksource/clocksource0/current_clocksource", "arch_sys_counter\n")
        self.write("etc/group", f"audio:x:29:\ndialout:x:{os.getegid()}:ann\n")
        self.cores("ondemand")

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def cores(self, governor: str, now: int = 600_000, allowed: int = 1_500_000) -> None:
        for core in range(4):
            folder = f"sys/devices/system/cpu/cpu{core}/cpufreq"
            for name, value in (
                ("scaling_governor", governor),
                ("scaling_cur_freq", now),
                ("scaling_max_freq", allowed),
                ("cpuinfo_max_freq", 1_500_000),
            ):
                self.write(f"{folder}/{name}", f"{value}\n")

    def process(self, pid: int, *command: str, opened: str = "", terminal: int = 0) -> None:
        name = Path(command[0]).name
        self.write(f"proc/{pid}/comm", f"{name[:15]}\n")
        self.write(f"proc/{pid}/cmdline", "\0".join(command) + "\0")
        self.write(f"proc/{pid}/stat", f"{pid} ({name}) S 1 {pid} {pid} {terminal} -1 4194304 0\n")
        (self.root / f"proc/{pid}/fd").mkdir()
        if opened:
            (self.root / f"proc/{pid}/fd/3").symlink_to(self.root / opened[1:])

    def uart(self, name: str, number: str = "204:64", mode: int = 0o660) -> None:
        """A port of the processor's own."""
        self.write(f"dev/{name}", "").chmod(mode)
        self.write(f"sys/class/tty/{name}/dev", f"{number}\n")

    def usb(self, name: str, vendor: str, product: str, words: str, number: str = "166:0", mode: int = 0o660) -> None:
        """A port on USB, with the device behind it."""
        maker, _, what = words.partition(" ")
        device = self.root / "sys/devices/usb1" / f"1-{name}"
        for file, value in (("idVendor", vendor), ("idProduct", product), ("manufacturer", maker), ("product", what)):
            self.write(f"sys/devices/usb1/1-{name}/{file}", f"{value}\n")
        self.write(f"sys/devices/usb1/1-{name}/dev", "189:5\n")
        (device / "interface").mkdir()
        self.uart(name, number, mode)
        (self.root / f"sys/class/tty/{name}/device").symlink_to(device / "interface")
