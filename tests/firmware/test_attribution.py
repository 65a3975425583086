"""Integrated Gradients of a device, foreseen at export: the firmware's loop around emitted C, byte for byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

import firmware_bridge
from export.c import Sources, Steps, emit
from export.micro import MicroModel
from export.micro.attribution import attribution
from export.micro.reference import Reference
from export.micro.stage import _described
from tests.c.harness import host_output
from tests.c.test_shared_maps import built

FIRMWARE = Path(firmware_bridge.__file__).parent / "firmware"
MODELS, RUNS = 5, 5
METHODS = ("saliency", "integrated_gradients")


def with_steps(model: MicroModel, rng: np.random.Generator) -> MicroModel:
    """Return a model whose device takes steps anywhere, of any weights, from any baseline."""
    count = int(rng.integers(1, 9))
    ends = np.sort(rng.integers(0, (1 << 15) + 1, count - 1))
    weights = np.diff([0, *ends, 1 << 15])
    nodes = rng.integers(0, (1 << 15) + 1, count)
    baseline = rng.integers(-128, 128, model.input.shape).astype(np.int8)
    logits = (0.0,) * model.logits.shape[-1]
    steps = Steps(tuple(nodes.tolist()), tuple(weights.tolist()), baseline, logits)
    explained = [replace(own, steps=steps) if own.method == METHODS[1] else own for own in model.explanations]
    return replace(model, explanations=tuple(explained))


def inputs(model: MicroModel, rng: np.random.Generator) -> np.ndarray:
    """Return inputs: random ones, the extremes, the baseline, of which nothing comes, and one next to it."""
    shape, start = model.input.shape, model.explanations[1].steps.baseline
    near = start.copy()
    near.ravel()[0] += 1 if near.ravel()[0] < 0 else -1
    return np.stack([rng.integers(-128, 128, shape), np.full(shape, -128), np.full(shape, 127), start, near]).astype(
        np.int8
    )


def main(programs: list[tuple[MicroModel, Sources]], windows: list[np.ndarray]) -> str:
    """Return C that writes values and scale of the attribution of each run's window, of class ``run``."""
    lines = ["#include <stdio.h>", "#include <string.h>", '#include "whylite_integrate.h"']
    lines += [f'#include "whylite_{one.identifier}.h"' for _, one in programs]
    lines += [
        f"static int8_t arena[{max(one.arena for _, one in programs)}] __attribute__((aligned(WHYLITE_ALIGNMENT)));"
    ]
    lines += [f"static int32_t sums[{max(x[0].size for x in windows)}];"]
    lines += ["static void show(const whylite_model *model, const int8_t *x, int32_t class_index) {"]
    lines += ["  whylite_integral integral;", "  whylite_attribution found;", "  memset(arena, 85, sizeof arena);"]
    lines += ["  memcpy(arena + model->input.offset, x, model->input.size);", "  model->predict(arena);"]
    lines += ["  whylite_integrate_start(&integral, model, &model->explanations[1], arena, x, sums, class_index);"]
    lines += ["  while (whylite_integrate_step(&integral)) {", "  }", "  whylite_integrate_finish(&integral, &found);"]
    lines += ["  fwrite(found.values, 1, found.tensor.size, stdout);"]
    lines += ["  fwrite(&found.tensor.scale, sizeof(float), 1, stdout);", "}", "int main(void) {"]
    for (_, one), x in zip(programs, windows, strict=True):
        name = f"whylite_{one.identifier}"
        lines.append(f"  static const int8_t x_{name}[] = {{{','.join(map(str, x.ravel().tolist()))}}};")
        lines.append(f"  for (int32_t i = 0; i < {RUNS}; i++) show(&{name}, x_{name} + i * {x[0].size}, i);")
    return "\n".join([*lines, "  return 0;", "}", ""])


def test_an_export_foresees_every_byte_that_a_device_sums_to(tmp_path):
    programs, windows = [], []
    for seed in range(MODELS):
        rng = np.random.default_rng(seed)
        model = with_steps(built(seed, METHODS), rng)
        programs.append((model, emit(_described(model, f"m{seed}", (), bytes(32), ()))))
        windows.append(inputs(model, rng))
    files = {name: text for _, one in programs for name, text in one.files.items()}
    for stem in ("whylite_integrate", "whylite_scores"):
        files |= {f"{stem}{end}": (FIRMWARE / f"{stem}{end}").read_text() for end in (".c", ".h")}
    files["main.c"] = main(programs, windows)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    data = host_output([tmp_path / name for name in files if name.endswith(".c")], tmp_path)
    signs = set()
    for (model, one), x in zip(programs, windows, strict=True):
        device = Reference(model.file_of_classes())
        for run in range(RUNS):
            right = attribution(model, device, model.explanations[1], x[run], run)
            size = right.values.size
            ours, scale, data = data[:size], data[size : size + 4], data[size + 4 :]
            assert ours == right.values.tobytes(), f"{one.identifier}, run {run}"
            assert scale == right.scale.tobytes(), f"{one.identifier}, run {run}"
            signs |= set(np.sign(right.values).ravel().tolist())
    assert not data
    assert signs == {-1, 0, 1}
