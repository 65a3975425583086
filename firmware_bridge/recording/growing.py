"""A file that holds whole pieces only, however full the disk."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from firmware_bridge.errors import RecordingError


class GrowingFile:
    """A file to which pieces are added; one that the disk does not take whole is cut off again.

    RecordingError where it cannot be opened, and where a piece cannot be added: from then on nothing is.
    """

    def __init__(self, path: str | Path, mode: str) -> None:
        self._path = path
        try:
            self._file = Path(path).open(mode, buffering=0)  # noqa: SIM115  closed by `close`
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            why = error.strerror if isinstance(error, OSError) else error
            raise RecordingError(f"cannot write {path}: {why}", "check the folder and the disk") from error
        self.size = self._file.seek(0, os.SEEK_END) if self._file.seekable() else 0

    def append(self, piece: bytes) -> None:
        """Add a piece to the file; all of it or nothing."""
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self.cut(self.size)
            raise stopped(self._path, error) from error
        self.size += len(piece)

    def cut(self, size: int) -> None:
        """Take away what is behind the first ``size`` bytes."""
        with suppress(OSError):  # a device holds nothing
            self._file.truncate(size)
            self._file.seek(size)
        self.size = size

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def stopped(path: str | Path, error: OSError) -> RecordingError:
    """Return the error that says why a recording ends."""
    return RecordingError(
        f"cannot record to {path} any more: {error.strerror}",
        "what it holds is readable; make room on the disk, or record to another one",
    )
