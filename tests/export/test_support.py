"""What is refused before any work, and the page that says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export import heads, support, supported_ops
from export.errors import UnsupportedModelError
from export.tflite import Graph, Tensor
from export.tflite.ops import FLOAT, INT32, Builder
from export.vjp import GRADIENT

PAGE = Path(__file__).parents[2] / "docs" / "supported-ops.md"


def test_the_page_is_current():
    """Write it with `python -m export.supported_ops > docs/supported-ops.md`."""
    assert PAGE.read_text(encoding="utf-8") == supported_ops.page() + "\n"


def test_every_rule_says_its_mathematics():
    for code, rule in GRADIENT.items():
        text = support.first_line(rule)
        assert "∂/∂x" in text or "∂/∂a" in text or "gradient" in text, code


def refusal(code: str, dtype: np.dtype = FLOAT) -> UnsupportedModelError:
    builder = Builder(Graph("main"))
    x = builder.tensor("x", (1, 4))
    builder.graph.inputs = [x]
    between: Tensor = builder.op(code, [x], (1, 4), dtype=dtype, name="in between")
    back = between if dtype.kind == "f" else builder.op("CAST", [between], (1, 4), dtype=FLOAT)
    builder.graph.outputs = [builder.add(x, back)]
    head = heads.find(builder.graph)
    with pytest.raises(UnsupportedModelError) as caught:
        support.check(builder.graph, head, [x])
    return caught.value


def test_an_op_without_a_rule_is_named_with_where_it_stands():
    error = refusal("COMPLEX_ABS")
    assert "op 0 COMPLEX_ABS has no gradient rule" in error.cause
    assert "'in between' (float32 [1, 4])" in error.cause
    assert error.hint


def test_integers_on_the_way_are_refused():
    assert "has integers for a result" in refusal("CAST", INT32).cause


def test_a_decision_on_the_way_is_no_obstacle():
    """SELU as converters write it: the comparison has no gradient, what it chooses between has."""
    builder = Builder(Graph("main"))
    x = builder.tensor("x", (1, 4))
    builder.graph.inputs = [x]
    positive = builder.op("GREATER", [x, builder.number(0.0)], (1, 4), dtype=np.dtype(np.bool_))
    y = builder.op("SELECT_V2", [positive, x, builder.exp(x)], (1, 4), dtype=FLOAT)
    builder.graph.outputs = [builder.fully_connected(y, builder.constant(np.eye(4)))]
    support.check(builder.graph, heads.find(builder.graph), [x])
