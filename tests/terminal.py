"""A real terminal around a command: tmux, driven by its keys and read by what stands on its screen."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path


class Terminal:
    """A detached tmux of its own server that runs ``command``; ``environment`` is added to ours."""

    def __init__(
        self, command: Sequence[str], folder: Path, columns: int = 80, lines: int = 24, **environment: str
    ) -> None:
        self._socket = str(Path(folder) / "tmux")
        # Once the command has ended its screen stays, with its exit code; Ctrl-C is the command's.
        shown = f"trap : INT; {shlex.join(command)}; echo exit code $?; exec sleep 600"
        size = ["-x", str(columns), "-y", str(lines)]
        kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "TMUX", "NO_COLOR", "LC_ALL")}
        settings = [f"{name}={value}" for name, value in environment.items()]
        self._tmux(
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-s",
            "test",
            *size,
            shlex.join(["env", *settings, "sh", "-c", shown]),
            environment={**kept, "LANG": "C.UTF-8", "TERM": "xterm-256color"},
        )

    def text(self) -> str:
        """Return what stands on the screen now."""
        return self._tmux("capture-pane", "-p", "-t", "test")

    def escapes(self) -> str:
        """Return the same with its colours and other attributes, as escape sequences."""
        return self._tmux("capture-pane", "-p", "-e", "-t", "test")

    def type(self, *keys: str) -> None:
        """Press keys, by tmux's names for them."""
        self._tmux("send-keys", "-t", "test", *keys)

    def resize(self, columns: int, lines: int) -> None:
        """Make the terminal another size."""
        self._tmux("resize-window", "-t", "test", "-x", str(columns), "-y", str(lines))

    def wait(self, condition: Callable[[str], object], seconds: float = 60.0) -> str:
        """Wait until a condition holds of the screen, and return that; fail, showing it, if it never does."""
        end = time.monotonic() + seconds
        while not condition(shown := self.text()):
            assert time.monotonic() < end, f"waited {seconds} s in vain; on the screen stands\n{shown}"
            time.sleep(0.05)
        return shown

    def close(self) -> None:
        """End the command and its terminal."""
        subprocess.run(["tmux", "-S", self._socket, "kill-server"], check=False, capture_output=True)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tmux(self, *arguments: str, environment: dict[str, str] | None = None) -> str:
        command = ["tmux", "-S", self._socket, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
