"""What lies where in the arena, and when: plans hold, and what is to survive another computation does."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from export.c import Described, Explained, Sources, arena, emit
from export.c.program import ALIGNED, ALIGNMENT, Buffer
from export.tflite import Graph, Tensor
from export.tflite import options as tables
from export.tflite.ops import INT32
from export.tflite.options import Activation, Padding

from .graphs import Sketch
from .harness import Case, host_output
from .reference import tflm

COUNT, RUNS, CLASSES = 9, 4, 5

lives = st.tuples(st.integers(-1, 12), st.integers(0, 5)).map(lambda pair: (pair[0], sum(pair)))
wholes = st.lists(
    st.builds(
        Buffer,
        name=st.just("b"),
        size=st.integers(1, 60),
        alive=st.dictionaries(st.sampled_from(["predict", "a", "b"]), lives, min_size=1),
    ),
    min_size=1,
    max_size=14,
)


def moments(buffer: Buffer) -> set:
    return {(part, step) for part, (first, last) in buffer.alive.items() for step in range(first, last + 1)}


@settings(max_examples=200, deadline=None)
@given(wholes, st.data())
def test_what_is_alive_together_lies_apart(buffers, data):
    parts = [Buffer("part", 1, whole=whole, begin=data.draw(st.integers(0, whole.size - 1))) for whole in buffers[::3]]
    size = arena.plan([*buffers, *parts])
    assert size % ALIGNMENT == 0
    for place, one in enumerate(buffers):
        assert one.offset % ALIGNED == 0
        assert 0 <= one.offset <= size - one.size
        for other in buffers[place + 1 :]:
            apart = one.offset + one.size <= other.offset or other.offset + other.size <= one.offset
            assert apart or not moments(one) & moments(other)
    for part in parts:
        assert part.offset == part.whole.offset + part.begin


def test_a_chain_takes_no_more_than_its_two_largest_neighbours():
    sizes = [100, 400, 300, 16, 200]
    buffers = [Buffer(str(i), size, {"predict": (i - 1, i)}) for i, size in enumerate(sizes)]
    assert arena.plan(buffers) == 704  # a multiple of 16


def classifier(seed: int) -> tuple[Described, np.ndarray]:
    """Return a classifier with three explanations, and inputs: what they share and what destroys what is drawn."""
    s = Sketch(seed)
    b, rng = s.builder, s.rng
    x = s.input(1, 6, 6, 3)
    weights = s.weights(CLASSES, 3, 3, 3, axis=0)
    convolved = b.op(
        "CONV_2D",
        [x, weights, s.bias(x, weights, CLASSES)],
        (1, 6, 6, CLASSES),
        tables.Conv2DOptions(),
        quantization=s.grid(),
    )
    grid = convolved.quantization
    pooled = b.op(
        "MAX_POOL_2D",
        [convolved],
        (1, 3, 3, CLASSES),
        tables.Pool2DOptions(Padding.SAME, 2, 2, 2, 2),
        quantization=grid,
    )
    padded = b.op("PAD", [pooled, b.constant([[0, 0], [1, 0], [0, 1], [0, 0]], INT32)], (1, 4, 4, CLASSES), version=2)
    padded.quantization = grid
    axes = b.constant([1, 2], INT32)
    mean = b.op("MEAN", [padded, axes], (1, CLASSES), tables.ReducerOptions(), quantization=s.grid())
    logits = dense(s, mean)
    scores = dense(s, logits) if rng.random() < 0.5 else rectified(s, logits)
    index = b.op("ARG_MAX", [scores, b.constant([1], INT32)], (1,), tables.ArgMaxOptions(2), dtype=INT32)
    # Each map is a channel of one of three tensors; the last two begin alike.
    maps = [channel(s, source, index) for source in (convolved, pooled, padded)]
    maps.append(b.op("RESHAPE", [channel(s, padded, index), b.constant([16], INT32)], (16,), quantization=grid))
    maps.append(b.op("TRANSPOSE", [pooled, b.constant([0, 3, 2, 1], INT32)], (1, CLASSES, 3, 3), quantization=grid))
    best = b.op("GATHER", [scores, index], (1, 1), tables.GatherOptions(1), quantization=scores.quantization)
    # Whether the class is found when predicting, and stays, is found and forgotten, or found by explanations.
    public = [scores, logits, *([], [index], [best])[seed % 3]]
    graph = s.done(*public, *maps)
    explained = [Explained(f"way {i}", "layer", tensor, tensor.shape) for i, tensor in enumerate(maps)]
    return Described(f"case{seed}", graph, scores, logits, class_index=index, explanations=explained), s.values(x, RUNS)


def dense(s: Sketch, x: Tensor) -> Tensor:
    weights = s.weights(CLASSES, CLASSES, axis=0)
    inputs = [x, weights, s.bias(x, weights, CLASSES)]
    return s.builder.op(
        "FULLY_CONNECTED", inputs, (1, CLASSES), tables.FullyConnectedOptions(), quantization=s.grid(-6, -3)
    )


def rectified(s: Sketch, x: Tensor) -> Tensor:
    """Return scores that could be written over the logits, were these not to stay."""
    image = s.builder.op("RESHAPE", [x, s.builder.constant([1, 1, 1, CLASSES], INT32)], (1, 1, 1, CLASSES))
    image.quantization = x.quantization
    options = tables.Pool2DOptions(fused_activation_function=Activation.RELU)
    pooled = s.builder.op("MAX_POOL_2D", [image], image.shape, options, quantization=x.quantization)
    return s.builder.op(
        "RESHAPE", [pooled, s.builder.constant([1, CLASSES], INT32)], x.shape, quantization=x.quantization
    )


def channel(s: Sketch, features: Tensor, index: Tensor) -> Tensor:
    _, h, w, c = features.shape
    grid = features.quantization
    order = s.builder.constant([3, 1, 2, 0], INT32)
    first = s.builder.op("TRANSPOSE", [features, order], (c, h, w, 1), quantization=grid)
    return s.builder.op("GATHER", [first, index], (1, h, w, 1), tables.GatherOptions(0), quantization=grid)


def given_class(described: Described) -> Graph:
    """Return a classifier's graph with the class to explain as a further input."""
    graph = described.graph.copy("main")
    assert described.class_index is not None
    graph.ops = [op for op in graph.ops if op.code != "ARG_MAX"]
    graph.inputs.append(described.class_index)
    graph.outputs = [explained.map for explained in described.explanations]
    return graph


def program(described: Described, compiled: Sources, inputs: np.ndarray) -> list[str]:
    """Return C that writes scores, logits and a map per explanation: in order, of class ``run``, and in reverse."""
    model = f"whylite_{compiled.identifier}"
    listed = ",".join(map(str, inputs.ravel().tolist()))
    count = len(described.explanations)
    tensors = [*(f"{model}.{name}" for name in ("scores", "logits")), f"{model}.explanations[e].map"]
    show = " ".join(f"put(&{tensor});" for tensor in tensors)
    again = f"{model}.predict(arena);"
    return [
        f"  static const int8_t x_{model}[] = {{{listed}}};",
        f"  for (int32_t run = 0; run < {RUNS}; run++) {{",
        "    memset(arena, 85, sizeof arena);",
        f"    for (int32_t i = 0; i < {3 * count}; i++) {{",
        f"      const int32_t e = i < {count} ? i : {3 * count - 1} - i < {count} ? {3 * count - 1} - i : i - {count};",
        f"      memcpy(arena + {model}.input.offset, x_{model} + run * {inputs[0].size}, {inputs[0].size});",
        f"      {again}",
        f"      {model}.explanations[e].run(arena, i >= {count} && i < {2 * count} ? run : WHYLITE_PREDICTED);",
        f"      {show}",
        "    }",
        "  }",
    ]


def test_scores_survive_explaining_and_explanations_do_not_depend_on_one_another(tmp_path):
    cases = [classifier(seed) for seed in range(COUNT)]
    compiled = [emit(described) for described, _ in cases]
    files = {name: text for one in compiled for name, text in one.files.items()}
    lines = ['#include "whylite.h"', "#include <stdio.h>", "#include <string.h>"]
    lines += [f'#include "whylite_{one.identifier}.h"' for one in compiled]
    lines += [f"static int8_t arena[{max(one.arena for one in compiled)}] __attribute__((aligned(WHYLITE_ALIGNMENT)));"]
    lines += ["static void put(const whylite_tensor *t) { fwrite(arena + t->offset, 1, t->size, stdout); }"]
    lines += ["int main(void) {"]
    for (described, inputs), one in zip(cases, compiled, strict=True):
        lines += program(described, one, inputs)
    files["main.c"] = "\n".join([*lines, "  return 0;", "}", ""])
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    data = host_output([tmp_path / name for name in files if name.endswith(".c")], tmp_path)
    place = 0
    for described, inputs in cases:
        whole = replace(described.graph, outputs=[described.scores, described.logits, described.class_index])
        scores, logits, chosen = tflm(Case(whole, (inputs,)))
        wanted = {
            given: tflm(Case(given_class(described), (inputs, classes)))
            for given, classes in ((False, chosen), (True, np.arange(RUNS, dtype=np.int32)[:, None]))
        }
        count = len(described.explanations)
        for run in range(RUNS):
            order = [*range(count), *range(count), *reversed(range(count))]
            for i, e in enumerate(order):
                for theirs in (scores, logits, wanted[count <= i < 2 * count][e]):
                    ours = np.frombuffer(data, np.int8, theirs[run].size, place)
                    place += len(ours)
                    np.testing.assert_array_equal(ours, theirs[run].ravel(), f"{described.name}, run {run}, map {e}")
    assert place == len(data)
