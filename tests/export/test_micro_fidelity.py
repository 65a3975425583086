"""What decides that a microcontroller's maps are those of exact arithmetic: maps that have something to rank."""

from __future__ import annotations

import numpy as np
import pytest

import export
from edge.bundle import Bundle
from edge.manifest import Check
from export import choose, tables, tflite
from export.errors import CalibrationError, CheckFailedError
from export.micro import stage
from tests.references import zoo

X = np.random.default_rng(4).normal(0, 0.6, (20, 6, 6, 3)).astype(np.float32)
CHECK = "gradcam fidelity on a microcontroller"


def with_head(weights) -> bytes:
    """Return the small int8 model with other weights of its classes, int8 ``[3, 4]``."""
    model = zoo.int8_classifier()
    dense = next(op for op in model.graphs[0].ops if op.code == "FULLY_CONNECTED")
    dense.input(1).data = np.asarray(weights, np.int8)
    return tflite.write(model)


def exported(model: bytes) -> Bundle:
    bundle = export.explain(model, calibration=X, target="micro", methods=["gradcam"])
    return Bundle.from_bytes(bundle.to_bytes())


def checks(bundle) -> dict[str, Check]:
    return {check.name: check for check in bundle.manifest.checks}


def test_maps_of_zeros_on_both_sides_decide_nothing():
    """Where all weights are negative, so is what GradCAM rectifies."""
    bundle = exported(with_head([[-120, -9, -60, -30], [-10, -110, -90, -5], [-40, -30, -20, -100]]))
    assert CHECK not in checks(bundle)
    (note,) = [note for note in bundle.manifest.notes if note.startswith(CHECK)]
    assert "was not decided: 20 of 20 maps are constant in exact arithmetic and in int8" in note
    (own,) = bundle.manifest.micro.explanations
    assert (own.fidelity, own.fidelity_p05, own.samples) == (None, None, 0)
    (line,) = [line for line in tables.micro(bundle.manifest.micro) if "+ gradcam" in line]
    assert line.split()[-2:] == ["?", "?"]
    again = export.verify(bundle, X, seconds=0.1)
    assert CHECK not in {check.name for check in again.checks}
    assert any("32 of 32 maps are constant" in note for note in again.notes)


def test_those_that_are_left_decide():
    bundle = exported(with_head([[-120, -9, -60, -30], [-10, -110, -90, -5], [90, 30, 20, 100]]))
    check, (own,) = checks(bundle)[CHECK], bundle.manifest.micro.explanations
    constant = sum(note.startswith(CHECK) for note in bundle.manifest.notes)
    assert constant == 1
    assert "maps are constant on both sides, and do not count" in check.detail
    assert 0 < check.samples == own.samples
    assert check.passed
    assert check.value > 0.95


def test_a_map_that_is_constant_on_one_side_counts_as_nothing(monkeypatch):
    ramp, level = np.arange(8, dtype=np.float32), np.zeros(8, np.float32)

    def alike(exact, other):
        return choose.fidelities([lambda *_: exact, lambda *_: other], X[:2], 3)[1]

    assert alike(level, level + 1) == [None] * 4
    assert [own[0] for own in alike(ramp, level)] == [own[0] for own in alike(level, ramp)] == [0.0] * 4
    assert alike(ramp, ramp) == [(1.0, 1.0, 1.0)] * 4
    # and so a device whose maps are all zero is refused where exact arithmetic's are not
    build = stage.build

    def mute(*arguments):
        found = build(*arguments)
        table = next(op for op in found.graph.ops if op.code == "GATHER").input(0)
        table.data = table.data * 0
        return found

    monkeypatch.setattr(stage, "build", mute)
    with pytest.raises(CheckFailedError, match=f"{CHECK}: 0, bound 0.9"):
        exported(tflite.write(zoo.int8_classifier()))


def test_inputs_that_int8_stores_alike_are_one():
    zeros = np.zeros((20, 6, 6, 3), np.float32)
    zeros[1::2] = -0.0
    nearly = X[:1] + np.linspace(0, 1e-6, 20, dtype=np.float32)[:, None, None, None]
    for few in (zeros, nearly):
        with pytest.raises(CalibrationError, match=r"needs 8 different calibration inputs, and there are \d:"):
            export.explain(tflite.write(zoo.int8_classifier()), calibration=few, target="micro")
