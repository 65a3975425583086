"""`whylite verify`: what holds passes, what does not is said, and hostile data is refused."""

import dataclasses
import json

import numpy as np
import pytest

import export
import whylite
from edge.bundle import GOLDEN, npz_bytes, seal
from export import tflite
from export.verify import _original as original_of
from tests.references import small_models

METHODS = ["gradcam", "saliency", "integrated_gradients"]


@pytest.fixture(scope="module")
def bundle():
    return export.explain(small_models.float_classifier(), calibration=small_models.inputs(12), methods=METHODS)


@pytest.fixture
def files(bundle, tmp_path):
    bundle.save(tmp_path / "model.why")
    np.savez(tmp_path / "x.npz", x=small_models.inputs(12))
    return str(tmp_path / "model.why"), str(tmp_path / "x.npz")


def test_an_export_verifies_on_its_own_data_with_the_figures_of_its_export(bundle):
    found = export.verify(bundle, small_models.inputs(12))
    assert found.passed
    exported = {check.name: check for check in bundle.manifest.checks if check.band}
    again = {check.name: check for check in found.checks if check.band}
    assert exported == again
    assert len(again) == 9


def test_it_prints_a_table_and_json(files, capsys):
    assert whylite.main(["verify", files[0], "--data", files[1]]) == 0
    assert "gradcam class sensitivity" in capsys.readouterr().out
    assert whylite.main(["verify", files[0], "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["passed"]
    assert document["checks"][0]["name"] == "golden vectors"
    assert "no data" in document["notes"][0]


def test_maps_of_a_method_that_is_another_fail(tmp_path, capsys):
    made = export.explain(
        small_models.float_classifier(), calibration=small_models.inputs(12), methods=["saliency", "input_x_gradient"]
    )
    of = {head.method: head for head in made.manifest.heads}
    cases = {
        "another's": dataclasses.replace(of["saliency"], chosen=of["input_x_gradient"].chosen),
        "negated": dataclasses.replace(of["saliency"], unit=-of["saliency"].unit),
    }
    for head in cases.values():
        heads = (head, of["input_x_gradient"])
        found = export.verify(
            seal(dataclasses.replace(made.manifest, heads=heads), made.members), small_models.inputs(12)
        )
        by_name = {check.name: check for check in found.checks}
        assert not found.passed
        assert not by_name["saliency as compiled"].passed
        assert by_name["input_x_gradient as compiled"].passed
        assert by_name["input_x_gradient as compiled"].value == 0


def test_the_time_of_sanity_checks_is_the_users(files, capsys):
    assert whylite.main(["verify", files[0], "--data", files[1], "--seconds", "0.001"]) == 0
    said = capsys.readouterr().out
    assert "sanity checks: not all decided for gradcam, saliency, integrated_gradients, see notes" in said


def test_scores_that_differ_fail(bundle, tmp_path, capsys):
    golden = dict(bundle.arrays())
    golden["scores"] = golden["scores"] + np.float32(1e-6)
    members = {**bundle.members, GOLDEN: npz_bytes(**golden)}
    seal(dataclasses.replace(bundle.manifest, members={}), members).save(tmp_path / "other.why")
    assert whylite.main(["verify", str(tmp_path / "other.why")]) == 1
    assert "FAILED" in capsys.readouterr().out


BAD = {
    "another shape": {"x": np.zeros((8, 3, 3, 3))},
    "not finite": {"x": np.full((8, 12, 12, 3), np.nan)},
    "no x": {"y": np.zeros(4)},
    "objects": {"x": np.asarray([{}], dtype=object)},
}


@pytest.mark.parametrize("case", BAD)
def test_data_that_does_not_fit_is_refused(case, files, tmp_path, capsys):
    np.savez(tmp_path / "bad.npz", **BAD[case])
    assert whylite.main(["verify", files[0], "--data", str(tmp_path / "bad.npz")]) == 2
    said = capsys.readouterr()
    assert "hint:" in said.err
    assert not said.out


@pytest.mark.parametrize(
    "change",
    [{"numerics": "nonsense"}, {"predict": "nowhere"}, {"heads": "unknown method"}],
    ids=["numerics", "predict", "method"],
)
def test_a_bundle_that_cannot_be_compiled_again_is_refused(change, bundle, files, tmp_path, capsys):
    if "heads" in change:
        head = dataclasses.replace(bundle.manifest.heads[0], method="unknown method")
        change = {"heads": (head,)}
    odd = seal(dataclasses.replace(bundle.manifest, **change), bundle.members)
    odd.save(tmp_path / "odd.why")
    assert whylite.main(["verify", str(tmp_path / "odd.why"), "--data", files[1]]) == 2
    assert "hint:" in capsys.readouterr().err


def test_what_is_no_bundle_is_refused(tmp_path, capsys):
    (tmp_path / "x.why").write_bytes(b"PK" + b"\0" * 200)
    assert whylite.main(["verify", str(tmp_path / "x.why")]) == 2
    assert "not a WhyLite bundle" in capsys.readouterr().err


def test_it_compiles_again_the_users_model_alone():
    made = export.explain(
        small_models.float_classifier(), calibration=small_models.inputs(4), methods=METHODS[2:], refine=True
    )
    again = tflite.read(original_of(made))
    assert [signature.key for signature in again.signatures] == ["serving_default"]
    assert len(again.graphs) == 1
