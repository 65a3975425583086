"""`whylite monitor` as a user meets it, on a pty with a real device process at the other end."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from edge.wire.port import Port
from edge.wire.records import Result
from firmware_bridge.maps import Attribution
from firmware_bridge.recording import load
from tests.link import wait_for
from tests.references import small_models

WINDOWS = 30
WHYLITE = [sys.executable, "-m", "whylite"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "windows.npz"
    np.savez(path, x=small_models.inputs(WINDOWS, seed=3), y=np.arange(WINDOWS) % 4)
    return path


@pytest.fixture
def device(bundle_path, data, modem):
    command = [*WHYLITE, "run", str(bundle_path), "--source", f"npz:{data}", "--port", modem.device]
    processes = []

    def device(*more):
        processes.append(subprocess.Popen([*command, "--wait-host", "600", *more], stdout=subprocess.DEVNULL))
        return processes[-1]

    yield device
    for process in processes:
        process.kill()
        process.wait()


def monitor(*arguments, **options):
    command = [*WHYLITE, "monitor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, **options)


def test_off_a_terminal_it_prints_plain_lines_and_a_summary(device, modem):
    device()
    result = monitor(modem.host, "--until-end")
    assert result.returncode == 0, result.stderr
    rows = result.stdout.splitlines()
    assert rows[0].startswith("session ")
    assert sum(" right" in row or " wrong: " in row for row in rows if row[:6].strip().isdigit()) == WINDOWS
    assert sum(" gradcam |" in row for row in rows) == WINDOWS
    assert any(row.startswith("goodbye: ") for row in rows)
    assert f"{WINDOWS} windows, {3 * WINDOWS} maps" in result.stdout
    assert "gradcam comes with the prediction" in result.stdout
    assert rows[-1].startswith("losses: link lost 0 frames, 0 damaged")
    assert "\x1b" not in result.stdout
    assert result.stderr == ""


def test_json_lines_and_nothing_else_on_stdout(device, modem):
    device()
    result = monitor(modem.host, "--json", "--until-end")
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    kinds = [document["record"] for document in documents]
    assert kinds[0] == "session"
    assert kinds[-1] == "summary"
    kinds = set(kinds) - {"link"}  # which a busy machine may have paused
    assert kinds == {"session", "settings", "result", "map", "latency", "health", "spread", "log", "summary"}
    summary = documents[-1]
    assert (summary["windows"], summary["labelled"], summary["maps"]) == (WINDOWS, WINDOWS, 3 * WINDOWS)
    assert 0 <= summary["accuracy"] <= 1
    assert 0 < summary["warm_up_windows"] <= 20
    assert summary["latency_ns"]["predict"]["count"] == WINDOWS - summary["warm_up_windows"]
    assert (summary["rejected_windows"], summary["clock_jumps"]) == (0, 0)
    end_to_end = summary["end_to_end_ns"]
    assert end_to_end["middle"]["count"] == WINDOWS
    assert 0 < end_to_end["uncertainty"]["p50"] < end_to_end["middle"]["p50"] + end_to_end["uncertainty"]["p50"] < 1e10
    assert summary["lost_frames"] == summary["missing_results"] == 0
    first = next(document for document in documents if document["record"] == "map")
    assert np.shape(first["values"]) == (6, 6)


@pytest.mark.parametrize("suffix", [".jsonl", ".mcap"])
def test_a_recording_holds_what_was_shown(device, modem, tmp_path, suffix):
    device()
    path = tmp_path / f"session{suffix}"
    assert monitor(modem.host, "--record", str(path), "--until-end").returncode == 0
    recording = load(path)
    assert not recording.damage
    assert [result.sequence for result in recording.of(Result)] == list(range(WINDOWS))
    shapes = {attribution.method: attribution.values.shape for attribution in recording.of(Attribution)}
    assert shapes["integrated_gradients"] == small_models.inputs(1)[0].shape


@pytest.mark.parametrize(("suffix", "enough"), [(".jsonl", 50_000), (".mcap", 10_000)])
def test_a_recorder_killed_in_the_middle_leaves_a_readable_file(device, modem, tmp_path, suffix, enough):
    device("--loop", "--rate", "100")
    path = tmp_path / f"session{suffix}"
    process = subprocess.Popen([*WHYLITE, "monitor", modem.host, "--record", str(path)], stdout=subprocess.DEVNULL)

    def results():
        return len(list(load(path).of(Result)))

    wait_for(lambda: path.exists() and path.stat().st_size > enough and results() >= 3)
    process.kill()
    process.wait()
    assert results() >= 3


def test_a_count_is_enough(device, modem):
    device("--loop", "--rate", "100")
    result = monitor(modem.host, "--json", "--count", "7")
    assert json.loads(result.stdout.splitlines()[-1])["windows"] >= 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_it_shows_the_summary(device, modem, number):
    device("--loop", "--rate", "50")
    process = subprocess.Popen([*WHYLITE, "monitor", modem.host], stdout=subprocess.PIPE, text=True)
    for _ in range(40):
        assert process.stdout.readline()
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "losses: " in output


def test_whoever_reads_its_output_may_leave(device, modem):
    device("--loop", "--rate", "200")
    process = subprocess.Popen(
        [*WHYLITE, "monitor", modem.host, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == ""


def test_a_silent_line_is_said_and_fails_the_check(modem):
    result = monitor(modem.host, "--until-idle", "0.3")
    assert result.returncode == 1
    assert "no record came" in result.stderr
    assert "whylite run" in result.stderr


def test_a_device_that_is_killed_is_missed_once(device, modem):
    silent, again = "link: nothing heard for 2 s\n", "link: heard again\n"
    process = subprocess.Popen([*WHYLITE, "monitor", modem.host], stdout=subprocess.PIPE, text=True)
    killed = device("--loop", "--rate", "50")
    said = [process.stdout.readline() for _ in range(20)]
    assert all(said)
    killed.kill()
    while said.count(silent) <= said.count(again):  # on a busy machine it may be so for a while before, too
        said.append(process.stdout.readline())
        assert said[-1]
    time.sleep(1)  # in which a monitor that does not remember would say it again
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    said += output.splitlines(keepends=True)
    assert said.count(silent) == said.count(again) + 1


def test_bytes_that_are_no_frames_hint_at_the_baud_rate(modem):
    process = subprocess.Popen(
        [*WHYLITE, "monitor", modem.host, "--until-idle", "5"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    with Port(modem.device) as noise:
        noise.read()
        wait_for(noise.read)  # the monitor has asked who is there
        noise.write(os.urandom(5000).replace(b"\x00", b"\x01"), 1.0)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "--baud" in errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/dev/nowhere"], "/dev/nowhere"),
        (["/dev/null"], "/dev/null"),
        (["socket://127.0.0.1:1"], "127.0.0.1:1"),
    ],
)
def test_a_port_that_cannot_be_opened_is_refused_with_a_hint(arguments, said):
    result = monitor(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: cannot open port")
    assert said in result.stderr
    assert "\n  hint: " in result.stderr


def test_the_second_monitor_of_a_port_is_told_of_the_first(device, modem):
    device("--loop", "--rate", "50")
    with subprocess.Popen([*WHYLITE, "monitor", modem.host], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline()
        second = monitor(modem.host)
        first.send_signal(signal.SIGINT)
        shown, _ = first.communicate(timeout=60)
    assert second.returncode == 2
    assert second.stdout == ""
    assert second.stderr.startswith(f"error: cannot open port {modem.host}: `{sys.executable} -m whylite")
    assert f" (pid {first.pid}) has it open\n  hint: one program at a time" in second.stderr
    assert "link lost 0 frames, 0 damaged" in shown  # and the first has not noticed


def test_a_recording_that_cannot_be_written_is_refused(modem, tmp_path):
    result = monitor(modem.host, "--record", str(tmp_path / "no" / "folder.jsonl"))
    assert result.returncode == 2
    assert "folder.jsonl" in result.stderr


@pytest.mark.parametrize("suffix", [".jsonl", ".mcap"])
def test_a_full_disk_ends_the_recording_and_not_the_monitor(device, modem, tmp_path, suffix):
    device()
    path = tmp_path / f"session{suffix}"
    code = "import sys, resource; resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY)); "
    code += "from whylite import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "monitor", modem.host, "--until-end", "--record", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.count(f"error: cannot record to {path} any more: File too large\n  hint: ") == 1
    assert f"{WINDOWS} windows, {3 * WINDOWS} maps" in result.stdout
    assert path.stat().st_size <= 6000
    assert not load(path).damage


def test_wrong_usage_is_refused(modem):
    assert monitor().returncode == 2
    assert monitor(modem.host, "--json", "--plain").returncode == 2
    assert monitor(modem.host, "--count", "0").returncode == 2
    said = " ".join(monitor("--help").stdout.split())
    assert "usage: whylite monitor" in said
    assert "exit codes: 0 records came, 1 none did or the disk was full, 2 wrong usage or bad input" in said


def test_without_textual_a_terminal_gets_plain_lines(device, modem):
    device()
    code = "import sys; sys.modules['textual'] = None; from whylite import main; sys.exit(main())"
    master, slave = pty.openpty()
    command = [sys.executable, "-c", code, "monitor", modem.host, "--until-end"]
    environment = {**os.environ, "TERM": "xterm-256color"}
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    shown = b""
    while True:
        try:
            shown += os.read(master, 65536)
        except OSError:
            break
    os.close(master)
    assert process.wait() == 0
    assert b"session " in shown
    assert f"{WINDOWS} windows".encode() in shown
    assert b"\x1b[?1049h" not in shown  # no alternate screen
