"""The memory that explaining takes: measured, written down, and kept below what is allowed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edge
import export
import whylite
from benchmarks.plan import planned
from edge.bundle import Bundle
from export import memory
from export.tflite import Graph, read
from export.tflite.ops import Builder
from tests.references import small_models

IG = "integrated_gradients"
SIZE = 64

pytestmark = pytest.mark.skipif(not memory.measurable(), reason="the kernel does not tell peaks")


@pytest.fixture(scope="module")
def model():
    return small_models.float_classifier(SIZE)


@pytest.fixture(scope="module")
def by_batch(model):
    return {batch: export.explain(model, methods=["gradcam", IG], batch=batch) for batch in (1, 4, 8, 16)}


def peak(bundle, method=IG):
    return bundle.manifest.head(method).peak_memory


def test_more_steps_at_once_take_more_memory(by_batch):
    peaks = [peak(bundle) for bundle in by_batch.values()]
    assert peaks == sorted(peaks)
    # Twice the steps, twice the activations: what 8 more take, as 8 more took before.
    per_step = [(peaks[2] - peaks[1]) / 4, (peaks[3] - peaks[2]) / 8]
    assert per_step[1] == pytest.approx(per_step[0], rel=0.3)


def test_a_peak_counts_the_file_and_the_activations_that_live_at_once(by_batch):
    for bundle in by_batch.values():
        steps = {signature.key: signature.graph for signature in read(bundle.model).signatures}[IG]
        assert peak(bundle) > len(bundle.model) + planned(steps)
        assert peak(bundle) < len(bundle.model) + 4 * planned(steps) + (4 << 20)
        assert peak(bundle) > peak(bundle, "gradcam") > len(bundle.model)


def test_a_peak_survives_packing(by_batch, tmp_path):
    by_batch[8].save(tmp_path / "x.why")
    assert peak(Bundle.open(tmp_path / "x.why")) == peak(by_batch[8])


def test_a_limit_is_kept_by_fewer_steps_at_once(model, by_batch):
    limit = (peak(by_batch[1]) + peak(by_batch[8])) // 2
    bundle = export.explain(model, methods=["gradcam", IG], memory=limit)
    assert peak(bundle) <= limit
    assert 1 <= bundle.manifest.head(IG).steps_per_call < 8
    (x,) = small_models.inputs(1, SIZE)
    got, expected = (edge.Explainer(b).explain(x, IG, class_index=0) for b in (bundle, by_batch[8]))
    np.testing.assert_allclose(got.map, expected.map, rtol=1e-4, atol=1e-5 * np.abs(expected.map).max())


def test_what_cannot_fit_is_refused_with_the_least_that_can(model, by_batch, tmp_path, capsys):
    path = tmp_path / "shapes.tflite"
    path.write_bytes(model)
    assert whylite.main(["export", str(path), "--memory", "200k"]) == 2
    said = capsys.readouterr().err
    assert "does not fit into 200 kB" in said
    assert "1 step a call" in said
    assert "hint:" in said
    assert list(tmp_path.iterdir()) == [path]
    least = memory.parse(said.split("the least it takes is ")[1].split(",")[0].replace(" ", ""))
    assert least == pytest.approx(peak(by_batch[1]), rel=0.25)


def test_other_numerics_are_tried_where_the_cheapest_do_not_fit(monkeypatch):
    """Peaks are made up: numerics whose weights are unpacked take more."""
    made_up = {"deq": 3000, "hybrid": 2000, "mixed": 1000, "int8": 1000}
    named = {}
    compile_methods = export.pipeline.compile_methods

    def compiled(original, methods, numerics, *rest):
        shipped = compile_methods(original, methods, numerics, *rest)
        named[id(shipped)] = numerics.name
        return shipped

    monkeypatch.setattr(export.pipeline, "compile_methods", compiled)
    monkeypatch.setattr(memory, "measured", lambda shipped: {"saliency": made_up[named[id(shipped)]]})
    monkeypatch.setattr("export.choose.is_faithful", lambda row: True)
    model = small_models.quantized_classifier()
    for limit, fitting in ((1500, {"mixed", "int8"}), (2500, {"mixed", "int8", "hybrid"})):
        bundle = export.explain(model, methods="saliency", memory=limit)
        assert bundle.manifest.numerics in fitting
        assert peak(bundle, "saliency") <= limit
    with pytest.raises(export.MemoryLimitError, match=r"least it takes is 1.00 kB, with numerics (mixed|int8)"):
        export.explain(model, methods="saliency", memory=999)
    with pytest.raises(export.MemoryLimitError, match=r"least it takes is 3.00 kB, with numerics deq"):
        export.explain(model, methods="saliency", memory=2500, numerics="deq")


def test_a_limit_that_cannot_be_measured_is_refused_and_a_peak_left_open(model, monkeypatch):
    monkeypatch.setattr(memory, "measurable", lambda: False)
    with pytest.raises(export.MemoryLimitError, match="cannot be measured"):
        export.explain(model, methods="gradcam", memory=1 << 40)
    bundle = export.explain(model, methods="gradcam")
    assert peak(bundle, "gradcam") is None
    assert "memory was not measured" in " ".join(bundle.manifest.notes)


def test_a_measurement_that_fails_is_no_reason_not_to_ship(model, monkeypatch):
    monkeypatch.setattr(memory, "_SECONDS", 0.001)
    bundle = export.explain(model, methods="gradcam")
    assert peak(bundle, "gradcam") is None
    assert "cannot be measured" in " ".join(bundle.manifest.notes)
    with pytest.raises(export.ExportError, match="cannot be measured"):
        export.explain(model, methods="gradcam", memory=1 << 30)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("123", 123),
        ("512k", 512_000),
        ("4M", 4_000_000),
        ("4Mi", 4 << 20),
        ("1.5GB", 1_500_000_000),
        ("2KiB", 2048),
        ("2.01k", 2010),
        (" 7k ", 7000),
    ],
)
def test_sizes(text, size):
    assert memory.parse(text) == size


@pytest.mark.parametrize("text", ["", "M", "-4M", "0", "4 apples", "1e9", "nan", "٤M٤"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(export.MemoryLimitError, match="is not a size"):
        memory.parse(text)


@given(st.integers(1, 10**13))
def test_a_size_said_is_enough(size):
    said = memory.parse(memory.spoken(size).replace(" ", ""))
    assert size <= said <= size * 1.011


def test_what_lives_at_once():
    """x [4] -> a [8] -> b [2], and x is read again at the end: at b, x, a and b are alive."""
    builder = Builder(Graph("main"))
    x = builder.tensor("x", (1, 4))
    a = builder.concatenate([x, x], 1)
    b = builder.slice(a, (0, 0), (1, 2))
    c = builder.slice(b, (0, 0), (1, 1))
    y = builder.mul(x, c)
    builder.graph.inputs, builder.graph.outputs = [x], [y]
    assert planned(builder.graph) == 4 * (4 + 8 + 2)
    builder.graph.outputs = [y, a]
    assert planned(builder.graph) == 4 * (4 + 8 + 4 + 1)
