"""What is wrong with serial ports: who may use them, who holds them, who else talks on them."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from edge.doctor.finding import Finding, Level
from edge.doctor.serial_ports import (
    Access,
    Person,
    SerialPort,
    access,
    aliases,
    owner_of,
    process,
    serial_ports,
    terminal_user,
    udev_properties,
)
from edge.errors import LinkError
from edge.holders import holders
from edge.vitals import read
from edge.wire.port import Port

_SECTION = "serial ports"
_RULES = "/etc/udev/rules.d/60-whylite.rules"
_BOOT = "/boot/firmware/cmdline.txt"  # of a Raspberry Pi
_TCGETS2, _TERMIOS2 = 0x802C542A, struct.Struct("=4I B19s 2I")  # Linux on x86 and Arm
_PTY = "a pseudo-terminal"
_PTYS = range(136, 144)  # major numbers, on every Linux
_OFF = 0.02  # of the baud rate: beyond some two hundredths, bits at the end of a byte are read wrongly


def examine(root: Path, person: Person) -> Iterator[Finding]:
    """Yield what there is to say of every serial port, without opening one."""
    ports = serial_ports(root)
    usable = [port for port in ports if access(root / port.device[1:], person, root).allowed]
    if not ports:
        advice = "plug the board in, or enable its UART; ptys and socket://HOST:PORT need none"
        yield Finding(_SECTION, Level.NOTE, "there are no serial ports here", advice)
    for port in ports:
        found = list(_wrong(port, root, person, worst=Level.WARNING if usable else Level.PROBLEM))
        yield from found or [Finding(_SECTION, Level.OK, f"{_title(port)}: free, and you may use it")]
    yield from _gadget(root, ports)


def look_closer(url: str, baud: int, root: Path, person: Person) -> Iterator[Finding]:
    """Yield what there is to say of one port; where nothing stands in the way, it is opened for a moment."""
    device = _device(url, root)
    if device is None:
        yield from _opens(url, baud, device=False)
        return
    path = root / device[1:]
    if not path.exists():
        there = ", ".join(port.device for port in serial_ports(root)) or "none"
        yield Finding(_SECTION, Level.PROBLEM, f"{url} is not there", f"the serial ports here: {there}")
        return
    port = next((port for port in serial_ports(root) if port.device == device), None) or _unlisted(device, path, root)
    if port is None:
        advice = "name the device file of a serial port, such as /dev/ttyACM0"
        yield Finding(_SECTION, Level.PROBLEM, f"{url} is no serial port and no terminal", advice)
        return
    found = list(_wrong(port, root, person, worst=Level.PROBLEM))
    yield from found or [Finding(_SECTION, Level.OK, f"{_title(port)}: free, and you may use it")]
    if not any(finding.level is Level.PROBLEM for finding in found):
        yield from _opens(str(path), baud, device=True)


def _unlisted(device: str, path: Path, root: Path) -> SerialPort | None:
    """Return what a terminal is that has no hardware behind it; None for what is no terminal."""
    status = path.stat()
    if not stat.S_ISCHR(status.st_mode):
        return None
    if os.major(status.st_rdev) in _PTYS:
        return SerialPort(device, _PTY)
    terminals = root / "sys/class/tty"
    known = (terminals / path.resolve().name).exists() or not terminals.exists()
    return SerialPort(device, "no serial port that the kernel knows of") if known else None


def _device(url: str, root: Path) -> str | None:
    """Return the device file that a port's name stands for, None for a port that is no file, such as a socket."""
    if "://" in url:
        return None
    path = root / url.lstrip("/") if url.startswith("/") else Path(url)
    return f"/dev/{path.resolve().name}" if path.is_symlink() and path.parent == root / "dev" else url


def _title(port: SerialPort) -> str:
    return f"{port.device} ({port.kind})"


def _wrong(port: SerialPort, root: Path, person: Person, worst: Level) -> Iterator[Finding]:
    """Yield what keeps someone from using a port, at most as bad as ``worst``."""
    path = root / port.device[1:]
    allowed = access(path, person, root)
    if not allowed.allowed:
        yield _forbidden(port, allowed, person, worst, owner_of(path))
    terminal_of = terminal_user(port.device, root)
    for holder in holders(str(path), root / "proc"):
        if terminal_of is not None and holder.pid == terminal_of[0]:
            continue  # told below
        # Its user may well know: it is only bad if this port is the one that is wanted.
        level = Level.NOTE if worst is Level.WARNING else worst
        advice = "only one program can use it: end that one first"
        yield Finding(_SECTION, level, f"{port.device} is in use by {holder}", advice, f"kill {holder.pid}")
    yield from _console(port, root, worst)
    yield from _modem_manager(port, root)


def _forbidden(port: SerialPort, found: Access, person: Person, level: Level, owner: str) -> Finding:
    what = f"{_title(port)}: you, {person.name}, may not use it"
    if port.kind == _PTY:  # made anew with every program that opens one: groups and rules do not last
        advice = f"it belongs to {owner}: run both ends as one user, {owner} or yourself"
        return Finding(_SECTION, level, what, advice)
    if found.joined:
        advice = f"you have joined the group {found.group} since you logged in: log in again, or for one shell:"
        return Finding(_SECTION, level, what, advice, f"newgrp {found.group}")
    if found.group:
        advice = f"members of the group {found.group} may; join it, then log in again:"
        return Finding(_SECTION, level, what, advice, f"sudo usermod -aG {found.group} {person.name}")
    rule = f'KERNEL=="{Path(port.device).name}", GROUP="dialout", MODE="0660"'
    return Finding(_SECTION, level, what, "no group may: give it to one", _add_rule(rule))


def _console(port: SerialPort, root: Path, worst: Level) -> Iterator[Finding]:
    """Tell of a login prompt or the kernel's messages on a port."""
    name = Path(port.device).name
    names = {name, *(alias for alias, stands_for in aliases(root).items() if stands_for == name)}
    owner = terminal_user(port.device, root)
    if owner is not None:
        pid, program = owner
        command = f"sudo systemctl disable --now serial-getty@{name}.service"
        yield Finding(_SECTION, worst, f"{port.device} is a terminal for `{program}` (pid {pid})", "end it:", command)
    for word in (read(root / "proc/cmdline") or "").split():
        if word.startswith("console=") and word.removeprefix("console=").partition(",")[0] in names:
            what = f"{port.device} has the kernel's messages on it ({word})"
            if (root / _BOOT[1:]).exists():
                edit = f"sudo sed -i -E 's/console=(serial0|{name}),[0-9]+ *//' {_BOOT}"
                yield Finding(_SECTION, worst, what, "take them off it, then reboot:", edit)
            else:
                yield Finding(_SECTION, worst, what, f"take {word} out of the kernel's command line, and reboot")


def _modem_manager(port: SerialPort, root: Path) -> Iterator[Finding]:
    """Tell of ModemManager where it writes AT commands into a new port to see whether it is a modem."""
    running = process("ModemManager", root)
    if not running or not port.device.startswith("/dev/ttyACM"):
        return
    properties = udev_properties(port.device, root)
    if "1" in {properties.get("ID_MM_DEVICE_IGNORE"), properties.get("ID_MM_PORT_IGNORE")}:
        return
    numbers = f'ATTRS{{idVendor}}=="{port.vendor}", ATTRS{{idProduct}}=="{port.product}"'
    what = f"{port.device}: ModemManager (pid {running}) tries out whether it is a modem, for seconds after it appears"
    rule = f'{numbers}, ENV{{ID_MM_DEVICE_IGNORE}}="1"'
    yield Finding(_SECTION, Level.WARNING, what, "keep it away, then plug in again:", _add_rule(rule))


def _gadget(root: Path, ports: list[SerialPort]) -> Iterator[Finding]:
    """Tell of a USB socket that could be, or is, a serial port to a host."""
    sockets = sorted((root / "sys/class/udc").glob("*"))
    is_port = any(port.device.startswith("/dev/ttyGS") for port in ports)
    if sockets and not is_port:
        what = "this board's USB socket could be a serial port to a host, and is none"
        yield Finding(_SECTION, Level.NOTE, what, "until the next boot:", "sudo modprobe g_serial")
    elif is_port and all(read(socket / "state") == "not attached" for socket in sockets):
        advice = "plug it in, into the USB socket that carries data"
        yield Finding(_SECTION, Level.NOTE, "no host is attached to this board's USB socket", advice)


def _opens(url: str, baud: int, *, device: bool) -> Iterator[Finding]:
    """Open a port as both ends of the link do, and tell whether it runs at the rate asked for."""
    try:
        with Port(url, baud):
            rate = _rate(url) if device else None
    except LinkError as error:
        yield Finding(_SECTION, Level.PROBLEM, error.cause, error.hint)
        return
    if rate is not None and abs(rate - baud) > _OFF * baud:
        advice = "use a rate that it has, the same on both ends: --baud 115200 is one"
        yield Finding(_SECTION, Level.PROBLEM, f"{url} runs at {rate} baud where {baud} were asked for", advice)
    else:
        yield Finding(_SECTION, Level.OK, f"{url} opens" + (f" at {rate} baud" if rate else ""))


def _rate(device: str) -> int | None:
    """Return the baud rate that a driver has made of the one that was set; None where it does not tell."""
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        settings = fcntl.ioctl(descriptor, _TCGETS2, bytes(_TERMIOS2.size))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return int(_TERMIOS2.unpack(settings)[-1])


def _add_rule(rule: str) -> str:
    """Return the command that adds a rule of udev's."""
    return f"echo '{rule}' | sudo tee -a {_RULES} && sudo udevadm control --reload && sudo udevadm trigger"
