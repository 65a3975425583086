"""The command `whylite` itself: what it says when it is asked for no subcommand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import version

import pytest

import whylite
from edge.bundle import write_whole


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


def test_what_has_firmware_to_compile_first_is_interrupted_while_it_is_imported(tmp_path):
    (tmp_path / "told.py").write_text(f"import os\nos.kill(os.getpid(), {signal.SIGINT:d})\nwhile True: pass\n")
    code = "import sys, whylite; whylite._ON_A_BOARD = 'told'; sys.exit(whylite.main(['run', '--board', 'any']))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"error: interrupted\n")


def command(tmp_path, module, **options):
    """Start `whylite doctor` as if ``module`` were its code."""
    (tmp_path / "theirs.py").write_text(module)
    code = "import sys, whylite; whylite.COMMANDS['doctor'] = ('theirs', ''); sys.exit(whylite.main(['doctor']))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, text=True, stderr=subprocess.PIPE, **options)


@pytest.mark.parametrize(
    "said",
    ["print('x' * 100_000)", "print('x')", "print('x', flush=True)", "print('x'); sys.exit(2)"],
    ids=["much", "little", "at once", "before it exits itself"],
)
def test_who_has_seen_enough_of_the_output_may_leave(tmp_path, said):
    """The reader has gone before anything is written, as `head` has sooner or later."""
    reader, writer = os.pipe()
    os.close(reader)
    process = command(tmp_path, f"import sys\ndef main(argv):\n    {said}\n    return 1\n", stdout=writer)
    os.close(writer)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


def test_the_first_line_of_the_boards_is_one_line():
    line = f"set -o pipefail; {sys.executable} -m whylite boards | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("board ")


def test_an_interrupted_command_says_so_and_no_more(tmp_path):
    module = "def main(argv):\n    print('at work', flush=True)\n    while True: pass\n"
    process = command(tmp_path, module, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "at work\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "error: interrupted\n")


@pytest.mark.parametrize("files", [[], ["whylite_mine.c"]], ids=["a new folder", "a folder with something in it"])
def test_c_that_is_written_when_it_is_interrupted_is_taken_back(tmp_path, files, monkeypatch):
    from export.c import cli

    folder = tmp_path / "c"
    for file in files:
        folder.mkdir(exist_ok=True)
        (folder / file).write_text("mine")
    written = []

    def stopped(path, data):
        write_whole(path, data)
        written.append(path)
        if len(written) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli, "write_whole", stopped)
    emitted = cli.Emitted("m", {f"{name}.c": b"int x;" for name in "abc"}, "", 0, 0, ())
    monkeypatch.setattr(cli, "_emitted", lambda path, name: emitted)
    assert whylite.main(["emit", "m.tflite", "-o", str(folder)]) == 130
    assert len(written) == 2
    assert [path.name for path in folder.glob("*")] == files
    assert folder.exists() == bool(files)
