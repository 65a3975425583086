"""Explanations by one tensor: each program finds every map where its own part of it left that, in any order."""

import itertools
import re
from collections.abc import Sequence
from functools import partial

import numpy as np

from export import heads, micro
from export.c import Sources, arena, emit
from export.c.program import ALIGNMENT, Buffer
from export.micro import MicroModel
from export.micro.reference import Reference
from export.micro.stage import _described
from export.tflite import Model, Quantization
from export.tflite import options as tables
from export.tflite.ops import INT8, INT32
from export.tflite.options import Activation, Padding
from tests.references import zoo

from .graphs import Sketch
from .harness import host_output

METHODS = ("gradcam", "integrated_gradients", "saliency", "input_x_gradient")
ORDERS = list(itertools.permutations(METHODS))
RUNS = 3


def network(seed: int) -> Model:
    """Return one to three convolutions, a mean, one or two dense layers and maybe a softmax, all of random sizes."""
    s = Sketch(seed)
    b, rng = s.builder, s.rng
    x = s.input(1, *rng.integers(4, 9, 2).tolist(), int(rng.integers(1, 5)), grid=Quantization((0.03,), (-5,)))
    for _ in range(rng.integers(1, 4)):
        _, h, w, c = x.shape
        channels, stride = int(rng.integers(2, 9)), int(rng.integers(1, 3))
        weights = s.weights(channels, 3, 3, c, axis=0)
        shape = (1, -(-h // stride), -(-w // stride), channels)
        options = tables.Conv2DOptions(Padding.SAME, stride, stride, Activation.RELU)
        x = b.op(
            "CONV_2D",
            [x, weights, s.bias(x, weights, channels)],
            shape,
            options,
            quantization=Quantization((0.04,), (-128,)),
        )
    axes = b.constant([1, 2], INT32)
    x = b.op("MEAN", [x, axes], (1, x.shape[-1]), tables.ReducerOptions(), quantization=Quantization((0.02,), (-128,)))
    hidden = [Activation.RELU] * int(rng.integers(0, 2))
    for activation in (*hidden, Activation.NONE):
        weights = b.constant(rng.integers(-127, 128, (6, x.shape[1])), INT8, Quantization((0.02,), (0,)))
        grid = Quantization((0.03,), (-128 if activation else 0,))
        x = b.op(
            "FULLY_CONNECTED", [x, weights, None], (1, 6), tables.FullyConnectedOptions(activation), quantization=grid
        )
    if rng.random() < 0.5:
        x = b.op("SOFTMAX", [x], (1, 6), tables.SoftmaxOptions(1.0), quantization=Quantization((1 / 256,), (-128,)))
    return zoo.signed(Model([s.done(x)]))


def built(seed: int, methods: tuple[str, ...]) -> MicroModel:
    graph = network(seed).graphs[0]
    head = heads.find(graph)
    x = np.random.default_rng(seed).normal(0, 1.5, (4, *head.sample_shape)).astype(np.float32)
    layers = {own: heads.default_layer(graph, head) if own == "gradcam" else head.input for own in methods}
    return micro.build(graph, head, layers, x, np.zeros(head.sample_shape, np.float32))


def main(programs: list[tuple[MicroModel, Sources]], inputs: list[np.ndarray]) -> str:
    """Return C that writes the map of each run, class by class, at its descriptor's place and at its macro's."""
    lines = ['#include "whylite.h"', "#include <stdio.h>", "#include <string.h>"]
    lines += [f'#include "whylite_{one.identifier}.h"' for _, one in programs]
    size = max(one.arena for _, one in programs)
    lines += [f"static int8_t arena[{size}] __attribute__((aligned(WHYLITE_ALIGNMENT)));"]
    lines += ["static void put(uint32_t offset, uint32_t size) { fwrite(arena + offset, 1, size, stdout); }"]
    lines += ["int main(void) {"]
    for (model, one), x in zip(programs, inputs, strict=True):
        name = f"whylite_{one.identifier}"
        lines.append(f"  static const int8_t x_{name}[] = {{{','.join(map(str, x.ravel().tolist()))}}};")
        for place in range(len(model.explanations)):
            tensor = f"{name}.explanations[{place}].map"
            lines += [
                f"  for (int32_t run = 0; run < {RUNS}; run++) {{",
                "    memset(arena, 85, sizeof arena);",
                f"    memcpy(arena + {name}.input.offset, x_{name} + run * {x[0].size}, {x[0].size});",
                f"    {name}.predict(arena);",
                f"    {name}.explanations[{place}].run(arena, run);",
                f"    put({tensor}.offset, {tensor}.size);",
                f"    put({name.upper()}_MAP_{place}_OFFSET, {tensor}.size);",
                "  }",
            ]
    return "\n".join([*lines, "  return 0;", "}", ""])


def offsets(one: Sources) -> dict[str, int]:
    text = one.files[f"whylite_{one.identifier}.c"]
    found = re.findall(r'\.method = "(\w+)".*?\.map = \{\.offset = (\d+)', text, re.DOTALL)
    return {method: int(offset) for method, offset in found}


def scattered(rng: np.random.Generator, buffers: Sequence[Buffer]) -> int:
    """Give every buffer bytes of its own, in a random order: as good a plan as any, if not as small."""
    wholes = [buffer for buffer in buffers if buffer.whole is None]
    end = 0
    for place in rng.permutation(len(wholes)):
        wholes[place].offset, end = end, end + -(-wholes[place].size // ALIGNMENT) * ALIGNMENT
    for buffer in buffers:
        if buffer.whole is not None:
            buffer.offset = buffer.whole.offset + buffer.begin
    return end


def test_every_map_is_where_its_descriptor_and_its_macro_say(tmp_path, monkeypatch):
    """Every second program is laid out as it ships; in the others nothing is in one place by chance."""
    plan = arena.plan
    programs, inputs, apart = [], [], 0
    for seed, order in enumerate(ORDERS):
        model, rng = built(seed % 7, order), np.random.default_rng(seed)
        monkeypatch.setattr(arena, "plan", partial(scattered, rng) if seed % 2 else plan)
        one = emit(_described(model, f"m{seed}", (), bytes(32), ()))
        assert list(offsets(one)) == list(order)
        apart += offsets(one)["integrated_gradients"] != offsets(one)["saliency"]
        programs.append((model, one))
        inputs.append(rng.integers(-128, 128, (RUNS, *model.input.shape)).astype(np.int8))
    files = {name: text for _, one in programs for name, text in one.files.items()} | {"main.c": main(programs, inputs)}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    data = np.frombuffer(
        host_output([tmp_path / name for name in files if name.endswith(".c")], tmp_path, flags=["-O0"]), np.int8
    )
    for (model, one), x in zip(programs, inputs, strict=True):
        device, outputs = Reference(model.file_of_classes()), model.outputs_of_classes
        for own in model.explanations:
            for run in range(RUNS):
                given = [x[run], np.asarray([run], np.int32)]
                right = device.run(given, len(outputs))[outputs.index(own.map)].ravel()
                for where in ("descriptor", "macro"):
                    ours, data = np.split(data, [right.size])
                    np.testing.assert_array_equal(ours, right, f"{one.identifier}, {own.method} by its {where}")
    assert not data.size
    assert apart >= len(ORDERS) // 2
