"""Integrated Gradients where the int8 logit that they explain is cut off, at the baseline or at the input."""

from __future__ import annotations

import re

import numpy as np
import pytest

import export
from edge.bundle import Bundle
from export import tables, tflite
from export.tflite import Quantization
from tests.references import zoo

X = np.random.default_rng(4).normal(0, 0.6, (20, 6, 6, 3)).astype(np.float32)
STEP = 0.05


def exported(zero_point: int, baseline: float) -> Bundle:
    """Return the small int8 model with logits of a narrow range, about -1.4 to 11.4 for a zero point of -100."""
    model = zoo.int8_classifier()
    dense = next(op for op in model.graphs[0].ops if op.code == "FULLY_CONNECTED")
    dense.output.quantization = Quantization((STEP,), (zero_point,))
    bundle = export.explain(
        tflite.write(model),
        calibration=X,
        baseline=np.full((6, 6, 3), baseline),
        target="micro",
        methods=["integrated_gradients"],
    )
    return Bundle.from_bytes(bundle.to_bytes())


def logits_of_a_level(value: float) -> np.ndarray:
    """Return the model's logits for an input of one value, in real numbers, without an end to any range."""
    ops = zoo.int8_classifier().graphs[0].ops
    conv, dense = ops[0], next(op for op in ops if op.code == "FULLY_CONNECTED")
    kernel, bias, weights = (each.data.astype(float) for each in (conv.input(1), conv.input(2), dense.input(1)))
    scales = np.asarray(conv.input(1).quantization.scale)
    hidden = np.maximum(kernel.sum((1, 2, 3)) * scales * value + bias * 0.05 * scales, 0)
    return weights * 0.02 @ hidden


def notes(bundle: Bundle) -> list[str]:
    return [note for note in bundle.manifest.notes if note.startswith("integrated_gradients on a microcontroller")]


def test_a_logit_that_is_cut_off_at_the_baseline_is_exact_arithmetics():
    bundle = exported(-100, 1.0)
    (own,) = bundle.manifest.micro.explanations
    expected = logits_of_a_level(1.0)
    assert (expected > 11.4).tolist() == [False, True, True]
    assert own.baseline_logits[1:] == pytest.approx(expected[1:], rel=1e-4)
    assert own.baseline_logits[0] == pytest.approx(expected[0], abs=2 * STEP)
    assert own.baseline_logits[0] / STEP == pytest.approx(round(own.baseline_logits[0] / STEP))
    assert own.residual_p50 < own.residual_p90 < 0.05
    (note,) = notes(bundle)
    assert "at the baseline logits are at an end of their int8 range" in note
    assert re.findall(r"class (\d) (\S+), in int8 11\.4", note) == [("1", "16.8"), ("2", "20.1")]
    text = bundle.members[f"c/whylite_{bundle.manifest.micro.identifier}.c"].decode()
    listed = re.search(r"float baseline_logits_0\[3\] = \{(.*)\};", text)[1].replace("f", "").split(",")
    assert [float(number) for number in listed] == pytest.approx(own.baseline_logits)


def test_inputs_whose_logit_is_cut_off_tell_no_residual():
    bundle = exported(50, 0.0)
    (own,) = bundle.manifest.micro.explanations
    (note,) = notes(bundle)
    assert "the logit of 4 of 10 inputs is at an end of its int8 range" in note
    assert own.residual_p50 < 0.05


@pytest.mark.slow
def test_where_all_are_cut_off_no_residual_is_told():
    bundle = exported(100, 0.0)
    (own,) = bundle.manifest.micro.explanations
    assert (own.residual_p50, own.residual_p90) == (None, None)
    assert "the logit of 10 of 10 inputs" in "".join(notes(bundle))
    assert not any("unexplained" in line for line in tables.micro(bundle.manifest.micro))
