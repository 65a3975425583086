import importlib.util
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from edge.bundle import Bundle
from edge.errors import WhyLiteError
from edge.wire.records import Result
from examples.watch import demo, micro
from tests.examples.made_up import make_result


@pytest.mark.slow
def test_the_whole_product_runs_once_on_real_input(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "examples.watch.demo", "--output", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for said in ("prediction parity: 0, bound 0", "p50", "p99", "times a bare one", "kB/s, ", "link lost 0 frames"):
        assert said in done.stdout
    firmware = ("bytes of flash", "with gradcam 1.0", "prediction parity on a microcontroller: 0, bound 0")
    for said in firmware if micro.missing() is None else ("no microcontroller: ",):
        assert said in done.stdout
    for page in ("report.html", "watch.html"):
        assert (tmp_path / page).read_text().startswith("<!doctype html>")
    assert (tmp_path / "explanation.png").read_bytes().startswith(b"\x89PNG")
    manifest = Bundle.open(tmp_path / "watch.why").manifest
    assert {head.method for head in manifest.heads} == set(demo.METHODS)
    assert all(check.passed for check in manifest.checks)
    with np.load(tmp_path / "unseen.npz") as unseen:
        assert len(unseen["x"]) >= demo.ENOUGH


def test_failures_have_their_exit_codes(monkeypatch, tmp_path, capsys):
    for error, code in ((demo.export.CheckFailedError("no parity", ""), 1), (WhyLiteError("no data", "install"), 2)):

        def fail(_folder, error=error):
            raise error

        monkeypatch.setattr(demo, "_demo", fail)
        assert demo.main(["--output", str(tmp_path)]) == code
        assert error.cause in capsys.readouterr().err


def test_a_device_that_dies_is_reported(tmp_path, unseen):
    (tmp_path / "watch.why").write_bytes(b"not a bundle")
    with pytest.raises(demo.DemoError, match="ended with 2 after 0 windows") as caught:
        demo.stream(tmp_path, unseen)
    assert "device.log" in caught.value.hint
    assert "not a WhyLite bundle" in (tmp_path / "device.log").read_text()


@pytest.mark.parametrize("absent", ["tflite_micro.python.tflite_micro.runtime", "unicorn"])
def test_what_keeps_firmware_out_of_the_demo_is_named(monkeypatch, absent):
    monkeypatch.setitem(sys.modules, absent, None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == absent else object())
    lack = micro.missing()
    assert lack is not None
    assert "whylite[micro]" in lack


def test_one_score_that_differs_by_a_step_fails_the_check_of_the_firmware(unseen):
    manifest = make_result(unseen).manifest

    class Original:
        def run(self, inputs, _outputs):
            return [np.full((1, 7), int(inputs[0].sum()) % 100 - 50, np.int8)]

    def answer(number):
        stored = Original().run([manifest.input.quantize(unseen.x[number])], 1)[0][0]
        return Result(sequence=number, class_index=0, scores=tuple(manifest.output.dequantize(stored).tolist()), time=0)

    answers = {number: answer(number) for number in range(5, 5 + micro.WINDOWS)}
    assert micro.parity(answers, Original(), manifest, unseen).passed
    assert not micro.parity(dict(list(answers.items())[1:]), Original(), manifest, unseen).passed  # one is missing
    first, *rest = answers[9].scores
    answers[9] = replace(answers[9], scores=(first + 1 / 256, *rest))
    check = micro.parity(answers, Original(), manifest, unseen)
    assert (check.value, check.passed) == (1, False)
