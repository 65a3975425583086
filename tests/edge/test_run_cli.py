"""`whylite run` as a user meets it: a process on a real pty with a real bundle."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

import export
import whylite
from edge import cli, vitals
from edge.bundle import npz_bytes, seal
from edge.explainer import Explainer
from edge.link.sender import Status
from edge.link.stream import Sent
from edge.run.loop import Tally
from edge.wire import codecs
from edge.wire.codes import Degraded, SourceFault, Thinned, When
from edge.wire.records import Ack, Error, Health, Input, Latency, Log, Map, Ping, Request, Result, Session, Settings
from tests.link import FarEnd
from tests.references import small_models

WINDOWS = 40
COMMAND = [sys.executable, "-m", "whylite", "run"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "windows.npz"
    np.savez(path, x=small_models.inputs(WINDOWS, seed=3), y=np.arange(WINDOWS) % 4)
    return path


@pytest.fixture
def host(modem):
    end = FarEnd(modem.host)
    yield end
    end.close()


@pytest.fixture
def start(bundle_path, data, modem):
    started = []

    def start(*more):
        command = [*COMMAND, str(bundle_path), "--source", f"npz:{data}", "--port", modem.device, *more]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def refused(*arguments):
    result = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


def goodbye(host):
    host.listen(lambda: host.of(Health) and host.of(Health)[-1].final)
    return host.of(Health)[-1]


def test_every_window_is_answered_explained_and_timed(start, host, bundle):
    process = start("--wait-host", "600")
    session, *_ = host.listen_for(Session)
    host.say(Ping(token=1))
    final = goodbye(host)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert session.model == bundle.manifest.name
    assert session.model_digest.hex() == bundle.manifest.model_digest
    assert session.input_shape == bundle.manifest.input_shape
    assert session.methods == ("gradcam", "integrated_gradients", "saliency")
    assert session.labels == ("circle", "square", "star", "nothing")
    results = host.of(Result)
    assert [result.sequence for result in results] == list(range(WINDOWS))
    assert [result.truth for result in results] == [i % 4 for i in range(WINDOWS)]
    assert all(result.class_index == np.argmax(result.scores) for result in results)
    maps = [attribution for attribution in host.of(Map) if attribution.chunk == 0]
    assert [(m.sequence, m.method) for m in maps] == [(i, m) for i in range(WINDOWS) for m in range(3)]
    assert [latency.sequence for latency in host.of(Latency)] == list(range(WINDOWS))
    assert final.dropped == {}
    assert f"{WINDOWS} windows, 0 failed" in output
    assert [received.number for received in host.received] == list(range(len(host.received)))


def test_a_chosen_method_a_count_and_an_endless_source(start, host):
    process = start("--wait-host", "600", "--loop", "--count", str(WINDOWS + 5), "--method", "saliency")
    session, *_ = host.listen_for(Session)
    host.say(Request(what=Session.code))
    goodbye(host)
    assert process.wait(60) == 0
    assert session.methods == ("saliency",)
    results = host.of(Result)
    assert [result.sequence for result in results] == list(range(WINDOWS + 5))
    assert results[0].scores == results[WINDOWS].scores
    assert results[-1].truth == 0


def test_a_tolerance_asks_for_a_bundle_that_can_meet_one(bundle_path, data, tmp_path, modem, host):
    arguments = ["--source", f"npz:{data}", "--port", modem.device, "--tolerance", "0.01", "--count", "3"]
    assert "export the model with --refine" in refused(bundle_path, *arguments)
    path, model = tmp_path / "fine.why", tmp_path / "fine.tflite"
    model.write_bytes(small_models.float_classifier())
    methods = ["--method", "saliency", "--method", "integrated_gradients"]
    assert whylite.main(["export", str(model), "-o", str(path), *methods, "--refine"]) == 0
    assert "export the model with --refine" in refused(path, *arguments, "--method", "saliency")
    for nonsense in ("0", "-1", "nan", "inf", "much"):
        assert "--tolerance" in refused(path, *arguments, "--tolerance", nonsense)
    process = subprocess.Popen([*COMMAND, str(path), *arguments, "--wait-host", "600"])
    host.listen_for(Session)
    host.say(Ping(token=1))
    goodbye(host)
    assert process.wait(60) == 0
    refined = [m for m in host.of(Map) if m.chunk == 0 and m.method == 1]
    assert len(refined) == 3
    assert all(m.steps > 12 for m in refined)  # further than the schedule it starts from


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_finishes_its_frame_says_goodbye_and_exits_with_0(start, host, number):
    process = start("--loop", "--rate", "20")
    host.listen_for(Latency, 3)
    process.send_signal(number)
    final = goodbye(host)
    assert process.wait(60) == 0
    assert host.records[-1] is final
    assert host.receiver.counts.bad_frames == 0
    assert final.produced == len(host.of(Result)) or host.received[0].number > 0


@pytest.fixture(scope="module")
def sensor_bundle(tmp_path_factory):
    """Of a model that takes eight samples of one channel."""
    model = small_models.linear_classifier()
    path = tmp_path_factory.mktemp("sensor") / "sensor.why"
    calibration = np.random.default_rng(1).normal(size=(16, 8)).astype(np.float32)
    export.explain(model, calibration=calibration, methods=["saliency"], allow_unfaithful=True).save(path)
    return path


@pytest.mark.parametrize("end", ["signal", "source"])
def test_while_a_sensor_is_silent_it_does_what_the_host_asks_and_ends_when_told_to(sensor_bundle, modem, host, end):
    command = [*COMMAND, str(sensor_bundle), "--source", "stdin:?format=float32", "--port", modem.device]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, "--explain", "on-request"], **streams) as process:
        host.listen_for(Session)
        process.stdin.write(np.arange(8, dtype=np.float32).tobytes())
        process.stdin.flush()
        host.listen_for(Result)
        host.say(Request(what=Map.code, acknowledge=True))
        (ack,) = host.listen_for(Ack)
        assert not ack.refused
        host.listen_for(Map)
        if end == "signal":
            process.send_signal(signal.SIGTERM)
        else:
            process.stdin.close()
        final = goodbye(host)
        assert process.wait(60) == 0
        assert (final.produced, final.dropped) == (1, {})
        assert final.source == ({} if end == "signal" else {SourceFault.ENDED: 1})


def test_told_to_stop_while_it_waits_for_a_host_it_waits_no_longer(start, host):
    process = start("--wait-host", "600")
    host.listen_for(Session)
    process.send_signal(signal.SIGTERM)
    final = goodbye(host)
    assert process.wait(60) == 0
    assert final.produced == 0
    assert "no host" not in process.stderr.read()
    assert not host.of(Log)  # nor has it tried the golden inputs


def test_told_to_stop_in_the_midst_of_its_work_it_accounts_for_all_of_it(start, host):
    process = start("--wait-host", "600", "--loop", "--inputs")
    host.listen_for(Session)
    host.say(Ping(token=1))
    host.listen_for(Latency, 30)
    process.send_signal(signal.SIGTERM)
    final = goodbye(host)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    for kind in (Result, Latency):  # of which some are dropped where the host is slow: two seconds are all there is
        assert len({record.sequence for record in host.of(kind)}) + final.dropped.get(kind.code, 0) == final.produced
    assert f"{final.produced} windows, 0 failed" in output
    maps = [attribution for attribution in host.of(Map) if attribution.chunk == 0]
    assert len({(m.sequence, m.method) for m in maps}) == len(maps)
    made = len(maps) + final.dropped.get(Map.code, 0)
    assert made in range(3 * final.produced - 2, 3 * final.produced + 1)  # the last window's may lack some


def test_the_host_asks_why_of_a_past_window_has_it_sent_and_changes_how_the_board_works(start, host, bundle, data):
    start("--wait-host", "600", "--explain", "on-request", "--rate", "50", "--loop", "--keep", "8")
    host.listen_for(Session)
    host.say(Ping(token=1))
    host.listen_for(Result, 20)
    assert not host.of(Map)
    settings, *_ = host.listen_for(Settings)
    assert (settings.explain, settings.kept, settings.rate, settings.methods) == (When.ON_REQUEST, 8, 50.0, (0, 1, 2))
    for request in (
        Request(what=Map.code, method=2, class_index=1, acknowledge=True),
        Request(what=Input.code, acknowledge=True),
        Request(what=Map.code, sequence=0, acknowledge=True),
        Request(explain=When.ALWAYS, methods=(2,), rate=100.0, acknowledge=True),
    ):
        there = len(host.of(Ack))
        host.say(request)
        host.listen_for(Ack, there + 1)
    why, window, gone, changed = host.of(Ack)
    assert (why.refused, window.refused, changed.refused) == ("", "", "")
    assert "window 0 is not among the last 8" in gone.refused
    made = host.listen_for(Map)[0]
    assert (made.method, made.class_index) == (2, 1)
    x = np.load(data)["x"]
    expected = Explainer(bundle).explain(x[made.sequence % WINDOWS], "saliency", 1).map
    np.testing.assert_allclose(values(made), expected, atol=made.scale)
    given = host.listen_for(Input)[0]
    np.testing.assert_allclose(values(given), x[given.sequence % WINDOWS], atol=given.scale)
    host.listen(lambda: host.of(Settings)[-1].methods == (2,))
    first = host.of(Result)[-1].sequence + 1
    host.listen(lambda: [m for m in host.of(Map) if m.sequence > first + 3])
    assert {m.method for m in host.of(Map) if m.sequence > first} == {2}


def values(record):
    coded = codecs.Coded(record.encoding, record.deflated, record.scale, record.zero_point, record.data, False)
    return codecs.decode(coded, record.shape)


def test_only_changes_are_explained_and_alarms_are_named_by_label_or_index(start, host):
    start("--wait-host", "600", "--explain", "on-change", "--alarm", "square", "--alarm", "3", "--method", "saliency")
    host.listen_for(Session)
    host.say(Ping(token=1))
    goodbye(host)
    settings = host.of(Settings)[0]
    assert (settings.explain, settings.alarms) == (When.ON_CHANGE, (1, 3))
    answers = [None, *(result.class_index for result in host.of(Result))]
    changes = [k for k, (before, answer) in enumerate(pairwise(answers)) if answer != before]
    assert 0 < len(changes) < WINDOWS
    assert [m.sequence for m in host.of(Map) if m.chunk == 0] == changes


def test_a_rate_is_kept(start, host):
    start("--wait-host", "600", "--rate", "25", "--count", "26", "--method", "gradcam")
    host.listen_for(Session)
    host.say(Ping(token=1))
    goodbye(host)
    times = np.array([result.time for result in host.of(Result)]) / 1e9
    assert np.median(np.diff(times)) > 0.75 / 25  # and no rate is kept where the machine is too slow for it


def test_a_deadline_shortens_or_leaves_out_explanations_and_says_so(start, host):
    start("--wait-host", "600", "--deadline-ms", "0.05", "--count", "10")
    host.listen_for(Session)
    host.say(Ping(token=1))
    final = goodbye(host)
    assert len(host.of(Result)) == 10
    maps = [attribution for attribution in host.of(Map) if attribution.chunk == 0]
    assert final.degraded[Degraded.NO_EXPLANATION] > 0
    assert len(maps) + final.degraded[Degraded.NO_EXPLANATION] + final.dropped.get(Map.code, 0) == 30


def test_a_host_that_never_comes_does_not_keep_it_from_starting(start):
    process = start("--wait-host", "0.2", "--count", "3")
    assert process.wait(60) == 0  # so little fits into the port's own buffer
    assert "no host in 0.2 s" in process.stderr.read()


def test_other_map_encodings(start, host):
    start("--wait-host", "600", "--count", "2", "--map-encoding", "topk")
    host.listen_for(Session)
    host.say(Ping(token=1))
    goodbye(host)
    assert {attribution.encoding for attribution in host.of(Map)} == {3}


def test_what_it_cannot_use_is_refused_with_a_hint(bundle_path, data, tmp_path):
    source, port = f"npz:{data}", "loop://"
    good = [bundle_path, "--source", source, "--port", port]
    for arguments, said in (
        ([tmp_path / "no.why", *good[1:]], "no.why"),
        ([data, *good[1:]], "windows.npz"),
        ([*good, "--method", "magic"], "'magic'"),
        ([bundle_path, "--source", "npz:nothing.npz", "--port", port], "nothing.npz"),
        ([bundle_path, "--source", "camera", "--port", port], "'camera'"),
        ([bundle_path, "--source", source, "--port", "/dev/nowhere"], "/dev/nowhere"),
        ([*good, "--interpreter", "tflite-runtime"], "tflite"),
    ):
        message = refused(*arguments)
        assert message.startswith("error: ")
        assert said in message
        assert "\n  hint: " in message


@pytest.mark.parametrize(
    "wrong",
    [["--count", "0"], ["--rate", "0"], ["--threads", "x"], ["--map-encoding", "jpeg"], ["--bogus"]],
)
def test_wrong_usage_is_refused(bundle_path, data, wrong):
    assert "usage: whylite run" in refused(bundle_path, "--source", f"npz:{data}", "--port", "loop://", *wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        ["--explain", "never"],
        ["--rate", "nan"],
        ["--rate", "1e-300"],
        ["--rate", "1e300"],
        ["--deadline-ms", "-1"],
        ["--deadline-ms", "1e300"],
        ["--tolerance", "5"],
        ["--tolerance", "1e300"],
        ["--count", "99999999999999999999999"],
        ["--keep", "0"],
        ["--cpu-affinity", "3-1"],
        ["--cpu-affinity", "99999999999"],
    ],
)
def test_wrong_figures_are_refused(bundle_path, data, wrong, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", str(bundle_path), "--source", f"npz:{data}", "--port", "loop://", *wrong])
    assert caught.value.code == 2
    assert wrong[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--explain", "on-alarm"], "name one with --alarm"),
        (["--alarm", "4"], "no class 4"),
        (["--alarm", "triangle"], "'triangle'"),
        (["--keep", "100000000"], "at the most"),
        (["--threads", "100000"], "four for each processor"),
        (["--cpu-affinity", "4095"], "processor 4095"),
    ],
)
def test_what_does_not_fit_model_or_machine_is_refused(bundle_path, data, wrong, said, capsys):
    assert cli.main(["run", str(bundle_path), "--source", f"npz:{data}", "--port", "loop://", *wrong]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert said in message
    assert "\n  hint: " in message


def test_a_mistake_in_the_links_thread_ends_an_endless_run(bundle_path, data, modem, monkeypatch, caplog):
    def mistake():
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(vitals, "temperature", mistake)
    with pytest.raises(ZeroDivisionError, match="a mistake of ours"):
        cli.main(["run", str(bundle_path), "--source", f"npz:{data}", "--port", modem.device, "--loop"])
    assert "the link has failed" in caplog.text


def test_help_says_what_there_is():
    result = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True)
    groups = ("source:", "explaining:", "link:", "machine:")
    explain = "--explain {always,on-change,on-alarm,on-request}"
    others = ("--source", "--port", "--method", "--rate", "--count", "--deadline-ms", "--wait-host", "npz:", "--keep")
    for option in (*groups, explain, *others, "--alarm", "--inputs", "--cpu-affinity"):
        assert option in result.stdout
    assert "exit codes: 0 success, 1 the host did not take everything" in " ".join(result.stdout.split())


def test_the_last_lines_say_what_the_link_took_and_what_it_cost():
    run = SimpleNamespace(tally=Tally(7, 0), explaining=SimpleNamespace(made=Counter(saliency=7)))
    sent = Sent(
        Counter({Result.code: 7}), Counter(), True, Counter({Thinned.COARSER: 1200, Thinned.FEWER_BITS: 3}), 11_520
    )
    lines = list(cli._ending(run, Status(), sent))
    assert lines[0] == "7 windows, 0 failed"
    assert lines[-2:] == ["thinned for the link: 3 fewer-bits, 1,200 coarser", "link: 11,520 bytes/s at the most"]
    assert not any(
        "link" in line for line in cli._ending(run, Status(), replace(sent, thinned=Counter(), link_rate=None))
    )


def test_a_loop_back_port_carries_its_own_stream(bundle_path, data):
    arguments = [bundle_path, "--source", f"npz:{data}", "--port", "loop://", "--count", "5"]
    result = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "5 windows, 0 failed" in result.stdout


def test_nothing_was_wrong_on_the_way(start, host):
    start("--wait-host", "600", "--count", "5")
    host.listen_for(Session)
    host.say(Ping(token=1))
    goodbye(host)
    assert not host.of(Error)
    assert [line.level for line in host.of(Log)] == [logging.INFO]


def test_the_host_is_told_whether_golden_inputs_have_the_scores_they_were_recorded_with(
    bundle, data, modem, host, tmp_path
):
    golden = bundle.arrays()
    lines = []
    for name, change in (("same", 0), ("other", 1)):
        changed = npz_bytes(**golden | {"scores": golden["scores"] + np.float32(change)})
        seal(bundle.manifest, {**bundle.members, "golden.npz": changed}).save(tmp_path / f"{name}.why")
        command = [*COMMAND, str(tmp_path / f"{name}.why"), "--source", f"npz:{data}", "--port", modem.device]
        with subprocess.Popen([*command, "--count", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            goodbye(host)
            errors = process.stderr.read().decode()
        assert process.returncode == 0
        lines.append(host.of(Log)[-1])
        assert (lines[-1].text in errors) == bool(change)
        host.received.clear()
    assert [line.level for line in lines] == [logging.INFO, logging.WARNING]
    assert lines[1].text.startswith(f"{len(golden['x'])} golden inputs have other scores")
    assert all(bundle.manifest.runtime in line.text for line in lines)
