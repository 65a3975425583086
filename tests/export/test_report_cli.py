"""`whylite report` as a user meets it."""

import re

import numpy as np
import pytest

import whylite
from edge.bundle import REPORT, Bundle, seal
from tests.references import small_models


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A bundle as `whylite export` leaves it, beside its model and its data."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "shapes.tflite").write_bytes(small_models.float_classifier())
    np.savez(folder / "x.npz", x=small_models.inputs(12), y=np.arange(12) % 4)
    arguments = ["export", str(folder / "shapes.tflite"), "--calibration", str(folder / "x.npz")]
    assert whylite.main([*arguments, "--method", "gradcam", "--method", "saliency"]) == 0
    return folder / "shapes.why"


@pytest.fixture
def bundle_without(exported, tmp_path):
    bundle = Bundle.open(exported)
    members = {name: content for name, content in bundle.members.items() if name != REPORT}
    seal(bundle.manifest, members).save(tmp_path / "plain.why")
    return tmp_path / "plain.why"


def test_export_makes_one_and_the_command_writes_it_out(exported, tmp_path, capsys):
    written = tmp_path / "page.html"
    assert whylite.main(["report", str(exported), "-o", str(written)]) == 0
    assert written.read_bytes() == Bundle.open(exported).members[REPORT]
    assert str(written) in capsys.readouterr().out
    assert re.search("✓ right|✗ wrong", written.read_text())  # by the classes in the calibration file


def test_it_lies_beside_the_bundle_by_default(exported, capsys):
    assert whylite.main(["report", str(exported)]) == 0
    assert exported.with_suffix(".html").read_bytes().startswith(b"<!doctype html>")


def test_it_is_made_anew_on_other_inputs(exported, tmp_path, capsys):
    np.savez(tmp_path / "other.npz", x=small_models.inputs(3, seed=9))
    written = tmp_path / "page.html"
    assert whylite.main(["report", str(exported), "--data", str(tmp_path / "other.npz"), "-o", str(written)]) == 0
    assert "Of 3 inputs looked at" in written.read_text()
    assert not re.search("✓ right|✗ wrong", written.read_text())


def test_a_bundle_without_one_says_how_to_get_one(bundle_without, tmp_path, capsys):
    assert whylite.main(["report", str(bundle_without), "-o", str(tmp_path / "page.html")]) == 2
    assert "--data X.npz" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_what_cannot_be_read_or_written_is_refused(exported, tmp_path, capsys):
    np.savez(tmp_path / "wrong.npz", x=np.zeros((2, 5)))
    before = exported.read_bytes()
    for arguments, message in (
        ([str(exported), "-o", str(exported)], "it is an input"),
        ([str(exported), "-o", str(tmp_path / "no" / "page.html")], "choose a folder that exists"),
        ([str(exported), "--data", str(tmp_path / "wrong.npz"), "-o", str(tmp_path / "p.html")], "the model takes"),
        ([str(exported), "--data", str(tmp_path / "none.npz"), "-o", str(tmp_path / "p.html")], "there is no file"),
        ([str(tmp_path / "none.why")], "give the path of a .why bundle"),
    ):
        assert whylite.main(["report", *arguments]) == 2
        assert message in capsys.readouterr().err
    assert exported.read_bytes() == before
    assert not (tmp_path / "p.html").exists()
