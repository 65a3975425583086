"""Who has a serial port open: what Linux tells of it under ``/proc``, and nothing elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_MAX_COMMAND = 100  # characters


@dataclass(frozen=True)
class Holder:
    """A process that has a port open; ``command`` is its command line, cut short and printable.

    ``locked`` tells that it has locked the port against others, as both ends of the link do.
    """

    pid: int
    command: str
    locked: bool

    def __str__(self) -> str:
        return f"`{self.command}` (pid {self.pid})"


def holders(port: str, proc: Path = _PROC) -> tuple[Holder, ...]:
    """Return the processes that have the device file ``port`` open, those that have locked it first.

    Open files of another user's processes are for root to see; a lock is seen by all. A port that is no file, such as
    ``socket://``, has no holders, nor has any on systems without ``/proc``.
    """
    try:
        path = Path(port).resolve(strict=True)
        status = path.stat()
    except (OSError, ValueError):
        return ()
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    locked = set(_lockers(proc, place))
    others = set(_openers(proc, str(path))) - locked
    return tuple(Holder(pid, _command(proc, pid), pid in locked) for pid in (*sorted(locked), *sorted(others)))


def _lockers(proc: Path, place: str) -> Iterator[int]:
    """Yield who holds a lock (flock) on the file with these device numbers and inode."""
    try:
        lines = (proc / "locks").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:  # 1: FLOCK  ADVISORY  WRITE 1234 00:18:5 0 EOF
        match line.split():
            case [_, "FLOCK", _, _, pid, where, *_] if where == place and int(pid) > 0:  # 0: not in our namespace
                yield int(pid)


def _openers(proc: Path, path: str) -> Iterator[int]:
    """Yield which processes have ``path`` open, as far as we may know."""
    for process in proc.glob("[0-9]*"):
        if path in _open_files(process):
            yield int(process.name)


def _open_files(process: Path) -> Iterator[str]:
    """Yield what a process has open, by name: to follow them could mean to wait for a file system that is gone."""
    with suppress(OSError):  # another user's process, or it has ended
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):  # closed since
                yield str(descriptor.readlink())


def _command(proc: Path, pid: int) -> str:
    try:
        words = (proc / str(pid) / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return "?"  # it has ended
    line = "".join(c if c.isprintable() else " " for c in words).strip()
    return line if len(line) <= _MAX_COMMAND else f"{line[:_MAX_COMMAND]}..."
