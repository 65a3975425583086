"""The serial ports that Linux knows of, and what it tells of each. Nothing is opened: that could reset a board."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from edge.vitals import read

_REAL = re.compile(r"tty(S|USB|ACM|AMA|GS|XRUSB|SC|mxc|PS|O|HS|THS|LP|STM|SAC|UL)\d+$|rfcomm\d+$")

_BY_GROUP = stat.S_IRGRP | stat.S_IWGRP


@dataclass(frozen=True)
class Person:
    """Who asks: a user's number, name, and the groups that this login has."""

    uid: int
    name: str
    groups: frozenset[int]

    @classmethod
    def here(cls) -> Person:
        """Return who runs this process."""
        uid = os.geteuid()
        return cls(uid, _user(uid), frozenset({os.getegid(), *os.getgroups()}))


@dataclass(frozen=True)
class SerialPort:
    """One port: its device file, what is behind it, and for USB the vendor's and product's numbers (hexadecimal)."""

    device: str
    kind: str
    vendor: str = ""
    product: str = ""


@dataclass(frozen=True)
class Access:
    """Whether someone may read and write a device file, and if not, by which group; "" if by none."""

    allowed: bool
    group: str = ""
    joined: bool = False  # the user is in that group by now, though this login is not


def serial_ports(root: Path) -> list[SerialPort]:
    """Return the ports with hardware, or a USB gadget, behind them."""
    found = []
    for entry in sorted((root / "sys/class/tty").glob("*"), key=lambda path: _natural(path.name)):
        # A PC has places for four UARTs; type 0 is one with none in it.
        empty = entry.name.startswith("ttyS") and read(entry / "type") == "0"
        if _REAL.match(entry.name) and not empty and (root / "dev" / entry.name).exists():
            found.append(_port(entry))
    return found


def aliases(root: Path) -> dict[str, str]:
    """Return the board's other names of ports, such as serial0, and the names of what they stand for."""
    return {path.name: path.resolve().name for path in (root / "dev").glob("serial[0-9]") if path.is_symlink()}


def access(device: Path, person: Person, root: Path) -> Access:
    """Return whether ``person`` may use a device file; OSError where there is none."""
    status = device.stat()
    group, members = _group(status.st_gid, root)
    if person.uid == status.st_uid:
        wanted = stat.S_IRUSR | stat.S_IWUSR
    elif status.st_gid in person.groups:
        wanted = _BY_GROUP
    else:
        wanted = stat.S_IROTH | stat.S_IWOTH
    if person.uid == 0 or status.st_mode & wanted == wanted:
        return Access(allowed=True)
    if status.st_mode & _BY_GROUP != _BY_GROUP or group == "root":
        return Access(allowed=False)
    return Access(allowed=False, group=group, joined=person.name in members)


def owner_of(device: Path) -> str:
    """Return the name of the user that a device file belongs to."""
    return _user(device.stat().st_uid)


def process(name: str, root: Path) -> int | None:
    """Return the number of a process of this name; None where there is none."""
    for folder in (root / "proc").glob("[0-9]*"):
        if read(folder / "comm") == name:
            return int(folder.name)
    return None


def terminal_user(device: str, root: Path) -> tuple[int, str] | None:
    """Return the number and name of a process whose terminal a port is, such as a login prompt; None for none.

    Unlike open files, this is for everybody to see.
    """
    major, _, minor = (read(root / "sys/class/tty" / Path(device).name / "dev") or "").partition(":")
    if not (major.isdigit() and minor.isdigit()):
        return None
    number = int(minor) & 0xFF | int(major) << 8 | (int(minor) & ~0xFF) << 12
    for folder in sorted((root / "proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        name, _, values = (read(folder / "stat") or "").partition("(")[2].rpartition(")")
        if values.split()[4:5] == [str(number)]:
            return int(folder.name), name
    return None


def udev_properties(device: str, root: Path) -> dict[str, str]:
    """Return what udev's rules have set for a port and for the USB device behind it."""
    entry = root / "sys/class/tty" / Path(device).name
    places = [f"c{read(entry / 'dev')}"]
    behind = _usb_device(entry)
    if behind is not None:
        places.append(f"c{read(behind / 'dev')}")
    lines = [line for place in places for line in (read(root / "run/udev/data" / place) or "").splitlines()]
    return dict(line[2:].split("=", 1) for line in lines if line.startswith("E:") and "=" in line)


def _port(entry: Path) -> SerialPort:
    device = f"/dev/{entry.name}"
    if entry.name.startswith("ttyGS"):
        return SerialPort(device, "this board as a USB serial device")
    behind = _usb_device(entry)
    if behind is None:
        return SerialPort(device, "Bluetooth" if entry.name.startswith("rfcomm") else "UART")
    words = [read(behind / "manufacturer"), read(behind / "product")]
    kind = " ".join(word for word in words if word) or "USB"
    printable = "".join(c if c.isprintable() else " " for c in kind)
    return SerialPort(device, printable, read(behind / "idVendor") or "", read(behind / "idProduct") or "")


def _usb_device(entry: Path) -> Path | None:
    """Return the folder of the USB device that a port belongs to."""
    device = (entry / "device").resolve()
    return next((folder for folder in (device, *device.parents) if (folder / "idVendor").exists()), None)


def _user(number: int) -> str:
    """Return a user's name."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # a user of a container
        return str(number)


def _group(number: int, root: Path) -> tuple[str, list[str]]:
    """Return a group's name and its members."""
    for line in (read(root / "etc/group") or "").splitlines():
        match line.split(":"):
            case [name, _, gid, members] if gid == str(number):
                return name, members.split(",")
    try:
        return grp.getgrgid(number).gr_name, []
    except KeyError:
        return str(number), []


def _natural(name: str) -> tuple[str, int]:
    """Return what sorts ttyUSB2 before ttyUSB10."""
    head = name.rstrip("0123456789")
    return head, int(name[len(head) :] or 0)
