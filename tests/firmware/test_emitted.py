"""From a model to its answers on a virtual board: an export's golden bytes, over the link, in the methods' units."""

from __future__ import annotations

import numpy as np
import pytest

import export
from edge.bundle import read_npz
from edge.explainer import Explainer
from edge.explanation import Flag
from edge.micro import GOLDEN
from edge.wire.records import Ack, Latency, Map, Request, Result, Session, Window
from export import tflite
from firmware_bridge import boards
from firmware_bridge.build import BuildOptions, build
from tests.firmware.test_device import values
from tests.firmware.test_virtual import emulated
from tests.references import zoo
from tests.tools import GCC, QEMU, needs

LOGIT_STEP = 0.2  # the grid of this model's logits
X = np.random.default_rng(4).normal(0, 0.6, (20, 6, 6, 3)).astype(np.float32)


@pytest.mark.slow
@needs(GCC, QEMU)
def test_a_board_says_what_the_export_promised(tmp_path):
    methods = ("gradcam", "integrated_gradients")
    model = tflite.write(zoo.int8_classifier())
    bundle = export.explain(
        model, calibration=X, target="micro", methods=methods, allow_unfaithful=True
    )  # it is random
    micro, golden = bundle.manifest.micro, read_npz(bundle.members[GOLDEN], GOLDEN)
    board = boards.named("qemu-mps2-an386")
    with emulated(board, build(bundle, board, tmp_path / "build", BuildOptions("gcc")).elf) as host:
        host.say(Request(what=Session.code))
        (session, *_) = host.listen_for(Session)
        for sequence, x in enumerate(golden["x"][:4]):
            host.say(Window(sequence=sequence, offset=0, size=x.size, data=x.tobytes()))
            host.listen_for(Latency, sequence + 1)
        host.say(Request(what=Map.code, method=1, class_index=0, acknowledge=True))
        host.listen_for(Ack)
    assert session.methods == tuple(own.method for own in micro.explanations) == methods
    cam, ig = micro.explanations
    attributions = [record for record in host.of(Map) if record.method == 1]
    for i, result in enumerate(host.of(Result)):
        stored = golden["scores"][i].ravel().astype(int)
        real = np.float32(micro.scores.scale) * (stored - micro.scores.zero_point).astype(np.float32)
        assert np.array_equal(np.float32(result.scores), real)
        (sent,) = [record for record in host.of(Map) if (record.sequence, record.method) == (i, 0)]
        assert sent.data == golden["gradcam"][i].astype(np.int8).tobytes()
        assert sent.scale == pytest.approx(cam.map.scale * cam.units[result.class_index], rel=1e-6)
    for head in bundle.manifest.heads:
        unfaithful = any(not check.passed and check.method in {"", head.method} for check in bundle.manifest.checks)
        sent = [record for record in host.of(Map) if session.methods[record.method] == head.method]
        assert sent
        assert {bool(record.flags & Flag.UNFAITHFUL) for record in sent} == {unfaithful}
    explainer = Explainer(bundle)
    for sent, stored in zip(attributions[:-1], golden["x"], strict=False):
        x = np.float32(micro.input.scale) * (stored.astype(np.float32) - micro.input.zero_point)
        start, end = explainer.logit_along(x.reshape(6, 6, 3), [0, 1], ig.method, explainer.predict(x.reshape(6, 6, 3)))
        step = LOGIT_STEP * 2  # both ends are rounded, and so is all on the way to them
        assert values(sent).sum() + sent.residual == pytest.approx(end - start, abs=step + 0.51 * sent.scale * x.size)
        assert abs(sent.residual) < 0.25 * abs(end - start) + step
        assert sent.steps == ig.steps
    for place, (sent, scale) in enumerate(zip(attributions, golden["integrated_gradients_scale"], strict=False)):
        assert sent.data == golden["integrated_gradients_attribution"][place].tobytes()
        assert sent.scale == scale
    assert attributions[-1].class_index == 0
