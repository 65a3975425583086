"""The benchmark's own arithmetic, and that what it compares others with is the same work."""

import json
import math
import random
from types import SimpleNamespace

import pytest

from benchmarks import peers
from benchmarks.__main__ import summary
from benchmarks.figures import Figure, Goal, table
from benchmarks.overhead import AGAIN, GRADCAM, PREDICT, STEP, measure
from benchmarks.timing import ratios
from benchmarks.worker import best_batch
from tests.references import small_models


@pytest.mark.parametrize(
    ("goal", "value", "verdict"),
    [
        (Goal(most=2.0), 2.0, "<= 2 MET"),
        (Goal(most=2.0), 2.001, "<= 2 NOT MET"),
        (Goal(least=3.0), 3.0, ">= 3 MET"),
        (Goal(least=3.0), 2.9, ">= 3 NOT MET"),
        (Goal(most=60.0, text="<= 60 s"), 61.0, "<= 60 s NOT MET"),
    ],
)
def test_a_goal_is_met_or_not(goal, value, verdict):
    assert goal.verdict(value) == verdict
    assert verdict in table("m", [Figure("m", "w", "", value, goal=goal)])


def test_the_summary_names_what_is_not_met_and_counts_the_cheap_half():
    steps = [Figure(f"m{value}", STEP, "deq", value, goal=Goal(most=2.0)) for value in (1.7, 1.9, 2.4)]
    lines = "\n".join(summary(steps))
    assert lines.startswith("2 of 3 goals met")
    assert "m2.4: " + STEP in lines
    assert "m1.9" not in lines
    assert "on 1 of 3, NOT MET" in lines
    assert "on 1 of 2, MET" in "\n".join(summary(steps[:2]))


def test_twice_the_work_takes_twice_the_time_whatever_else_is_at_work(monkeypatch):
    now, others = [0], random.Random(0)
    monkeypatch.setattr("benchmarks.timing.time", SimpleNamespace(thread_time_ns=lambda: now[0]))

    def work(times):
        def call():
            now[0] += int(times * 100_000 * others.choice((1.0,) * 9 + (3.0,)))

        return call

    timed = ratios(lambda: (work(10), {"twice": work(20), "again": work(10)}), instances=3, rounds=15)
    assert timed["twice"].median == pytest.approx(2, rel=0.05)
    assert timed["again"].median == pytest.approx(1, rel=0.05)
    assert timed["twice"].per(2).median == timed["twice"].median / 2


def test_the_best_batch_is_the_quickest(monkeypatch):
    cost = {1: 5.0, 2: 4.0, 4: 2.0, 8: 3.0, 16: 9.0}
    monkeypatch.setattr("benchmarks.worker.seconds", lambda explain: explain())
    assert best_batch(lambda size: lambda: cost[size], 16)[0] == 4


def test_every_entry_is_timed_against_the_plain_model():
    figures = measure("small", small_models.float_classifier(24), 1, "f32")
    by_name = {figure.what: figure for figure in figures}
    assert next(iter(by_name)) == AGAIN
    assert 0.4 < by_name[AGAIN].value < 2.5  # on a busy machine
    assert by_name[PREDICT].goal is not None
    assert 0.4 < by_name[GRADCAM].value < by_name[STEP].value * 2.5
    assert by_name[STEP].goal == Goal(most=2.0)
    assert "batch" in by_name[STEP].note


@pytest.mark.slow
def test_tensorflow_is_compared_on_the_same_map_and_an_absent_peer_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "torch_python", lambda: (tmp_path / "python", "no wheel for this machine"))
    monkeypatch.setattr(peers, "_ROUNDS", 3)
    monkeypatch.setattr(peers, "STEPS", 10)  # no length that a bundle has a schedule of
    path = tmp_path / "small.tflite"
    path.write_bytes(small_models.quantized_classifier(24))
    shipped, exact, captum = peers.measure("small", path, None)
    assert peers.TENSORFLOW in exact.what
    assert shipped.goal is not None
    assert exact.goal is None
    assert exact.value > 0.1
    assert float(exact.note.split("maps apart by ")[1]) < 1e-4
    assert math.isnan(captum.value)
    assert captum.goal is None
    assert captum.note == "absent: no wheel for this machine"
    assert "nan" in table("small", [captum])


def test_a_program_for_others_holds_the_float_twin(tmp_path):
    """Small enough to be run by hand: what a peer without any TFLite reader is given."""
    from benchmarks.program import write_program
    from export import tflite
    from export.tflite.fold import fold

    graph = fold(tflite.read(small_models.float_classifier()).graphs[0])
    write_program(graph, tmp_path)
    program = json.loads((tmp_path / "program.json").read_text())
    codes = [step["code"] for step in program["ops"]]
    assert codes == [op.code for op in graph.ops if op.code != "SOFTMAX"]
    depthwise = program["ops"][codes.index("DEPTHWISE_CONV_2D")]
    assert depthwise["padding"] == [0, 1, 0, 1]  # SAME with stride 2 on 12: one more behind
    assert depthwise["strides"] == [2, 2]
    assert depthwise["activation"] == "RELU"
    assert program["logits"] == program["ops"][-1]["output"]
