"""The command `whylite` itself: what it says when it is asked for no subcommand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import version

import pytest

import whylite


def test_it_says_its_version(capsys):
    assert whylite.main(["--version"]) == 0
    assert capsys.readouterr().out == f"whylite {version('whylite')}\n"


def test_usage_names_every_command_and_the_version(capsys):
    assert whylite.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in whylite.COMMANDS)
    assert "whylite --version" in shown


def test_a_missing_package_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "serial", None)  # as if it were not there
    for module in ("edge.wire.port", "edge.doctor.ports", "edge.doctor.cli"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    assert whylite.main(["doctor"]) == 2
    assert capsys.readouterr().err.startswith("error: serial is not installed\n  hint: pip install whylite")


def test_what_is_no_command_is_refused_with_the_usage(capsys):
    for arguments in ([], ["explode"], ["--version", "please"]):
        assert whylite.main(arguments) == 2
        assert whylite.usage() in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_runs_until_it_is_told_to_end_may_be_told_so_while_it_is_imported(tmp_path, number):
    (tmp_path / "told.py").write_text(f"import os\nos.kill(os.getpid(), {number:d})\nwhile True: pass\n")
    code = "import sys, whylite; whylite.COMMANDS['monitor'] = ('told', ''); sys.exit(whylite.main(['monitor']))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
