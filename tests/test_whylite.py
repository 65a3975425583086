"""The command `whylite` itself: what it says when it is asked for no subcommand."""

from __future__ import annotations

import sys
from importlib.metadata import version

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
