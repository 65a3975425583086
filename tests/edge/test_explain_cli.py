"""`whylite explain` as a user meets it: what it prints and draws, and how it refuses."""

import importlib.util
import io
import json
import subprocess
import sys
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest

import export
import whylite
from edge.bundle import seal
from edge.explainer import Explainer
from edge.explanation import Explanation, Flag
from edge.manifest import Port
from edge.view import picture
from export import tflite
from tests.references import small_models


@pytest.fixture
def inputs(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x=small_models.inputs(4))
    return path


def explain(bundle_path, inputs, *arguments):
    return whylite.main(["explain", str(bundle_path), "--input", str(inputs), *arguments])


def pixels(png):
    return matplotlib.image.imread(io.BytesIO(png), format="png")[..., :3]


def orange(drawn):
    return int((drawn[..., 0] - drawn[..., 2] > 0.4).sum())


def blue(drawn):
    return int((drawn[..., 2] - drawn[..., 0] > 0.4).sum())


def test_it_says_what_the_explainer_says(bundle_path, inputs, capsys):
    assert explain(bundle_path, inputs, "--index", "2", "--method", "integrated_gradients", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    e = Explainer.load(bundle_path).explain(small_models.inputs(4)[2], "integrated_gradients")
    assert said["class_index"] == e.class_index
    assert said["label"] == ["circle", "square", "star", "nothing"][e.class_index]
    assert said["residual"] == pytest.approx(e.residual)
    assert said["map"]["sum"] == pytest.approx(float(e.map.sum(dtype=np.float64)))
    assert said["map"]["shape"] == [12, 12, 3]
    assert [row["score"] for row in said["scores"]] == sorted((float(score) for score in e.scores), reverse=True)


UNITS = {
    "gradcam": "logits",
    "input_x_gradient": "logits",
    "lrp_epsilon": "logits",
    "saliency": "logits per input unit",
    "smoothgrad": "logits per input unit",
    "guided_backprop": "logits per input unit",
    "deconvnet": "logits per input unit",
    "rectgrad": "logits per input unit",
    "fullgrad": "logits",
    "fullgrad_abs": "no unit of the model's",
}


def test_only_what_is_in_logits_is_added_up(inputs, tmp_path, capsys):
    bundle = export.explain(small_models.float_classifier(), methods=list(UNITS), numerics="f32")
    bundle.save(tmp_path / "units.why")
    assert {head.method: head.map_unit for head in bundle.manifest.heads} == UNITS
    for method, unit in UNITS.items():
        assert explain(tmp_path / "units.why", inputs, "--method", method) == 0
        said = capsys.readouterr().out
        assert ("sum " in said) == (unit == "logits")
        assert (f"values in {unit}" in said) == (unit != "logits")
        assert ("mean of 32 noisy copies" in said) == (method == "smoothgrad")
        assert explain(tmp_path / "units.why", inputs, "--method", method, "--json") == 0
        document = json.loads(capsys.readouterr().out)["map"]
        assert document["unit"] == unit
        assert (document["sum"] is None) == (unit != "logits")


@pytest.mark.parametrize("scale", [2.0, 0.25])
def test_units_are_what_values_are_in(scale):
    """In another unit of the input the same model's contributions are the same, its gradients are not."""
    x = small_models.inputs(1)[0]
    graph = small_models.float_classifier()
    model = tflite.read(graph)
    filters = next(op.inputs[1] for op in model.graphs[0].ops if op.code == "CONV_2D")
    filters.data = filters.data / np.float32(scale)
    methods = [method for method in UNITS if method not in ("lrp_epsilon", "fullgrad", "fullgrad_abs")]
    plain, other = (
        Explainer(export.explain(file, methods=methods, numerics="f32")) for file in (graph, tflite.write(model))
    )
    for method in methods:
        one, same = plain.explain(x, method, class_index=0).map, other.explain(x * scale, method, class_index=0).map
        per_input = UNITS[method] == "logits per input unit"
        np.testing.assert_allclose(same * scale if per_input else same, one, rtol=1e-3, atol=1e-5 * np.abs(one).max())


def test_a_bundle_that_does_not_say_its_units_has_nothing_added_up(bundle, inputs, tmp_path, capsys):
    heads = tuple(replace(head, map_unit="") for head in bundle.manifest.heads)
    seal(replace(bundle.manifest, heads=heads), bundle.members).save(tmp_path / "old.why")
    assert explain(tmp_path / "old.why", inputs) == 0
    said = capsys.readouterr().out
    assert "sum" not in said
    assert "values in" not in said


def test_another_class_and_other_steps_are_taken(bundle_path, inputs, capsys):
    asked = ["--method", "integrated_gradients", "--class", "1", "--steps", "6"]
    assert explain(bundle_path, inputs, *asked) == 0
    assert "integrated_gradients for square" in (said := capsys.readouterr().out)
    assert "in 6 steps" in said


def test_steps_are_taken_until_a_tolerance_is_met(inputs, tmp_path, capsys):
    bundle = export.explain(small_models.float_classifier(), methods=["integrated_gradients"], refine=True)
    bundle.save(tmp_path / "refines.why")
    said = []
    for tolerance in ("0.2", "0.001"):
        assert explain(tmp_path / "refines.why", inputs, "--tolerance", tolerance, "--json") == 0
        said.append(json.loads(capsys.readouterr().out))
    assert said[0]["steps"] < said[1]["steps"]


def test_a_picture_is_written_and_depends_on_nothing_but_the_explanation(bundle_path, inputs, tmp_path, capsys):
    for name in ("a.png", "b.png"):
        assert explain(bundle_path, inputs, "-o", str(tmp_path / name)) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert pixels((tmp_path / "a.png").read_bytes()).shape[1] == 1100
    assert "gradcam for" in capsys.readouterr().out


REFUSED = {
    "no such method": (["--method", "lime"], "it explains by gradcam, integrated_gradients, saliency"),
    "no such input": (["--index", "4"], "it has 4, counted from 0"),
    "below the first": (["--index", "-1"], "it has 4, counted from 0"),
    "no such class": (["--class", "4"], "classes are whole numbers from 0 to 3"),
    "no such schedule": (["--method", "integrated_gradients", "--steps", "7"], "it has schedules of 6, 8"),
    "steps of a method without": (["--steps", "8"], "leave steps away"),
    "a tolerance without what it takes": (
        ["--method", "integrated_gradients", "--tolerance", "0.02"],
        "export it with --refine",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_there_is_not_is_refused_and_nothing_is_written(case, bundle_path, inputs, tmp_path, capsys):
    arguments, message = REFUSED[case]
    assert explain(bundle_path, inputs, "-o", str(tmp_path / "out.png"), *arguments) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert not said.out
    assert not (tmp_path / "out.png").exists()


def test_an_output_that_is_an_input_is_refused(bundle_path, inputs, capsys):
    for path in (bundle_path, inputs):
        before = path.read_bytes()
        assert explain(bundle_path, inputs, "-o", str(path)) == 2
        assert "it is an input" in capsys.readouterr().err
        assert path.read_bytes() == before


def test_files_that_cannot_be_read_or_written_are_refused(bundle_path, inputs, tmp_path, capsys):
    np.savez(tmp_path / "wrong.npz", x=np.zeros((2, 5)))
    np.savez(tmp_path / "empty.npz", x=np.zeros((0, 12, 12, 3)))
    np.savez(tmp_path / "complex.npz", x=np.zeros((2, 12, 12, 3), complex))
    np.savez(tmp_path / "words.npz", x=np.array(["a", "b"]))
    np.savez(tmp_path / "one.npz", x=np.float32(3))
    for bundle, data, output, message in (
        (bundle_path, tmp_path / "wrong.npz", tmp_path / "o.png", "the model takes float32 [N, 12, 12, 3]"),
        (bundle_path, tmp_path / "empty.npz", tmp_path / "o.png", "x [0, 12, 12, 3] holds no windows"),
        (bundle_path, tmp_path / "complex.npz", tmp_path / "o.png", "x is of type complex128"),
        (bundle_path, tmp_path / "words.npz", tmp_path / "o.png", "x is of type <U1"),
        (bundle_path, tmp_path / "one.npz", tmp_path / "o.png", "the model takes float32 [N, 12, 12, 3]"),
        (bundle_path, tmp_path / "none.npz", tmp_path / "o.png", "there is no file"),
        (tmp_path / "none.why", inputs, tmp_path / "o.png", "give the path of a .why bundle"),
        (bundle_path, inputs, tmp_path / "no" / "folder" / "o.png", "choose a folder that exists"),
    ):
        assert explain(bundle, data, "-o", str(output)) == 2
        assert message in capsys.readouterr().err
        assert not output.exists()


def test_without_matplotlib_figures_are_printed_and_a_picture_is_refused(
    bundle_path, inputs, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert explain(bundle_path, inputs) == 0
    capsys.readouterr()
    assert explain(bundle_path, inputs, "-o", str(tmp_path / "o.png")) == 2
    assert "pip install 'whylite[plot]'" in capsys.readouterr().err
    assert not (tmp_path / "o.png").exists()


def test_figures_alone_import_no_matplotlib(bundle_path, inputs):
    code = (
        "import sys, whylite; code = whylite.main(sys.argv[1:]); "
        "assert not code and not {'matplotlib', 'export', 'firmware_bridge'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, "explain", str(bundle_path), "--input", str(inputs)]
    assert subprocess.run(command, check=False).returncode == 0


PICTURES = {
    "signal": (Port("x", (200, 6), "float32"), (200, 6)),
    "signal, map in time": (Port("x", (200, 6), "float32"), (25,)),
    "many channels": (Port("x", (256, 14), "float32"), (256, 14)),
    "beat": (Port("x", (187, 1), "float32"), (187, 1)),
    "image": (Port("x", (32, 32, 3), "float32"), (8, 8)),
    "grey image": (Port("x", (28, 28, 1), "float32"), (28, 28, 1)),
    "spectrogram": (Port("x", (49, 10, 1), "float32"), (25, 5)),
    "features": (Port("x", (8,), "float32"), (8,)),
    "ids": (Port("x", (80,), "int32", limits=(0, 99)), (80, 4)),
    "map of something else": (Port("x", (1960,), "float32"), (25, 20)),
}


@pytest.mark.parametrize("case", PICTURES)
def test_every_kind_of_input_is_drawn_with_its_map(case, bundle):
    """The colours for what speaks for and against are there where something does, and not where nothing does."""
    port, shape = PICTURES[case]
    random = np.random.default_rng(0)
    manifest = replace(bundle.manifest, input=port, labels=("a $label_", "<b>", "\x00", "d" * 500))
    x = random.integers(0, 99, port.shape).astype(np.float32)
    spoken = np.zeros(shape, np.float32)
    spoken.reshape(shape[0], -1)[: shape[0] // 3] = 1
    spoken.reshape(shape[0], -1)[-shape[0] // 3 :] = -1

    def drawn(values):
        scores = np.array([0.5, 0.2, 0.2, 0.1], np.float32)
        said = {"residual": 0.1, "steps": 8, "flags": Flag(511), "layer": "l"}
        explanation = Explanation(scores, 3, method="gradcam", map=values, **said)
        return pixels(picture.draw(x, explanation, manifest, dpi=40))

    silent, loud, against = drawn(np.zeros(shape, np.float32)), drawn(spoken), drawn(-np.abs(spoken))
    assert orange(loud) > 1.2 * max(orange(silent), orange(against))
    assert blue(against) > 1.2 * blue(loud) > 0
    assert blue(loud) > blue(silent)


def test_a_map_that_is_no_number_is_drawn_all_the_same(bundle):
    x = small_models.inputs(1)[0]
    values = np.full((12, 12, 3), np.nan, np.float32)
    explanation = Explanation(np.ones(4, np.float32), 0, method="gradcam", map=values, flags=Flag.NOT_FINITE)
    assert pixels(picture.draw(x, explanation, bundle.manifest)).ndim == 3
