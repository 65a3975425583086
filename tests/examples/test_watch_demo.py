import subprocess
import sys

import numpy as np
import pytest

from edge.bundle import Bundle
from edge.errors import WhyLiteError
from examples.watch import demo


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
