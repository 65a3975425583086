import importlib.util
import json
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

import whylite
from firmware_bridge.boards import boards, named
from firmware_bridge.build import build
from firmware_bridge.emulate import start
from firmware_bridge.tools import TOOLS
from tests.bridge.firmware import bundle

BOARD = "unicorn-cortex-m4"


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    bundle().save(folder / "tiny.why")
    np.savez(folder / "x.npz", x=np.eye(4, dtype=np.float32) * 9, y=np.array([0, 1, 2, 0]))
    return folder


def run(room, *arguments, board=BOARD, source="x.npz"):
    command = ["run", "--board", board, str(room / "tiny.why"), "--source", f"npz:{room / source}", *arguments]
    done = subprocess.run(
        [sys.executable, "-m", "whylite", *command], capture_output=True, text=True, check=False, timeout=280
    )
    return done.returncode, done.stdout, done.stderr


def test_windows_of_a_source_are_answered_explained_and_recorded(room, tmp_path):
    code, out, err = run(room, "--json", "--record", str(tmp_path / "session.jsonl"))
    assert (code, err) == (0, "")
    documents = [json.loads(line) for line in out.splitlines()]
    results = [one for one in documents if one["record"] == "result"]
    assert [(one["class_index"], one["truth"]) for one in results] == [(0, 0), (1, 1), (2, 2), (3, 0)]
    assert sum(one["record"] == "map" for one in documents) == 4
    summary = documents[-1]
    assert (summary["windows"], summary["accuracy"], summary["missing_results"]) == (4, 0.75, 0)
    recorded = [json.loads(line)["record"] for line in (tmp_path / "session.jsonl").read_text().splitlines()]
    assert recorded.count("result") == 4


@pytest.mark.parametrize("view", [["--json"], []])
def test_values_beyond_the_input_are_told_of_once_beside_what_comes(room, view):
    np.savez(room / "pixels.npz", x=np.full((2, 4), 255, np.uint8))
    code, out, err = run(room, *view, source="pixels.npz")
    assert code == 0
    assert re.fullmatch(r"window 0: 100\.00% of the values .* from 255 to 255 \(.* raw bytes.*\)\n", err)
    if view:
        assert [json.loads(line) for line in out.splitlines()][-1]["windows"] == 2


def test_plain_lines_say_what_runs_where_and_that_time_is_emulated(room):
    code, out, _ = run(room, "--count", "2", "--explain", "on-request", "--toolchain", "zig", "--optimize", "Os")
    assert code == 0
    assert out.startswith(f"tiny on {BOARD}: ")
    assert "by zig " in out.splitlines()[0]
    assert "32 ns for each instruction" in out
    assert "2 windows, 0 maps" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"board": "qemu-mps2-an999"}, "no board 'qemu-mps2-an999'"),
        ({"board": "nrf52840-dk"}, "nrf52840-dk cannot be emulated: it is a real board"),
        ({"board": "raspberry-pi-5"}, "runs Linux"),
        ({"source": "gone.npz"}, "gone.npz"),
    ],
)
def test_bad_input_is_refused_before_anything_is_built(room, arguments, says):
    code, out, err = run(room, **arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert "hint:" in err


def test_a_method_that_the_firmware_lacks_is_refused_with_those_it_has(room):
    code, _, err = run(room, "--method", "lime")
    assert code == 2
    assert "no method 'lime'" in err
    assert "contrast" in err


def test_firmware_that_runs_already_is_asked_by_its_port(room, tmp_path):
    firmware = build(bundle(), named(BOARD), tmp_path / "firmware")
    with start(firmware.elf, named(BOARD)) as machine:
        for _ in range(2):  # whoever comes second goes on with the numbers of the first
            code, out, _ = run(room, "--port", machine.url, "--json", board="nrf52840-dk")
            results = [one for one in map(json.loads, out.splitlines()) if one["record"] == "result"]
            assert code == 0
            assert [one["class_index"] for one in results] == [0, 1, 2, 3]
        assert [one["sequence"] for one in results] == [4, 5, 6, 7]
        assert machine.failure is None


def test_who_ends_it_before_there_is_an_answer_is_not_told_that_the_source_had_none(room):
    command = [sys.executable, "-m", "whylite", "run", "--board", BOARD, str(room / "tiny.why")]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, "--source", "stdin:?format=float32"], text=True, **streams) as process:
        try:
            said = [process.stdout.readline() for _ in range(3)]
            assert said[2].startswith("session ")  # what the board says is shown from now on
            process.send_signal(signal.SIGINT)
            process.wait(60)  # with the source still there
            assert (process.returncode, process.stderr.read()) == (1, "no window was answered\n")
        finally:
            process.kill()


def test_without_a_board_run_is_the_boards_own():
    done = subprocess.run(
        [sys.executable, "-m", "whylite", "run", "--help"], capture_output=True, text=True, check=False, timeout=280
    )
    assert done.stdout.startswith("usage: whylite run [-h]")
    assert "--wait-host" in done.stdout
    assert "`whylite run --board NAME`" in " ".join(done.stdout.split())


def test_who_names_neither_port_nor_board_is_told_of_both(room, capsys):
    with pytest.raises(SystemExit):
        whylite.main(["run", str(room / "tiny.why"), "--source", f"npz:{room / 'x.npz'}"])
    said = capsys.readouterr().err
    assert "--port PORT is required here" in said
    assert "`whylite run --board NAME`" in said


def test_the_usage_with_a_board_can_be_typed(capsys):
    with pytest.raises(SystemExit):
        whylite.main(["run", "--board", BOARD])
    assert capsys.readouterr().err.startswith("usage: whylite run [-h] --board NAME")


def test_boards_lists_all_with_what_can_be_done(capsys):
    assert whylite.main(["boards", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in listed["boards"]] == list(boards())
    there = {one["name"]: one for one in listed["boards"]}
    assert there["unicorn-cortex-m4"]["can"] == ["build", "run", "profile"]
    assert there["unicorn-cortex-m4"]["missing"] == []
    assert "emit" in there["esp32-s3"]["can"]
    assert "flash --elf" in there["nucleo-f446re"]["can"]
    assert not any("flash" in word for word in there["esp32-s3"]["can"])
    assert there["raspberry-pi-4"]["linux"]
    assert whylite.main(["boards"]) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in boards())
    assert "(pyocd), gdb " in table  # what there is not yet, and what there is
    assert "emit: `whylite emit`" in table
    assert "fits" not in there["esp32-s3"]["can"]


def test_boards_says_what_is_missing(capsys, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert whylite.main(["boards", "qemu-mps2-an386"]) == 0
    table = capsys.readouterr().out
    assert "apt-get install qemu-system-arm" in table
    assert "compiled by zig" in table


@pytest.mark.parametrize("hidden", TOOLS, ids=lambda tool: tool.name)
def test_boards_says_which_tool_is_missing_for_what_and_where_it_is_from(capsys, monkeypatch, hidden):
    which, find_spec = shutil.which, importlib.util.find_spec
    monkeypatch.setattr("shutil.which", lambda name: None if name in hidden.programs else which(name))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == hidden.package else find_spec(name))
    assert whylite.main(["boards", "--json"]) == 0
    listed = {tool["name"]: tool for tool in json.loads(capsys.readouterr().out)["tools"]}
    assert listed[hidden.name] == {
        "name": hidden.name, "for": hidden.serves, "there": False, "install": hidden.install
    }  # fmt: skip
    assert listed["Unicorn"]["there"] == (hidden.name != "Unicorn")  # the others are where they were
    assert whylite.main(["boards"]) == 0
    (row,) = (row for row in capsys.readouterr().out.splitlines() if f"  no {hidden.name} " in row)
    assert row.startswith(hidden.serves)
    assert row.endswith(hidden.install)


def test_without_pyelftools_nothing_is_built(capsys, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "elftools" else find_spec(name))
    assert whylite.main(["boards", "unicorn-cortex-m4", "--json"]) == 0
    (board,) = json.loads(capsys.readouterr().out)["boards"]
    assert (board["can"], board["missing"]) == ([], ["pip install 'whylite[micro]'"])


def test_one_board_is_shown_with_its_note_and_where_its_figures_are_from(capsys):
    assert whylite.main(["boards", "esp32-s3"]) == 0
    shown = capsys.readouterr().out.splitlines()
    board = named("esp32-s3")
    assert {board.title, board.note, board.source} <= set(shown)


def test_boards_refuses_what_is_none(capsys, tmp_path):
    (tmp_path / "bad.toml").write_text("title = 3")
    assert whylite.main(["boards", str(tmp_path / "bad.toml")]) == 2
    assert "bad.toml" in capsys.readouterr().err
