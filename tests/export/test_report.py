"""The report as a reader's browser sees it: whole by itself, true to what was measured, and safe whatever names say."""

import base64
import io
import re
import shutil
import subprocess
from dataclasses import replace
from html import escape

import matplotlib.image
import numpy as np
import pytest

import edge
import export
from edge.bundle import Bundle
from edge.explanation import Explanation, Flag
from edge.manifest import Candidate, Check, Measure, Port
from export.choose import rank_correlation
from export.report import make, panels, png
from export.report.charts import Axis, Line, chart, gauge
from export.report.samples import Sample, choose
from tests.page import Page
from tests.references import small_models
from tests.tools import needs

HOSTILE = "<script>alert('x')</script> & \"quoted\"</style>\ud800\x00"
SAFE = HOSTILE.encode("utf-8", "replace").decode()
WALKING = ["integrated_gradients", "saliency", "smoothgrad", "guided_backprop", "fullgrad"]
METHODS = ["gradcam", "integrated_gradients", "saliency", "layercam"]


@pytest.fixture(scope="module")
def bundle():
    x = small_models.inputs(16)
    labels = ["circle", "square", "star", "nothing"]
    model = small_models.float_classifier()
    return export.explain(model, calibration=x, methods=METHODS, labels=labels, name="shapes")


def page_of(bundle, x=None, truth=None, **options):
    return make(bundle, small_models.inputs(16) if x is None else x, truth, **options).decode()


def words_of(text):
    return " ".join(Page(text).words)


def with_manifest(bundle, **fields):
    return Bundle(replace(bundle.manifest, **fields), bundle.members)


def test_it_needs_nothing_but_itself(bundle):
    text = page_of(bundle)
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    assert not {name for name, _ in page.attributes if name.startswith("on")}
    assert not set(page.of("href") + page.of("srcset"))
    assert set(Page("".join(made_up(bundle, "signal"))).of("href")) <= {
        f"#input{i}-{k}" for i in range(6) for k in range(6)
    }
    assert any("default-src 'none'" in content for content in page.of("content"))
    assert page.of("src")
    assert all(value.startswith("data:image/png;base64,") for value in page.of("src"))
    assert not re.search(r"https?:|//|@import|url\((?!data:image/png)", re.sub(r"base64,[A-Za-z0-9+/=]+", "", text))


def test_every_picture_is_a_readable_png_with_words_for_those_who_cannot_see_it(bundle):
    page = Page(page_of(bundle))
    assert len(page.of("alt")) == len(page.of("src"))
    assert all(page.of("alt") + page.of("aria-label"))
    for address in page.of("src")[:8]:
        drawn = matplotlib.image.imread(io.BytesIO(base64.b64decode(address.partition(",")[2])), format="png")
        assert drawn.shape[2] == 4


def test_equal_measurements_give_equal_bytes(bundle):
    assert page_of(bundle) == page_of(bundle)


def test_it_says_what_was_measured(bundle):
    said = words_of(page_of(bundle))
    manifest = bundle.manifest
    for check in manifest.checks:
        assert check.name in said
        assert f"{check.value:.3g}" in said
        assert check.detail in said
    for head in manifest.heads:
        assert f"{head.cost_ratio:.2f} ×" in said
        assert head.layer in said
        for schedule in head.schedules:
            assert f"{schedule.residual_p90:.2%}" in said
            assert f"{schedule.error_p50:.2%}" in said
            assert schedule.rule in said
    for fact in (manifest.model_digest, manifest.runtime, manifest.created_by, *manifest.labels, *manifest.notes):
        assert fact in said
    gating = [check for check in manifest.checks if check.gating]
    assert f"{len(gating)} of {len(gating)}" in said


def test_maps_are_those_that_the_device_makes(bundle):
    x = small_models.inputs(16)
    said = words_of(page_of(bundle, x))
    explainer = edge.Explainer(bundle)
    for index in map(int, re.findall(r"Input (\d+):", said)):
        for method in METHODS:
            e = explainer.explain(x[index], method)
            adds_up = f"sum {e.map.sum():+.3g}".replace("-", "−")
            assert (adds_up in said) != (method == "saliency")
        assert f"residual {explainer.explain(x[index], METHODS[1]).residual:+.3g}".replace("-", "−") in said


def test_values_that_are_no_logits_have_their_unit_under_them(bundle):
    x = small_models.inputs(16)
    assert words_of(page_of(bundle, x)).count("values in logits per input unit") == page_of(bundle, x).count("<article")


def test_a_visual_aid_says_so_on_every_map(bundle):
    said = words_of(page_of(bundle))
    shown = len(re.findall(r"Input \d+:", said))
    assert said.count("visual aid: no evidence") == shown > 1


def test_a_failed_check_is_not_hidden_and_marks_its_methods_maps(bundle):
    failed = Check("class sensitivity", 0.2, 0.9, False, 8, "of nothing", "saliency", (0.1, 0.3), (0, 1))
    said = words_of(page_of(with_manifest(bundle, checks=(failed,))))
    assert "0 of 1" in said
    assert "✗ failed" in said
    assert "✓ passed" not in said
    assert "null distribution 0.1 to 0.3; seeds 0, 1" in said
    assert said.count("failed its check: class sensitivity") == len(re.findall(r"Input \d+:", said))


def test_a_visual_aid_may_fail_without_counting(bundle):
    aid = Check("class sensitivity", 0.2, 0.9, False, 8, method="layercam", gating=False)
    good = Check("prediction parity", 0, 0, True, 8)
    said = words_of(page_of(with_manifest(bundle, checks=(aid, good))))
    assert "1 of 1" in said
    assert "✗ failed as a visual aid may" in said


def test_measures_are_reported_with_their_interval_and_reference(bundle):
    measure = Measure("deletion", "saliency", 0.123, 8, (0.05, 0.2), 0.345, "area under the curve")
    said = words_of(page_of(with_manifest(bundle, measures=(measure,))))
    for figure in ("0.123", "0.05 to 0.2", "0.345", "area under the curve"):
        assert figure in said
    assert "area under the curve" not in words_of(page_of(bundle))


def test_true_classes_are_marked_right_and_wrong(bundle):
    x = small_models.inputs(16)
    answers = np.array([edge.Explainer(bundle).predict(sample).class_index for sample in x])
    assert "✓ right" in (said := words_of(page_of(bundle, x, answers)))
    assert "✗ wrong" not in said
    other = (answers + 1) % 4
    said = words_of(page_of(bundle, x, other))
    assert "✓ right" not in said
    assert "the most certain mistake" in said
    assert re.search("✗ wrong: it is (circle|square|star|nothing)", said)


def test_nothing_is_right_or_wrong_where_nobody_knows(bundle):
    said = words_of(page_of(bundle))
    assert "✓ right" not in said
    assert "✗ wrong" not in said


def test_hostile_names_are_text_and_nothing_else(bundle):
    manifest = bundle.manifest
    schedules = [replace(s, rule=HOSTILE) for s in manifest.head("integrated_gradients").schedules]
    heads = [replace(head, layer=HOSTILE) for head in manifest.heads]
    heads[0] = replace(heads[0], method=HOSTILE)
    heads[1] = replace(heads[1], schedules=tuple(schedules))
    hostile = with_manifest(
        bundle,
        **dict.fromkeys(("name", "kind", "numerics", "target", "baseline", "runtime", "created_by"), HOSTILE),
        model_digest=HOSTILE,
        labels=(HOSTILE,) * 4,
        notes=(HOSTILE,),
        heads=tuple(heads),
        checks=(Check(HOSTILE, 1, 0, False, 1, HOSTILE, HOSTILE),),
        measures=(Measure(HOSTILE, HOSTILE, 1, 1, detail=HOSTILE),),
        candidates=(Candidate(HOSTILE, HOSTILE, 1, 1, 1),),
    )
    text = make(hostile, small_models.inputs(4), np.zeros(4, np.int64)).decode("utf-8")
    page = Page(text)
    assert page.tags["script"] == 0
    assert page.tags["style"] == 1
    assert " ".join(page.words).count("<script>alert('x')</script> & \"quoted\"</style>") > 20


def test_long_names_are_cut(bundle):
    text = page_of(with_manifest(bundle, labels=("x" * 100_000, *bundle.manifest.labels[1:])))
    assert len(text) < 200_000


KINDS = {
    "signal": (Port("x", (200, 6), "float32"), (200, 6), (25,)),
    "many channels": (Port("x", (4096, 14), "float32"), (4096, 14), (1024,)),
    "beat": (Port("x", (187, 1), "float32"), (187, 1), (11,)),
    "raw sound": (Port("x", (16000,), "float32"), (16000,), (499,)),
    "large image": (Port("x", (224, 224, 3), "float32"), (224, 224, 3), (7, 7)),
    "grey image": (Port("x", (96, 96, 1), "float32"), (96, 96, 1), (3, 3)),
    "spectrogram": (Port("x", (49, 10, 1), "float32"), (49, 10, 1), (25, 5)),
    "video": (Port("x", (8, 32, 32, 3), "float32"), (8, 32, 32, 3), (4, 8, 8)),
    "features": (Port("x", (24,), "float32"), (24,), (5,)),
    "ids": (Port("x", (256,), "int32", limits=(0, 99)), (256, 16), (256,)),
    "map of something else": (Port("x", (1960,), "float32"), (1960,), (25, 20)),
}


def made_up(bundle, case):
    """Return the cards of inputs that no model was asked about, with two maps each."""
    port, own, coarse = KINDS[case]
    random = np.random.default_rng(0)
    heads = tuple(replace(bundle.manifest.heads[1], method=method) for method in ("integrated_gradients", "gradcam"))
    manifest = replace(bundle.manifest, input=port, heads=heads)
    samples = []
    for index in range(6):
        scores = random.dirichlet(np.ones(4)).astype(np.float32)
        x = random.integers(0, 99, port.shape).astype(np.float32)
        maps = [random.normal(size=own), random.random(coarse)]
        made = [
            Explanation(
                scores, int(scores.argmax()), method=head.method, map=values.astype(np.float32), flags=Flag(511)
            )
            for head, values in zip(heads, maps, strict=True)
        ]
        samples.append(Sample(index, "made up", x, None, tuple(made)))
    scales = panels.scales_of(manifest, samples)
    return [panels.card(sample, manifest, scales) for sample in samples]


@pytest.mark.parametrize("case", KINDS)
def test_every_kind_of_input_is_shown_with_its_maps_in_few_bytes(case, bundle):
    cards = made_up(bundle, case)
    page = Page("".join(cards))
    assert page.tags["article"] == 6
    assert page.tags["figure"] >= 12
    assert sum(map(len, cards)) < 350_000


def test_inputs_that_are_not_finite_numbers_of_a_map_do_no_harm(bundle):
    """Maps of NaN and infinity are shown as the nothing that they say."""
    port, own, _ = KINDS["features"]
    manifest = replace(bundle.manifest, input=port, heads=bundle.manifest.heads[:1])
    values = np.array([np.nan, np.inf, -np.inf, *range(21)], np.float32).reshape(own)
    e = Explanation(np.ones(4, np.float32), 0, method="gradcam", map=values, residual=np.nan, flags=Flag.NOT_FINITE)
    samples = [Sample(0, "made up", np.ones(24, np.float32), None, (e,))]
    assert "it says nothing" in words_of(panels.card(samples[0], manifest, panels.scales_of(manifest, samples)))


@pytest.fixture(scope="module")
def rounded():
    """An int8 model with its report, integer gradients beside exact ones."""
    x = small_models.inputs(16)
    model = small_models.quantized_classifier()
    options = {"numerics": "int8", "allow_unfaithful": True, "methods": WALKING}
    return export.explain(model, calibration=x, truth=np.zeros(16, int), report=True, **options)


def test_what_rounding_did_is_shown_beside_exact_maps(rounded):
    said = words_of(rounded.members[edge.bundle.REPORT].decode())
    assert said.count("as shipped; rank correlation") == 2 * len(WALKING)
    for row in rounded.manifest.candidates:
        assert f"{row.fidelity:.3f}" in said
    correlations = [float(found) for found in re.findall(r"rank correlation ([\d.]+)", said)]
    assert all(0 <= rho <= 1 for rho in correlations)
    assert len(set(correlations)) > 1


def test_compared_maps_are_drawn_with_the_correlation_of_what_was_given(bundle):
    random = np.random.default_rng(0)
    ours, exact = random.normal(size=(2, 12, 12, 3)).astype(np.float32)
    tried = with_manifest(bundle, candidates=(Candidate("int8", "saliency", 1, 1, 1),))
    said = words_of(page_of(tried, compare=lambda x, class_index: {"saliency": (ours, exact)}))
    assert f"rank correlation {rank_correlation(ours, exact):.3f}" in said
    assert "in exact arithmetic" not in words_of(page_of(tried))


def test_a_bundle_with_a_report_opens_and_explains_as_one_without(rounded, tmp_path):
    rounded.save(tmp_path / "r.why")
    opened = Bundle.open(tmp_path / "r.why")
    assert edge.bundle.REPORT in opened.members
    x = small_models.inputs(1)[0]
    members = {name: content for name, content in opened.members.items() if name != edge.bundle.REPORT}
    plain = edge.Explainer(edge.bundle.seal(opened.manifest, members))
    np.testing.assert_array_equal(plain.explain(x).map, edge.Explainer(opened).explain(x).map)


def test_an_export_from_python_makes_one_only_where_it_is_asked_for(bundle):
    assert edge.bundle.REPORT not in bundle.members


@pytest.mark.parametrize("truth", [np.zeros(3, int), np.full(16, 4), np.full(16, -1), np.zeros(16), [[1], [2, 3]]])
def test_true_classes_that_do_not_fit_are_refused(truth):
    with pytest.raises(export.CalibrationError, match="true classes"):
        export.explain(small_models.float_classifier(), calibration=small_models.inputs(16), truth=truth)


def test_the_inputs_shown_are_chosen_by_the_rule():
    scores = np.zeros((8, 3), np.float32)
    scores[np.arange(8), [0, 0, 0, 0, 1, 1, 1, 2]] = [0.9, 0.5, 0.7, 0.6, 0.8, 0.2, 0.4, 0.3]
    chosen = choose(scores)
    assert chosen[0] == "the most certain"
    assert chosen[5] == "the least certain"
    assert chosen[3] == chosen[6] == "median certainty of its class"  # of 0.9 0.7 0.6 0.5, and of 0.8 0.4 0.2
    assert chosen[7] == "median certainty of its class"
    assert len(chosen) == 6
    truth = np.array([0, 0, 1, 0, 1, 1, 1, 2])
    assert choose(scores, truth)[2] == "the most certain mistake"
    assert choose(scores[:1]) == {0: "the most certain, the least certain, median certainty of its class"}
    assert len(choose(np.zeros((20, 1), np.float32))) == 6


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (1, 1), (40, 1, 3)])
def test_photographs_are_stored_as_they_are(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    read = matplotlib.image.imread(io.BytesIO(png.photograph(pixels)), format="png")
    np.testing.assert_array_equal(np.rint(read * 255).reshape(shape), pixels)


def test_indexed_pictures_are_stored_as_their_colours():
    palette = np.random.default_rng(0).integers(0, 256, (63, 4)).astype(np.uint8)
    places = np.random.default_rng(1).integers(0, 63, (9, 4)).astype(np.uint8)
    read = matplotlib.image.imread(io.BytesIO(png.indexed(places, palette)), format="png")
    np.testing.assert_array_equal(np.rint(read * 255), palette[places])


def test_a_chart_puts_points_where_their_values_are():
    x, y = Axis(1, 100, [(1, "one"), (100, "all")], "x", logarithmic=True), Axis(-1, 1, [(0, "zero")], "y")
    drawn = chart([Line("a & b", [(1, -1), (10, 0), (100, 1)], [(10, 0)])], x, y, "what it shows")
    assert 'd="M0 300L500 150L1000 0"' in drawn
    assert 'd="M500 150h0"' in drawn
    assert {"left:0.0%", "left:100.0%", "top:50.0%"} <= set(Page(drawn).of("style"))
    assert "a & b" in Page(drawn).words


def test_the_path_has_a_dot_for_each_step_that_is_taken(bundle):
    head = bundle.manifest.head("integrated_gradients")
    fixed = replace(head.schedules[0], intervals=0, nodes=(0.25, 0.75), weights=(0.5, 0.5), steps=2)
    drawn = page_of(with_manifest(bundle, heads=(replace(head, schedules=(fixed,)),)))
    dots = [path for path in Page(drawn).of("d") if "h0" in path and path.count("M") > 1]
    assert {tuple(re.findall(r"M(\d+) ", path)) for path in dots} == {("250", "750")}


@pytest.mark.parametrize("residual", [0.0, 1e-30, 1e-3, 1.0, 1e30, np.inf, np.nan, None])
def test_any_residual_can_be_shown(residual, bundle):
    head = bundle.manifest.head("integrated_gradients")
    schedules = tuple(replace(s, residual_p50=residual, error_p90=residual) for s in head.schedules)
    said = words_of(page_of(with_manifest(bundle, heads=(replace(head, schedules=schedules),)), small_models.inputs(1)))
    assert ("not measured" if residual is None else f"{residual:.2%}") in said


def test_a_gauge_has_its_figures_in_order():
    places = [float(place) for place in re.findall(r"M([\d.]+) (?:5V|50h)", gauge(0.3, 0.9, (0.1, 0.2)))]
    box = re.search(r'<rect x="(\d+)" y="20" width="(\d+)"', gauge(0.3, 0.9, (0.1, 0.2)))
    bound, value = places
    assert 40 < int(box[1]) < int(box[1]) + int(box[2]) < value < bound == 960
    assert gauge(0, 0, None) == gauge(np.nan, 1, None) == ""


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or "chromium"
MEASURE = """<script>onload = () => {
  const page = document.querySelector("iframe").contentDocument;
  const beyond = [...page.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > WIDTH);
  document.title = JSON.stringify([page.documentElement.scrollWidth, beyond.length, page.images.length,
    [...page.images].filter(image => !image.naturalWidth).length]);
}</script>"""


@needs(CHROMIUM)
@pytest.mark.parametrize("width", [360, 1280])
def test_a_browser_shows_it_without_scrolling_sideways(width, bundle, tmp_path):
    everything = "".join("".join(made_up(bundle, case)) for case in KINDS)
    name = with_manifest(bundle, name="a_model_whose_name_is_so_long_that_it_must_be_broken_" * 4)
    text = page_of(name).replace("</body>", everything + "</body>")
    frame = f'<iframe style="width:{width}px;height:900px;border:0" srcdoc="{escape(text)}"></iframe>'
    (tmp_path / "page.html").write_text(frame + MEASURE.replace("WIDTH", str(width)))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    shown = subprocess.run(
        [*command, "--window-size=1400,1000", "--dump-dom", (tmp_path / "page.html").as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    title = re.search(r"<title>\[(\d+),(\d+),(\d+),(\d+)\]</title>", shown.stdout)
    scrolled, beyond, pictures, broken = map(int, title.groups())
    assert scrolled <= width
    assert not beyond
    assert not broken
    assert pictures > 50
