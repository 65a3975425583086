"""`whylite run` on a sensor: raw values become inputs, garbage is told to the host, and a cable is pulled."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest

import export
from edge.explainer import Explainer
from edge.wire.codes import SourceFault
from edge.wire.port import Port
from edge.wire.records import Error, Health, Log, Ping, Result, Session
from firmware_bridge.nullmodem import NullModem
from tests.link import FarEnd
from tests.references import small_models

STATED = {"rate": 100, "channels": ["x"], "offset": [10], "scale": [2]}


@pytest.fixture(scope="module")
def sensor_bundle(tmp_path_factory):
    def bundle(stated):
        path = tmp_path_factory.mktemp("sensor") / "sensor.why"
        options = {"methods": ["saliency"], "numerics": "f32", "allow_unfaithful": True, "preprocessing": stated}
        export.explain(small_models.linear_classifier(), **options).save(path)
        return path

    return {"stated": bundle(STATED), "silent": bundle(None)}


@pytest.fixture
def run(modem):
    """Start `whylite run` on a source; the host hears it and it knows that."""
    started, ends = [], []

    def run(bundle, source, *more):
        command = [sys.executable, "-m", "whylite", "run", str(bundle), "--source", source, "--port", modem.device]
        started.append(subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        ends.append(FarEnd(modem.host))
        ends[0].listen_for(Session, seconds=60)
        ends[0].say(Ping(token=1))
        return started[0], ends[0]

    yield run
    for process in started:
        process.kill()
        process.communicate()
    for end in ends:
        end.close()


def test_a_sensor_on_a_port_is_explained_its_garbage_told_and_its_cable_pulled(sensor_bundle, run, tmp_path):
    explainer = Explainer.load(sensor_bundle["stated"])
    raw = np.arange(16.0)
    port = tmp_path / "sensor"  # as udev does: the name is gone with the device, and nobody else's next pty has it
    with NullModem() as wire:
        port.symlink_to(wire.device)
        process, host = run(sensor_bundle["stated"], f"serial:{port}?stall=120")
        with Port(wire.host) as sensor:
            lines = "".join(f"{value}\n" for value in raw)
            sensor.write(b"half of a li\n" + lines.encode() + b"garbage\n", 10.0)
            host.listen_for(Result, 2, seconds=60)
            host.listen(lambda: any("garbage" in error.cause for error in host.of(Error)), 60)
        port.unlink()
    host.listen(lambda: any("lost port" in error.cause for error in host.of(Error)), 60)
    process.send_signal(signal.SIGTERM)
    host.listen(lambda: host.of(Health) and host.of(Health)[-1].final, 60)
    assert process.wait(60) == 0
    for result, window in zip(host.of(Result), (raw.reshape(2, 8) - 10) / 2, strict=True):
        np.testing.assert_allclose(result.scores, explainer.predict(window.astype(np.float32)).scores, rtol=1e-6)
    final = host.of(Health)[-1]
    assert final.source == {SourceFault.BAD_INPUT: 1, SourceFault.STALLED: 1}
    assert not any("preprocessing" in log.text for log in host.of(Log))


def test_a_source_of_nothing_but_garbage_says_why_and_is_no_success(sensor_bundle, run, tmp_path):
    table = tmp_path / "decimal.csv"
    table.write_text("1,5;2,5\n" * 20)
    process, host = run(sensor_bundle["stated"], f"csv:{table}?columns=0", "--wait-host", "600")
    host.listen(lambda: host.of(Health) and host.of(Health)[-1].final, 60)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.count("'1,5;2,5'") == 1
    assert "the source gave no window: it ended before one of [8] was complete" in errors
    assert host.of(Health)[-1].source == {SourceFault.BAD_INPUT: 19}  # the first is a header
    assert [error.cause in errors for error in host.of(Error)] == [True]
    assert not any("'1,5;2,5'" in log.text for log in host.of(Log))


def test_values_that_nobody_said_how_to_scale_go_through_with_a_warning(sensor_bundle, run, tmp_path):
    table = tmp_path / "raw.csv"
    table.write_text("\n".join(map(str, range(24))))
    process, host = run(sensor_bundle["silent"], f"csv:{table}?hop=4", "--wait-host", "600")
    host.listen(lambda: host.of(Health) and host.of(Health)[-1].final, 60)
    assert process.wait(60) == 0
    assert len(host.of(Result)) == 5
    assert any("the bundle states no preprocessing" in log.text for log in host.of(Log))
    assert not host.of(Health)[-1].source
