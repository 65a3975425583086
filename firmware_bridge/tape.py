"""The recording that goes with watching: begun and ended at any time, and no reason to stop watching when it fails."""

from __future__ import annotations

from pathlib import Path

from firmware_bridge.errors import RecordingError
from firmware_bridge.recording import Recorder, open_recorder
from firmware_bridge.session import Event


class Tape:
    """The recording of what is shown, if there is one; it ends where the disk is full, and watching goes on.

    ``path`` is the file while it is recorded to, else "". ``failure`` is why the last recording ended early.
    ``source`` is a file that is being read, and therefore not to be recorded to.
    """

    def __init__(self, path: str | None, source: str | None = None) -> None:
        self.path = ""
        self._source = source
        self.failure: RecordingError | None = None
        self._recorder: Recorder | None = None
        if path:
            self.begin(path)

    def begin(self, path: str) -> None:
        """Record to a file from now on; RecordingError where that cannot be."""
        if self._source is not None and Path(path).exists() and Path(path).samefile(self._source):
            raise RecordingError(f"cannot record to {path}: it is being played", "name another file")
        self.close()
        self._recorder = open_recorder(path)
        self.path, self.failure = path, None

    def write(self, event: Event, when: float | None = None) -> None:
        """Record one event, which came at Unix time ``when`` (now, unless said otherwise); once that failed, none."""
        if self._recorder is None:
            return
        try:
            self._recorder.write(event, when)
        except RecordingError as error:
            self.close()
            self.failure = error

    def close(self) -> None:
        """Finish the file."""
        recorder, self._recorder, self.path = self._recorder, None, ""
        if recorder is None:
            return
        try:
            recorder.close()
        except RecordingError as error:
            self.failure = error
