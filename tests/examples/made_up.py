"""A run of the demo that never was, for the picture and the report to show."""

from collections import Counter

import numpy as np

from edge.explanation import Explanation
from edge.latency import Quantiles
from edge.manifest import Check, ExplanationHead, Manifest, Port, Schedule
from examples.watch import data
from examples.watch.micro import OnMicro
from examples.watch.picture import Case
from examples.watch.report import DemoResult
from firmware_bridge.profile.document import MemoryCost, PartCost, Profile, Spread
from firmware_bridge.summary import Account, Summary, Totals


def make_case(unseen, index, answer, note=""):
    """A window with attributions of the right shapes: the window itself serves as map."""
    scores = np.full(7, 0.02, np.float32)
    scores[answer] = 0.88
    window = unseen.x[index]
    return Case(
        window,
        int(unseen.y[index]),
        Explanation(scores, answer, method="gradcam", map=np.linspace(0, 2, 25, dtype=np.float32)),
        Explanation(scores, answer, method="integrated_gradients", map=window / 100, residual=0.012, steps=64),
        note,
    )


def make_micro(unseen, toolchain="some compiler"):
    """What firmware could have come to: GradCAM costs 1 %, Integrated Gradients eighty predictions."""
    parts = [("predict", 850_000, 1.0, 0), ("gradcam", 8500, 1.01, 0), ("integrated_gradients", 67_150_000, 80.0, 32)]
    profile = Profile(
        whylite="0.1.0",
        model="watch",
        digest="0" * 64,
        board="unicorn-cortex-m4",
        core="cortex-m4f",
        unit="instructions",
        counter="SysTick",
        windows=1,
        parts=tuple(PartCost(name, Spread(count, count, count), ratio, steps=n) for name, count, ratio, n in parts),
        memory=MemoryCost(9616, 8656, "tflite_micro", flash=71_360, ram=19_152, stack=2048),
        toolchain=toolchain,
    )
    check = Check("prediction parity on a microcontroller", 0, 0, True, 21, "answers that differ")
    return OnMicro(profile, check, {"gradcam": (21, 0.999)}, make_case(unseen, 20, 1, "on a Cortex-M4F"))


def make_result(unseen, *, check=None, note="", facts=None, dropped=None, micro=None):
    """A run as the demo could have had it, with nine of ten windows right."""
    scores = np.eye(7, dtype=np.float32)[unseen.y]
    scores[::10] = np.roll(scores[::10], 1, axis=1)
    spread = Quantiles(len(unseen), 41_000.0, 40_000, 55_000, 80_000, 1_200_000)
    heads = (
        ExplanationHead("gradcam", "features", (25,), "gradcam", "gradcam_predicted", cost_ratio=1.08),
        ExplanationHead(
            "integrated_gradients",
            "x",
            (200, 6),
            "ig",
            schedules=(Schedule(8, (), (), 0.017, 0.04), Schedule(64, (), (), 0.0027, 0.0067)),
            cost_ratio=86.0,
        ),
    )
    manifest = Manifest(
        name="watch",
        model_digest="0" * 64,
        kind="int8",
        input=Port("x", (200, 6), "int8", 0.05, 0),
        output=Port("y", (7,), "int8", 1 / 256, -128),
        labels=data.LABELS,
        predict="serving_default",
        logits="logits",
        heads=heads,
        numerics="deq",
        target="pi",
        baseline="zero",
        runtime="litert 2.3.0",
    )
    summary = Summary(
        seconds=2.0,
        accounts=(Account(results=len(unseen), maps=2 * len(unseen)),),
        phases={"quantize": spread, "predict": spread},
        methods={"gradcam": Quantiles(len(unseen), 0.0, 0, 0, 0, 0), "integrated_gradients": spread},
        frames=1500,
        payload_bytes=900_000,
        wire_bytes=918_000,
        bad={},
        skipped_bytes=0,
        unknown_records=0,
        unknown_keys=0,
        incomplete_maps=0,
        refused_maps=0,
        unattributed=0,
        reconnects=0,
        earlier=Totals(dropped=dropped or Counter()),
    )
    cases = [make_case(unseen, 0, int(unseen.y[0]), note), make_case(unseen, 50, int(unseen.y[50] + 1) % 7)]
    return DemoResult(
        facts=facts or {"model": "watch"},
        subject=unseen.subject,
        truth=unseen.y,
        scores=scores,
        manifest=manifest,
        checks=[check or Check("prediction parity", 0, 0, True, 200, "inputs whose scores differ in any bit")],
        summary=summary,
        cases=cases,
        micro=micro,
    )
