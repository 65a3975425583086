"""A bundle whose firmware is a few lines of C: loops as long as a window says, and what they come to."""

from importlib import resources

import numpy as np

from edge.bundle import npz_bytes, seal
from edge.manifest import ExplanationHead, Manifest, Port, Schedule
from edge.micro import GOLDEN, Micro, MicroExplanation, Operation, Stored

DIGEST = "0d" * 32
STEPS = 3
WEIGHTS = (10923, 10922, 10923)
SHAPE = (8,)

_HEADER = b"""/*
 *   flash  100 bytes of constants, 0 of them to explain
 */
#ifndef WHYLITE_LOOPS_H
#define WHYLITE_LOOPS_H
#include "whylite.h"
#define WHYLITE_LOOPS_ARENA_SIZE 64
#define WHYLITE_LOOPS_INPUT_SIZE 8
#define WHYLITE_LOOPS_SCORES_SIZE 2
#define WHYLITE_LOOPS_STEPS 3
extern const whylite_model whylite_loops;
#endif
"""

_SOURCE = b"""#include "whylite_loops.h"

static const uint8_t digest[32] = {
    13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13,
    13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13};
static const uint16_t node[3] = {5461, 16384, 27307}, weight[3] = {10923, 10922, 10923};
static const int8_t baseline[8] = {1, 1, 1, 1, 1, 1, 1, 1};
static const float baseline_logits[2] = {0.0f, 0.0f};

static void loop(int32_t times) {
  for (volatile int32_t i = 0; i < times; i++) {
  }
}

static void predict(int8_t *arena) {
  loop(100 * arena[0]);
  WHYLITE_OPERATION(0);
  loop(2000);
  arena[16] = arena[0];
  arena[17] = 5;
  WHYLITE_OPERATION(1);
}

static void explain(int8_t *arena, int32_t class_index) {
  (void)class_index;
  loop(1000);
  for (int i = 0; i < 8; i++) {
    arena[32 + i] = (int8_t)(i + 1);
  }
  WHYLITE_OPERATION(2);
}

#define MAP {.offset = 32, .size = 8, .scale = 0.5f, .rank = 1, .shape = {8}}
static const whylite_explanation explanations[] = {
    {.method = "gradcam", .layer = "x", .map = MAP, .run = explain},
    {.method = "integrated_gradients", .layer = "x", .map = MAP, .run = explain, .steps = 3, .node = node,
     .weight = weight, .baseline = baseline, .baseline_logits = baseline_logits}};

#define SCORES {.offset = 16, .size = 2, .scale = 0.00390625f, .zero_point = -128, .rank = 1, .shape = {2}}
const whylite_model whylite_loops = {
    .name = "loops", .digest = digest, .arena_size = WHYLITE_LOOPS_ARENA_SIZE,
    .input = {.offset = 0, .size = 8, .scale = 0.5f, .zero_point = 1, .rank = 1, .shape = {8}},
    .scores = SCORES, .logits = SCORES, .predict = predict, .explanations = explanations,
    .operations = 3, .explanation_count = 2};
"""


def bundle(name="loops", right=True, source=_SOURCE):
    """Return the bundle; where not ``right``, its golden maps are not what the C gives."""
    stored = Stored(SHAPE, 0.5, 1)
    maps = Stored(SHAPE, 0.5, 0)
    explanations = (
        MicroExplanation("gradcam", "x", maps, 1.0, 1.0, 8),
        MicroExplanation("integrated_gradients", "x", maps, 1.0, 1.0, 8, STEPS, (5461, 16384, 27307), WEIGHTS),
    )
    operations = (
        Operation("CONV_2D", "whylite_loop", "predict", 700),
        Operation("SOFTMAX", "whylite_loop", "predict", 0),
        Operation("MUL", "whylite_loop", "gradcam", 0),
    )
    micro = Micro("loops", stored, Stored((2,), 1 / 256, -128), 64, 100, 128, "TFLM", explanations, operations)
    heads = (
        ExplanationHead("gradcam", "x", SHAPE, "gradcam"),
        ExplanationHead("integrated_gradients", "x", SHAPE, "ig", schedules=(Schedule(1, (0.5,), (1.0,)),)),
    )
    port = Port("x", SHAPE, "int8", 0.5, 1)
    manifest = Manifest(
        name, DIGEST, "int8", port, Port("y", (2,), "int8", 1 / 256, -128), ("no", "yes"), "predict", "logits", heads,
        "int8", "micro", "zero", "litert", micro=micro,
    )  # fmt: skip
    x = np.tile(np.array([10, 3, -5, 0, 7, -100, 127, -128], np.int8), (3, 1))
    x[2, 0] = 40
    scores = np.stack([x[:, 0], np.full(3, 5, np.int8)], 1)
    gradient = np.arange(1, 9)
    cam = np.tile(gradient, (3, 1)) + (0 if right else 1)
    # The gradient is the same at every step, and the baseline 1.
    real = gradient * (x[:2].astype(int) - 1)
    largest = np.abs(real).max(1, keepdims=True)
    arrays = {
        "gradcam": cam,
        "integrated_gradients": cam,
        "integrated_gradients_attribution": np.sign(real) * np.floor(127 * np.abs(real) / largest + 0.5),
    }
    scales = (0.5 * 0.5 * largest.ravel() / 127).astype(np.float32)
    golden = npz_bytes(
        x=x, scores=scores, integrated_gradients_scale=scales, **{n: a.astype(np.int8) for n, a in arrays.items()}
    )
    interface = resources.files("export.c") / "kernels" / "whylite.h"
    files = {"whylite_loops.h": _HEADER, "whylite_loops.c": source, "whylite.h": interface.read_bytes()}
    members = {"model.tflite": b"none", GOLDEN: golden} | {f"c/{name}": data for name, data in files.items()}
    return seal(manifest, members)


def displaced():
    """Return the bundle with C that looks for the gradient of Integrated Gradients where its scores are."""
    own = b'"integrated_gradients", .layer = "x", .map = '
    elsewhere = _SOURCE.replace(
        own + b"MAP", own + b"{.offset = 16, .size = 8, .scale = 0.5f, .rank = 1, .shape = {8}}"
    )
    assert elsewhere != _SOURCE
    return bundle(source=elsewhere)
