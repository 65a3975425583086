"""An export for microcontrollers: its C gives the golden bytes, its checks stop what is not faithful."""

from __future__ import annotations

import dataclasses
import re
import sys

import numpy as np
import pytest

import export
import whylite
from edge.bundle import Bundle, npz_bytes, read_npz, seal
from edge.errors import BundleError
from edge.explanation import Flag
from edge.manifest import Check
from edge.micro import GOLDEN, MODEL, SOURCES
from export import micro, tables, tflite
from export.cli import summary
from export.errors import CalibrationError, CheckFailedError, UnsupportedModelError
from export.micro import saturation, stage
from export.micro.reference import Reference
from export.micro.residual import Residual
from export.tflite import Graph, Model, Quantization
from export.tflite import options as tables_of_ops
from export.tflite.ops import INT8, Builder
from tests.c.harness import host_output
from tests.references import zoo

METHODS = ("gradcam", "integrated_gradients", "saliency", "input_x_gradient")
X = np.random.default_rng(4).normal(0, 0.6, (20, 6, 6, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def original() -> bytes:
    return tflite.write(zoo.int8_classifier())


@pytest.fixture(scope="module")
def exported(original) -> Bundle:
    bundle = export.explain(original, calibration=X, target="micro", methods=METHODS, name="tiny net")
    return Bundle.from_bytes(bundle.to_bytes())


def run_in_c(bundle: Bundle, folder, classes: list[list[int]]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return scores ``[passes, inputs, classes]`` of golden inputs, and maps, from the bundle's own C.

    Each method explains the class that a pass has for an input.
    """
    golden = read_npz(bundle.members[GOLDEN], GOLDEN)
    name = f"whylite_{bundle.manifest.micro.identifier}"
    x = ",".join(map(str, golden["x"].ravel().tolist()))
    size, count = golden["x"][0].size, len(golden["x"])
    (folder / "main.c").write_text(
        f"""#include <stdio.h>
#include <string.h>
#include "{name}.h"
static int8_t arena[{name.upper()}_ARENA_SIZE] __attribute__((aligned(WHYLITE_ALIGNMENT)));
static const int8_t x[] = {{{x}}};
static const int32_t classes[] = {{{",".join(map(str, np.ravel(classes)))}}};
static void put(const whylite_tensor *t) {{ fwrite(arena + t->offset, 1, t->size, stdout); }}
int main(void) {{
  for (uint32_t i = 0; i < {len(classes) * count}; i++) {{
    for (uint32_t e = 0; e < {name}.explanation_count; e++) {{
      memcpy(arena + {name}.input.offset, x + i % {count} * {size}u, {size});
      {name}.predict(arena);
      if (e == 0) put(&{name}.scores);
      {name}.explanations[e].run(arena, classes[i]);
      put(&{name}.explanations[e].map);
    }}
  }}
  return 0;
}}
"""
    )
    for member, content in bundle.members.items():
        if member.startswith(SOURCES):
            (folder / member.removeprefix(SOURCES)).write_bytes(content)
    data = np.frombuffer(host_output(sorted(folder.glob("*.c")), folder), np.int8)
    explanations = bundle.manifest.micro.explanations
    sizes = [golden["scores"][0].size, *(golden[own.method][0].size for own in explanations)]
    rows = np.split(data.reshape(len(classes), count, sum(sizes)), np.cumsum(sizes)[:-1], axis=2)
    return rows[0], {own.method: row for own, row in zip(explanations, rows[1:], strict=True)}


def test_the_c_in_the_bundle_gives_the_golden_bytes_and_other_classes_where_asked(exported, original, tmp_path):
    golden = read_npz(exported.members[GOLDEN], GOLDEN)
    others = [(int(scores.argmax()) + 1) % 3 for scores in golden["scores"]]
    assert len(others) == 16
    scores, maps = run_in_c(exported, tmp_path, [[-1] * 16, others])
    assert all(np.array_equal(one, golden["scores"]) for one in scores)
    assert set(maps) == set(METHODS)
    built = rebuilt(original)
    assert built.file() == exported.members[MODEL]
    device = Reference(built.file_of_classes())
    for place, index in enumerate(others):
        given = [golden["x"][place : place + 1], np.asarray([index], np.int32)]
        results = device.run(given, 4)
        for own in built.explanations:
            predicted, other = maps[own.method][:, place]
            expected = results[[t for t in built.graph.outputs if t is not built.class_index].index(own.map)]
            assert np.array_equal(predicted, golden[own.method][place].ravel()), own.method
            assert np.array_equal(other, expected.ravel()), own.method
            assert not np.array_equal(predicted, other), own.method


def flags_in_c(bundle) -> dict[str, int]:
    text = bundle.members[f"{SOURCES}whylite_{bundle.manifest.micro.identifier}.c"].decode()
    return {method: int(flags) for method, flags in re.findall(r'\.method = "(\w+)".*?\.flags = (\d+)', text, re.S)}


def header_of(bundle) -> str:
    return bundle.members[f"{SOURCES}whylite_{bundle.manifest.micro.identifier}.h"].decode()


def rebuilt(original: bytes, x: np.ndarray = X) -> micro.MicroModel:
    model = tflite.read(original)
    graph = model.graphs[0]
    head = export.heads.find(graph)
    layers = dict.fromkeys(METHODS, head.input) | {"gradcam": export.heads.default_layer(graph, head)}
    return micro.admit(model, original, graph, head, layers, x, np.zeros(X.shape[1:], np.float32))


def test_the_manifest_says_what_the_c_takes(exported):
    found = exported.manifest.micro
    assert found.identifier == "tiny_net"
    assert 0 < found.arena <= found.reference_arena
    assert found.reference.startswith("tflite_micro ")
    assert [own.method for own in found.explanations] == list(METHODS)
    assert {operation.part for operation in found.operations} == {"predict", *METHODS}
    assert all(own.fidelity > 0.95 for own in found.explanations)
    steps = found.explanations[1]
    assert 0 < steps.steps == len(steps.nodes) == len(set(steps.nodes))
    assert sum(steps.weights) == 1 << 15
    for own, method in zip(found.explanations, METHODS, strict=True):
        assert own.map.shape == exported.manifest.head(method).map_shape
        told = (
            f".rank = {len(own.map.shape)}, .shape = {{{', '.join(map(str, own.map.shape))}}}}},\n    .run = {method},"
        )
        assert told in exported.members["c/whylite_tiny_net.c"].decode()
        assert len(own.units) == 3


def test_units_bring_maps_back_to_logits(exported):
    golden = read_npz(exported.members[GOLDEN], GOLDEN)
    explainer = export_explainer(exported)
    for place in range(4):
        own = exported.manifest.micro.explanations[0]
        index = int(golden["scores"][place].argmax())
        real = own.map.scale * (golden["gradcam"][place].astype(float) - own.map.zero_point) * own.units[index]
        expected = explainer.explain(X[place], "gradcam", class_index=index).map
        assert np.abs(real - expected).max() < 0.03 * np.abs(expected).max() + 1e-6


def export_explainer(bundle: Bundle):
    from edge.explainer import Explainer

    return Explainer(bundle)


@pytest.mark.parametrize("method", ["layercam", "smoothgrad", "lrp_epsilon", "recipro_cam"])
def test_a_method_without_an_int8_form_is_refused_by_name(original, method):
    with pytest.raises(UnsupportedModelError, match=f"target 'micro' cannot explain by {method}") as caught:
        export.explain(original, calibration=X, target="micro", methods=[method])
    assert "gradcam" in caught.value.hint


def test_a_float_model_is_refused_before_the_work():
    stages: list[str] = []
    with pytest.raises(UnsupportedModelError, match="takes int8 models"):
        export.explain(
            tflite.write(zoo.float_classifier()), target="micro", progress=stages.append, name="float", methods=None
        )
    assert stages == ["reading the model"]


def test_what_was_not_foreseen_in_a_model_is_a_refusal(original, monkeypatch):
    def lost(*_):
        raise KeyError("a tensor")

    monkeypatch.setattr(stage, "build", lost)
    with pytest.raises(UnsupportedModelError, match="cannot be compiled for microcontrollers: KeyError"):
        export.explain(original, calibration=X, target="micro")


def test_where_no_layer_has_positions_integrated_gradients_take_its_place():
    bundle = export.explain(
        tflite.write(dense_only()), calibration=np.random.default_rng(0).normal(0, 0.7, (20, 8)), target="micro"
    )
    assert [own.method for own in bundle.manifest.micro.explanations] == ["integrated_gradients"]
    assert any(note.startswith("gradcam left out: no layer") for note in bundle.manifest.notes)


def dense_only() -> Model:
    random = np.random.default_rng(6)
    builder = Builder(Graph("main"))
    x = builder.tensor("features", (1, 8), INT8, Quantization((0.03,), (4,)))
    builder.graph.inputs = [x]
    first = builder.constant(random.integers(-127, 128, (16, 8)), INT8, Quantization((0.01,), (0,)))
    relu = tables_of_ops.FullyConnectedOptions(tables_of_ops.Activation.RELU)
    hidden = builder.op("FULLY_CONNECTED", [x, first, None], (1, 16), relu, quantization=Quantization((0.03,), (-128,)))
    last = builder.constant(random.integers(-127, 128, (3, 16)), INT8, Quantization((0.01,), (0,)))
    dense = tables_of_ops.FullyConnectedOptions()
    logits = builder.op("FULLY_CONNECTED", [hidden, last, None], (1, 3), dense, quantization=Quantization((0.1,), (0,)))
    softmax = tables_of_ops.SoftmaxOptions(1.0)
    scores = builder.op("SOFTMAX", [logits], (1, 3), softmax, quantization=Quantization((1 / 256,), (-128,)))
    builder.graph.outputs = [scores]
    return zoo.signed(Model([builder.graph]))


@pytest.fixture
def scrambled(monkeypatch):
    """Class rows in the wrong order: a map is that of another class."""
    build = stage.build

    def wrong(*arguments):
        found = build(*arguments)
        table = next(op for op in found.graph.ops if op.code == "GATHER").input(0)
        table.data = -table.data
        return found

    monkeypatch.setattr(stage, "build", wrong)


def test_an_unfaithful_explanation_stops_the_export(original, scrambled):
    with pytest.raises(CheckFailedError, match="not like exact arithmetic: gradcam fidelity on a microcontroller"):
        export.explain(original, calibration=X, target="micro")


def test_or_ships_marked_where_that_is_asked_for_by_gradcam_alone_where_nothing_else_is(original, scrambled):
    bundle = export.explain(original, calibration=X, target="micro", allow_unfaithful=True)
    (check,) = [check for check in bundle.manifest.checks if check.name.endswith("fidelity on a microcontroller")]
    assert not check.passed
    assert [head.method for head in bundle.manifest.heads] == ["gradcam"]
    assert "shipped with failed checks (--allow-unfaithful)" in bundle.manifest.notes
    assert flags_in_c(bundle) == {"gradcam": Flag.UNFAITHFUL}
    assert header_of(bundle).count("a check of its export failed") == 1


def test_maps_of_faithful_explanations_have_no_flag(exported):
    failed = {check.method for check in exported.manifest.checks if not check.passed}
    for method, flags in flags_in_c(exported).items():
        assert flags == (Flag.NONE if failed.isdisjoint({"", method}) else Flag.UNFAITHFUL)
    marked = sum(flags == Flag.UNFAITHFUL for flags in flags_in_c(exported).values())
    assert header_of(exported).count("a check of its export failed") == marked < 4


def test_other_predictions_stop_the_export(original, monkeypatch):
    build = stage.build

    def wrong(graph, *rest):
        found = build(graph, *rest)
        ops = list(found.graph.ops)
        bias = ops[0].input(2)
        louder = dataclasses.replace(bias, data=bias.data + 900)
        ops[0] = dataclasses.replace(ops[0], inputs=[*ops[0].inputs[:2], louder])
        found.graph.tensors.append(louder)
        found.graph.ops = ops
        return found

    monkeypatch.setattr(stage, "build", wrong)
    with pytest.raises(CheckFailedError, match="microcontroller's predictions"):
        export.explain(original, calibration=X, target="micro")


def test_the_summary_has_arena_and_fidelity(exported):
    text = "\n".join(tables.micro(exported.manifest.micro))
    found = exported.manifest.micro
    assert f"arena {found.arena:,} bytes" in text
    assert f"{found.reference_arena:,}" in text
    assert 0 < found.explaining < found.constants
    assert f"{found.explaining:,} of them to explain" in text
    assert (
        "beside the arena firmware keeps window and scores, 112 bytes, and sums of 4 bytes per input value, 432" in text
    )
    for own in found.explanations:
        (line,) = [line for line in text.splitlines() if line.lstrip().startswith(f"+ {own.method} ")]
        assert f"{own.fidelity:.3f}" in line
        assert f"{own.fidelity_p05:.3f}" in line


def test_grids_are_held_to_inputs_that_they_were_not_made_from(exported, original):
    found = {check.name: check for check in exported.manifest.checks}
    for method in METHODS:
        check = found[f"{method} saturated, inputs held back"]
        assert (check.passed, check.samples) == (True, 10)
    grids, held_back = saturation.parted(np.concatenate([X, X]), rebuilt(original).input)
    assert (len(grids), len(held_back)) == (10, 10)
    assert not {sample.tobytes() for sample in grids} & {sample.tobytes() for sample in held_back}
    quiet = saturation.checks(rebuilt(original, X * 0.05), X, "louder inputs")
    assert quiet[0].value > 0.2
    assert not quiet[0].passed


@pytest.mark.parametrize("few", [X[:7], np.repeat(X[:1] * 0, 30, 0)])
def test_too_few_different_calibration_inputs_are_refused_before_the_work(original, few):
    stages: list[str] = []
    with pytest.raises(CalibrationError, match=r"needs 8 different calibration inputs, and there are [17]:"):
        export.explain(original, calibration=few, target="micro", progress=stages.append)
    assert stages == ["reading the model"]


def test_maps_that_saturate_on_inputs_held_back_stop_the_export(original, monkeypatch):
    build = stage.build
    monkeypatch.setattr(stage, "build", lambda graph, head, layers, x, start: build(graph, head, layers, x / 20, start))
    with pytest.raises(CheckFailedError, match="gradcam saturated, inputs held back"):
        export.explain(original, calibration=X, target="micro")


def test_inputs_quieter_than_noise_are_noted_where_others_were_held_back(original):
    bundle = export.explain(original, calibration=X * 0.1, target="micro")
    assert any("saturate on noise over all that the input can store" in note for note in bundle.manifest.notes)


def test_a_value_of_zero_is_no_end_of_a_grid(original):
    built = rebuilt(original)
    rectified, signed = (built.explanations[place].map for place in (0, 2))
    assert saturation.at_an_end(rectified, np.array([-128, -127, 126, 127], np.int8)) == 0.25
    assert saturation.at_an_end(signed, np.array([-128, -127, 126, 127], np.int8)) == 0.75


def micro_rows(found: export.Verification) -> dict[str, Check]:
    names = ("microcontroller", "saturated")
    return {check.name: check for check in found.checks if any(name in check.name for name in names)}


def test_verify_checks_what_the_microcontroller_computes(exported, original):
    rows = micro_rows(export.verify(exported, X, seconds=0.1))
    assert all(check.passed for check in rows.values())
    expected = {"microcontroller's golden vectors", "microcontroller's predictions"}
    expected |= {f"{method} fidelity on a microcontroller" for method in METHODS}
    assert set(rows) == expected | {f"{method} saturated, data given" for method in METHODS}
    held_back = saturation.parted(X, rebuilt(original).input)[1]
    again = micro_rows(export.verify(exported, held_back, seconds=0.1))
    of_export = {check.name: check for check in exported.manifest.checks}
    for method in METHODS:
        assert again[f"{method} fidelity on a microcontroller"] == of_export[f"{method} fidelity on a microcontroller"]


def test_verify_finds_other_golden_bytes_and_louder_data(exported):
    golden = read_npz(exported.members[GOLDEN], GOLDEN)
    golden["gradcam"] = golden["gradcam"] ^ 1
    changed = seal(exported.manifest, {**exported.members, GOLDEN: npz_bytes(**golden)})
    check = micro_rows(export.verify(changed))["microcontroller's golden vectors"]
    assert (check.value, check.passed) == (16, False)
    loud = micro_rows(export.verify(exported, X * 4, seconds=0.1))
    assert not loud["gradcam saturated, data given"].passed


@pytest.mark.parametrize("name", ["integrated_gradients_attribution", "integrated_gradients_scale"])
def test_verify_finds_other_attributions_and_refuses_a_bundle_without(exported, name):
    golden = read_npz(exported.members[GOLDEN], GOLDEN)
    assert golden[name].shape[0] == 4
    other = golden | {name: golden[name] + golden[name].dtype.type(1)}
    check = micro.golden(seal(exported.manifest, {**exported.members, GOLDEN: npz_bytes(**other)})).checks[0]
    assert (check.value, check.passed) == (4, False)
    del golden[name]
    before = seal(exported.manifest, {**exported.members, GOLDEN: npz_bytes(**golden)})
    with pytest.raises(BundleError, match=f"has no {name} of these inputs") as caught:
        micro.golden(before)
    assert caught.value.hint.startswith("export it again")


def test_maps_on_one_grid_are_told_apart():
    """Where inputs are at most 1, and 1 at the largest gradient, its product with them has the gradient's grid."""
    random = np.random.default_rng(8)
    builder = Builder(Graph("main"))
    x = builder.tensor("features", (1, 12), INT8, Quantization((float(np.float32(1 / 127)),), (0,)))
    builder.graph.inputs = [x]
    weights = builder.constant(random.integers(-127, 128, (3, 12)), INT8, Quantization((0.01,), (0,)))
    options, grid = tables_of_ops.FullyConnectedOptions(), Quantization((0.1,), (0,))
    logits = builder.op("FULLY_CONNECTED", [x, weights, None], (1, 3), options, quantization=grid)
    builder.graph.outputs = [logits]
    model = tflite.write(zoo.signed(Model([builder.graph])))
    data = random.integers(-127, 128, (20, 12)).astype(np.float32) / 127
    data[0] = 1
    methods = ("saliency", "input_x_gradient")
    bundle = export.explain(model, calibration=data, target="micro", methods=methods, allow_unfaithful=True)
    one, other = (own.map for own in bundle.manifest.micro.explanations)
    assert one == other
    (check,) = micro.golden(bundle).checks
    assert check.passed


def test_verify_says_what_it_left_out_without_tensorflow_lite_micro(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "tflite_micro.python.tflite_micro.runtime", None)
    found = export.verify(exported)
    assert not micro_rows(found)
    assert any(re.search(r"was not checked: .*not installed.*whylite\[micro\]", note) for note in found.notes)


def test_the_cost_of_integrated_gradients_is_that_of_all_steps(exported, tmp_path, capsys):
    found = exported.manifest.micro
    own = found.explanations[1]
    predict, gradient = (
        sum(each.macs for each in found.operations if each.part == part) for part in ("predict", own.method)
    )
    whole = f"{own.steps * (predict + gradient):,}"
    exported.save(tmp_path / "m.why")
    assert whylite.main(["emit", str(tmp_path / "m.why"), "-o", str(tmp_path / "c")]) == 0
    for text in (capsys.readouterr().out, summary(exported, tmp_path / "m.why")):
        (line,) = [line for line in text.splitlines() if line.lstrip().startswith("+ integrated_gradients ")]
        assert whole in line.split()
        assert f"{own.steps} x ({predict:,} to predict and {gradient:,} for the gradient)" in text
    header = (tmp_path / "c" / "whylite_tiny_net.h").read_text()
    assert f"{own.steps} x ({predict} + {gradient}) integrated_gradients" in header
    assert f"the gradient for integrated_gradients of image\n *         {own.steps} steps of it are summed" in header
    assert f"{found.explaining} of them to explain" in header
    assert "WHYLITE_SUMS_SIZE" in header


def test_the_summary_says_which_figures_are_of_which_machine(exported, tmp_path):
    exported.save(tmp_path / "m.why")
    text = summary(exported, tmp_path / "m.why")
    workstation, device, schedules = (text.index(said) for said in ("time     memory", "in C ", "map error"))
    assert text.index("on a workstation") < workstation < text.index("on the microcontroller, by") < device
    assert device < text.rindex("on a workstation, by") < schedules
    check = next(check for check in exported.manifest.checks if check.name == "gradcam fidelity on a microcontroller")
    (line,) = [line for line in text.splitlines() if check.name in line]
    assert f"{exported.manifest.micro.explanations[0].fidelity:.3f}" in line.split()


def test_the_residual_of_integrated_gradients_is_the_devices(exported, original):
    """Summed in integers, as whylite_integrate.c does."""
    built, own = rebuilt(original), exported.manifest.micro.explanations[1]
    device, place = Reference(built.file_of_classes()), built.outputs_of_classes.index(built.explanations[1].map)
    assert built.logits not in built.outputs_of_classes
    grid, logits = built.input.quantization, built.logits.quantization
    start = grid.quantize(np.zeros((1, 6, 6, 3)), INT8).astype(np.int64)

    def run(x, index):
        return device.run([x.astype(np.int8), np.asarray([index], np.int32)], len(built.outputs_of_classes) + 1)

    shares = []
    for sample in saturation.parted(X, rebuilt(original).input)[1]:
        x = grid.quantize(sample[None], INT8).astype(np.int64)
        index = int(run(x, 0)[0].argmax())
        points = [start + (((x - start) * node + (1 << 14)) >> 15) for node in own.nodes]
        gradients = [run(point, index)[place].astype(np.int64) for point in points]
        sums = sum(weight * gradient for weight, gradient in zip(own.weights, gradients, strict=True))
        unit = grid.scale[0] * own.map.scale * own.units[index] / (1 << 15)
        high, low = (int(run(end, 0)[-1].ravel()[index]) for end in (x, start))
        assert own.baseline_logits[index] == pytest.approx(logits.scale[0] * (low - logits.zero_point[0]))
        change = logits.scale[0] * (high - low)
        shares.append(abs(change - unit * float((sums * (x - start)).sum())) / abs(change))
    assert np.quantile(shares, (0.5, 0.9)) == pytest.approx((own.residual_p50, own.residual_p90), rel=1e-4)
    assert exported.manifest.micro.explanations[0].residual_p50 is None
    text = "\n".join(tables.micro(exported.manifest.micro))
    assert f"leaves {own.residual_p50:.1%} of the logit's change unexplained" in text
    assert f"up to {own.residual_p90:.1%} in 9 of 10" in text


def test_what_does_not_add_up_on_the_device_is_noted(exported, original, monkeypatch):
    assert not any("do not add up" in note for note in exported.manifest.notes)
    monkeypatch.setattr(stage, "residual", lambda *_: Residual(0.27, 0.71))
    bundle = export.explain(original, calibration=X, target="micro", methods=["integrated_gradients"])
    assert any("leaves 27% of the logit's change unexplained in half" in note for note in bundle.manifest.notes)
