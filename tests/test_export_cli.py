"""`whylite export` as a user meets it: what it prints, what it leaves behind, how it refuses."""

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

import edge
import export
import whylite
from edge.bundle import REPORT, Bundle, write_whole
from edge.samples.preprocessing import Preprocessing
from export import clock
from export.errors import CalibrationError, MemoryLimitError, UnsupportedModelError
from tests.references import small_models


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "shapes.tflite"
    path.write_bytes(small_models.float_classifier())
    return path


@pytest.fixture
def calibration(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x=small_models.inputs(12))
    return path


def test_a_bundle_appears_beside_the_model(model, calibration, capsys):
    assert whylite.main(["export", str(model), "--calibration", str(calibration)]) == 0
    printed = capsys.readouterr().out
    bundle = Bundle.open(model.with_suffix(".why"))
    assert [head.method for head in bundle.manifest.heads] == ["gradcam", "integrated_gradients"]
    assert all(check.passed for check in bundle.manifest.checks)
    for word in ("gradcam", "prediction parity", "integrated_gradients steps", "float32"):
        assert word in printed


def test_json_is_one_document_and_nothing_else(model, capsys):
    assert whylite.main(["export", str(model), "--json", "--method", "saliency"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert [head["method"] for head in manifest["heads"]] == ["saliency"]
    assert "no calibration data" in manifest["notes"][0]


def test_equal_exports_are_equal_files_but_for_what_was_timed(model, calibration, tmp_path, monkeypatch):
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=time.process_time))  # a pause leaves no inputs out
    bundles = []
    for name in ("a.why", "b.why"):
        options = ["-o", str(tmp_path / name), "--calibration", str(calibration), "--batch", "8"]
        assert whylite.main(["export", str(model), *options]) == 0
        bundle = Bundle.open(tmp_path / name)
        assert REPORT in bundle.members  # which says what was timed
        bundles.append({name: content for name, content in bundle.members.items() if name != REPORT})
    assert bundles[0] == bundles[1]


def test_labels_baseline_and_layer_are_taken(model, calibration, tmp_path):
    labels, baseline = tmp_path / "labels.txt", tmp_path / "grey.npy"
    labels.write_text("circle\nsquare\nstar\nnothing\n")
    np.save(baseline, np.full((12, 12, 3), 0.5))
    first = export.tflite.read(model).graphs[0].ops[0].output.name
    options = ["--labels", str(labels), "--baseline", str(baseline), "--layer", first, "-o", str(tmp_path / "o.why")]
    assert whylite.main(["export", str(model), "--calibration", str(calibration), *options]) == 0
    bundle = Bundle.open(tmp_path / "o.why")
    assert bundle.manifest.labels == ("circle", "square", "star", "nothing")
    assert bundle.manifest.head("gradcam").map_shape == (12, 12)
    np.testing.assert_array_equal(bundle.baseline, np.full((12, 12, 3), 0.5))
    x = small_models.inputs(1)[0]
    e = edge.Explainer(bundle).explain(x, "integrated_gradients")
    unmoved = edge.Explainer(bundle).explain(np.full((12, 12, 3), 0.5), "integrated_gradients")
    assert e.map.any()
    assert not unmoved.map.any()


BAD_CALIBRATION = {
    "no x": ({"y": np.zeros(3)}, "no array x"),
    "wrong shape": ({"x": np.zeros((3, 12, 12, 1))}, "does not fit input"),
    "no batch": ({"x": np.zeros((12, 12, 3))}, "does not fit input"),
    "no sample": ({"x": np.zeros((0, 12, 12, 3))}, "no sample"),
    "not finite": ({"x": np.full((2, 12, 12, 3), np.inf)}, "not finite"),
    "not numbers": ({"x": np.full((2, 12, 12, 3), "a")}, "not numbers"),
    "complex": ({"x": np.full((2, 12, 12, 3), 1j)}, "not numbers"),
    "more than float32 can": ({"x": np.full((2, 12, 12, 3), 1e300)}, "not finite"),
    "other classes": ({"x": np.zeros((3, 12, 12, 3)), "y": np.zeros(4, int)}, "y is int64 [4], and 3 samples are in x"),
    "classes in words": ({"x": np.zeros((3, 12, 12, 3)), "y": np.asarray(list("abc"))}, "y is <U1"),
}


@pytest.mark.parametrize("case", BAD_CALIBRATION)
def test_calibration_that_does_not_fit_is_refused_and_nothing_is_written(case, model, tmp_path, capsys):
    arrays, message = BAD_CALIBRATION[case]
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    before = sorted(tmp_path.iterdir())
    assert whylite.main(["export", str(model), "--calibration", str(path)]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert "hint:" in said.err
    assert not said.out
    assert sorted(tmp_path.iterdir()) == before


def test_a_pickled_calibration_file_is_not_unpickled(model, tmp_path, capsys):
    path = tmp_path / "evil.npz"
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    assert whylite.main(["export", str(model), "--calibration", str(path)]) == 2
    assert "hint:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layer", "no such layer"], "no layer 'no such layer'"),
        (["--output", "nothing"], "no output 'nothing'"),
        (["--numerics", "deq"], "not available for a float model"),
        (["--baseline", "moon"], "no baseline 'moon'"),
        (["--labels", "missing.txt"], "cannot read labels"),
        (["-o", "no/such/folder/x.why"], "cannot write"),
    ],
)
def test_what_cannot_be_done_is_said_before_writing(arguments, message, model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert whylite.main(["export", str(model), *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "hint:" in said
    assert sorted(tmp_path.iterdir()) == before


def test_an_existing_bundle_survives_a_failed_export(model, tmp_path):
    target = model.with_suffix(".why")
    assert whylite.main(["export", str(model)]) == 0
    kept = target.read_bytes()
    model.write_bytes(model.read_bytes()[:-200])
    assert whylite.main(["export", str(model)]) == 2
    assert target.read_bytes() == kept


@pytest.fixture
def inputs_of_all_kinds(model, calibration, tmp_path):
    """Every file that an export can be made from, by its option."""
    labels, baseline = tmp_path / "labels.txt", tmp_path / "grey.npy"
    labels.write_text("circle\nsquare\nstar\nnothing\n")
    np.save(baseline, np.full((12, 12, 3), 0.5))
    return {"MODEL": model, "--calibration": calibration, "--labels": labels, "--baseline": baseline}


@pytest.mark.parametrize("way", ["its name", "another path", "a link", "a hard link"])
@pytest.mark.parametrize("which", ["MODEL", "--calibration", "--labels", "--baseline"])
def test_an_export_never_overwrites_what_it_is_made_from(
    which, way, inputs_of_all_kinds, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("export.pipeline.explain", lambda *a, **k: pytest.fail("it went to work"))
    model, *others = inputs_of_all_kinds.items()
    file = inputs_of_all_kinds[which]
    target = file
    if way == "another path":
        (tmp_path / "folder").mkdir()
        target = tmp_path / "folder" / ".." / file.name
    elif way != "its name":
        target = tmp_path / "linked.why"
        os.link(file, target) if way == "a hard link" else target.symlink_to(file)
    before = {path: path.read_bytes() for path in inputs_of_all_kinds.values()}
    options = [str(part) for pair in others for part in pair]
    assert whylite.main(["export", str(model[1]), *options, "-o", str(target)]) == 2
    said = capsys.readouterr().err
    assert f"cannot write {target}: it is the {'model' if which == 'MODEL' else which[2:]}" in said
    assert "hint: name another file with -o" in said
    assert {path: path.read_bytes() for path in before} == before
    assert target.is_symlink() == (way == "a link")


@pytest.mark.parametrize(
    ("arguments", "option", "owner"),
    [
        (["--method", "saliency", "--layer", "nope"], "--layer", "gradcam"),
        (["--method", "saliency", "--batch", "3"], "--batch", "integrated_gradients"),
        (["--method", "gradcam", "--schedule", "nuig"], "--schedule", "integrated_gradients"),
        (["--method", "gradcam", "--refine"], "--refine", "integrated_gradients"),
        (["--method", "gradcam", "--baseline", "mean"], "--baseline", "integrated_gradients"),
    ],
)
def test_an_option_of_a_method_that_is_not_asked_for_is_refused(arguments, option, owner, model, capsys):
    assert whylite.main(["export", str(model), *arguments]) == 2
    said = capsys.readouterr().err
    assert f"{option} is an option of" in said
    assert owner in said
    assert f"leave {option} out" in said
    assert not model.with_suffix(".why").exists()


def test_an_explained_model_is_not_explained_again(model, tmp_path, capsys):
    assert whylite.main(["export", str(model)]) == 0
    explained = tmp_path / "explained.tflite"
    explained.write_bytes(Bundle.open(model.with_suffix(".why")).model)
    assert whylite.main(["export", str(explained)]) == 2
    assert "carries explanations already" in capsys.readouterr().err


def test_wrong_usage_ends_with_two(capsys):
    assert whylite.main(["expotr"]) == 2
    assert "unknown command" in capsys.readouterr().err
    assert whylite.main([]) == 2
    assert whylite.main(["--help"]) == 0
    with pytest.raises(SystemExit) as stopped:
        whylite.main(["export"])
    assert stopped.value.code == 2


def test_a_model_with_signatures_of_its_own_keeps_them(tmp_path):
    model = export.tflite.read(small_models.float_classifier())
    (own,) = model.signatures
    own.key = "logits"
    bundle = export.explain(export.tflite.write(model), methods=["gradcam", "integrated_gradients"])
    assert bundle.manifest.predict == "logits"
    assert bundle.manifest.logits == "whylite_logits"
    e = edge.Explainer(bundle).explain(small_models.inputs(1)[0], "integrated_gradients")
    assert abs(e.residual) < 0.1


def test_how_raw_values_become_inputs_is_stated(model, tmp_path, capsys):
    path, out = tmp_path / "raw.json", ["--numerics", "f32", "--method", "saliency", "-o", str(tmp_path / "o.why")]
    stated = {"channels": ["red", "green", "blue"], "offset": [127.5], "scale": [127.5]}
    path.write_text(json.dumps(stated))
    assert whylite.main(["export", str(model), "--preprocessing", str(path), *out]) == 0
    expected = Preprocessing(channels=("red", "green", "blue"), offset=(127.5,), scale=(127.5,))
    assert Bundle.open(tmp_path / "o.why").manifest.preprocessing == expected
    for wrong, said in (
        ({"scale": [0]}, "preprocessing.scale holds 0"),
        ({"rate": "fast"}, "rate is not float"),
        ({"mean": [1.0]}, "preprocessing has no 'mean'"),
        ({"channels": ["x", "y"]}, "channels are 2"),
        ([1], "is no JSON object"),
    ):
        path.write_text(json.dumps(wrong))
        assert whylite.main(["export", str(model), "--preprocessing", str(path), *out]) == 2
        assert said in capsys.readouterr().err
    path.write_text("{")
    assert whylite.main(["export", str(model), "--preprocessing", str(path), *out]) == 2
    assert "cannot read preprocessing" in capsys.readouterr().err
    assert whylite.main(["export", str(model), "--preprocessing", str(path), "-o", str(path)]) == 2
    assert "it is the preprocessing" in capsys.readouterr().err


def test_a_gap_in_the_labels_is_not_closed_in_silence(model, tmp_path, capsys):
    labels = tmp_path / "labels.txt"
    labels.write_text("circle\n\nsquare\nstar\nnothing\n")
    assert whylite.main(["export", str(model), "--labels", str(labels)]) == 2
    assert "line 2" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["array", "text"])
def test_calibration_that_is_no_npz_file_is_refused(content, model, tmp_path, capsys):
    path = tmp_path / "x.npy"
    if content == "array":
        np.save(path, small_models.inputs(2))
    else:
        path.write_text("1, 2, 3")
    assert whylite.main(["export", str(model), "--calibration", str(path)]) == 2
    said = capsys.readouterr().err
    assert "hint:" in said
    assert "pickle" not in said


def test_where_nothing_can_be_written_is_found_before_the_work(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("export.pipeline.explain", lambda *a, **k: pytest.fail("it went to work"))
    file = tmp_path / "file"
    file.write_text("")
    for target in (file / "x.why", tmp_path / ("a" * 300), tmp_path):
        assert whylite.main(["export", str(model), "-o", str(target)]) == 2
        assert "cannot write" in capsys.readouterr().err


def test_one_method_may_be_named_alone():
    bundle = export.explain(small_models.float_classifier(), methods="saliency")
    assert [head.method for head in bundle.manifest.heads] == ["saliency"]


@pytest.mark.parametrize("option", ["MODEL", "--calibration", "--baseline", "--labels"])
@pytest.mark.timeout(30)
def test_what_has_no_end_is_refused_at_once(option, model, tmp_path, capsys):
    pipe = tmp_path / "pipe.npy"
    os.mkfifo(pipe)
    for path in (str(pipe), "/dev/zero" if option != "--baseline" else str(tmp_path)):
        arguments = [path, "-o", str(tmp_path / "x.why")] if option == "MODEL" else [str(model), option, path]
        assert whylite.main(["export", *arguments]) == 2
        said = capsys.readouterr().err
        assert "hint:" in said
        assert path in said or "no baseline" in said
    assert {path.name for path in tmp_path.iterdir()} == {"pipe.npy", model.name}


@pytest.mark.parametrize("target", ["/", ".", "..", "folder", "folder/", "file/x.why", "absent/x.why", "nul\0"])
def test_an_output_that_cannot_be_is_refused_before_the_work(target, model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("export.pipeline.explain", lambda *a, **k: pytest.fail("it went to work"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    assert whylite.main(["export", str(model), "-o", target]) == 2
    said = capsys.readouterr().err
    assert "cannot write" in said
    assert "hint:" in said
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "file", model.name}


@pytest.mark.parametrize("name", ["/", ".", "", "nothing"])
def test_a_model_that_is_no_file_is_refused(name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert whylite.main(["export", name]) == 2
    assert "hint:" in capsys.readouterr().err


def test_a_full_disk_leaves_the_older_bundle_and_nothing_else(model, tmp_path):
    """No file may grow beyond 4 kB, which the bundle does; what was there before is smaller."""
    target = model.with_suffix(".why")
    older = zipped("manifest.json")
    target.write_bytes(older)
    code = (
        "import resource, sys, whylite\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        f"sys.exit(whylite.main(['export', {str(model)!r}, '--method', 'saliency']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert f"cannot write {target}" in done.stderr
    assert "has room" in done.stderr
    assert target.read_bytes() == older
    assert sorted(tmp_path.iterdir()) == sorted((model, target))


def zipped(member: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member, "{}")
    return file.getvalue()


@pytest.mark.parametrize("content", [zipped("x.npy"), b"PK, but cut short", b"notes"])
def test_a_file_that_is_no_bundle_is_not_overwritten(content, model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("export.pipeline.explain", lambda *a, **k: pytest.fail("it went to work"))
    target = tmp_path / "yn.npz"
    target.write_bytes(content)
    assert whylite.main(["export", str(model), "-o", str(target)]) == 2
    said = capsys.readouterr().err
    assert f"cannot write {target}: it is there already, and no .why bundle" in said
    assert "name another file with -o" in said
    assert target.read_bytes() == content


def test_a_bundle_and_an_empty_file_are_replaced_and_named_as_asked(model, tmp_path):
    for content in (zipped("manifest.json"), b""):
        (tmp_path / "y.why").write_bytes(content)
        arguments = ["export", str(model), "-o", str(tmp_path / "y.why"), "--method", "saliency", "--name", "beats"]
        assert whylite.main(arguments) == 0
        assert Bundle.open(tmp_path / "y.why").manifest.name == "beats"


def test_a_stop_while_writing_leaves_nothing_behind(tmp_path, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", stop)
    (tmp_path / "x.why").write_bytes(b"an older bundle")
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "x.why", b"a new one")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"an older bundle"]


def test_a_model_named_by_any_bytes_is_exported(model, tmp_path, capsys):
    odd = os.fsdecode(os.fsencode(str(tmp_path)) + b"/my m\xff.tflite")
    model.rename(odd)
    assert whylite.main(["export", odd, "--method", "saliency"]) == 0
    assert Bundle.open(odd.replace(".tflite", ".why")).manifest.name == "my m?"
    assert f"whylite report '{tmp_path}/my m\\udcff.why'\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        (np.full((12, 12, 3), 1e300), "432 of the baseline's 432 values are not finite in float32"),
        (np.where(np.arange(3) == 1, np.nan, np.zeros((12, 12, 3))), "144 of the baseline's 432 values are not finite"),
        (np.zeros((12, 12)), "does not fit 'image'"),
        (np.full((12, 12, 3), "a"), "does not fit 'image'"),
        ([[1.0], [1.0, 2.0]], "not all of one length"),
    ],
)
def test_a_baseline_that_does_not_fit_is_refused(baseline, message, recwarn):
    with pytest.raises(CalibrationError) as caught:
        export.explain(small_models.float_classifier(), methods="integrated_gradients", baseline=baseline)
    assert message in str(caught.value)
    assert ("does not fit" in str(caught.value)) == ("does not fit" in message)
    assert not recwarn


def test_a_baseline_of_no_known_name_is_told_of_files(model, capsys):
    assert whylite.main(["export", str(model), "--baseline", "grey"]) == 2
    assert "zero, mean or FILE.npy" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "error", "message"),
    [
        ({"memory": -1}, MemoryLimitError, "a limit of -1 is no number of bytes"),
        ({"memory": 0}, MemoryLimitError, "a limit of 0 is"),
        ({"memory": "4M"}, MemoryLimitError, "a limit of '4M' is"),
        ({"memory": float("nan")}, MemoryLimitError, "a limit of nan is"),
        ({"memory": True}, MemoryLimitError, "a limit of True is"),
        ({"batch": 2.5}, UnsupportedModelError, "2.5 steps cannot share a call"),
        ({"batch": "8"}, UnsupportedModelError, "'8' steps cannot share a call"),
        ({"batch": True}, UnsupportedModelError, "True steps cannot share a call"),
        ({"labels": "abcd"}, CalibrationError, "labels are 'abcd', no list of names"),
        ({"labels": 4}, CalibrationError, "labels are 4, no list of names"),
        ({"labels": ["a", "b", "c"]}, CalibrationError, "3 labels for a model of 4 classes"),
    ],
)
def test_options_of_another_kind_are_typed_errors_before_any_work(option, error, message):
    def past(stage):
        assert stage == "reading the model" or "labels" in option

    with pytest.raises(error) as caught:
        export.explain(small_models.float_classifier(), methods="integrated_gradients", progress=past, **option)
    assert message in caught.value.cause
    assert caught.value.hint


def test_names_that_two_classes_share_are_noted():
    def notes(*labels):
        return export.explain(small_models.float_classifier(), methods="saliency", labels=labels).manifest.notes

    said = [note for note in notes("crane", "dog", "crane", "cat") if "called" in note]
    assert said == ["2 classes are called 'crane': only their indices tell them apart"]
    assert not [note for note in notes("crane", "dog", "hen", "cat") if "called" in note]


def test_numpy_numbers_are_numbers():
    bundle = export.explain(
        small_models.float_classifier(), methods="integrated_gradients", batch=np.int64(4), memory=np.int64(10**9)
    )
    assert bundle.manifest.heads[0].steps_per_call == 4
    assert Bundle.from_bytes(bundle.to_bytes()).manifest == bundle.manifest
