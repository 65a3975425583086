"""Firmware that tests build where any model will do: a few lines of C that say which of four numbers is the largest."""

from importlib import resources

from edge.bundle import Bundle, seal
from edge.manifest import ExplanationHead, Manifest, Port
from edge.micro import SOURCES, Micro, MicroExplanation, Operation, Stored

_HEADER = b"""/*
 *   flash  300 bytes of constants, 0 of them to explain
 */
#ifndef WHYLITE_TINY_H
#define WHYLITE_TINY_H
#include "whylite.h"
#define WHYLITE_TINY_ARENA_SIZE 64
#define WHYLITE_TINY_INPUT_SIZE 4
#define WHYLITE_TINY_SCORES_SIZE 4
#define WHYLITE_TINY_STEPS 0
extern const whylite_model whylite_tiny;
#endif
"""

_SOURCE = b"""#include "whylite_tiny.h"

static const uint8_t digest[32] = {1, 2, 3, 4};
static const char *const labels[] = {"one", "two", "three", "four"};

/* Enough work for a clock to see. */
__attribute__((noinline)) void whylite_tiny_work(volatile uint32_t *number);
void whylite_tiny_work(volatile uint32_t *number) {
  for (uint32_t i = 0; i < 20000; i++) {
    *number = *number * 1664525u + 1013904223u;
  }
}

static void predict(int8_t *arena) {
  uint32_t number = 1;
  whylite_tiny_work(&number);
  for (int i = 0; i < 4; i++) {
    arena[16 + i] = arena[i];
  }
  WHYLITE_OPERATION(0);
}

static void contrast(int8_t *arena, int32_t class_index) {
  int best = 0;
  for (int i = 1; i < 4; i++) {
    best = arena[16 + i] > arena[16 + best] ? i : best;
  }
  best = class_index == WHYLITE_PREDICTED ? best : class_index;
  for (int i = 0; i < 4; i++) {
    arena[32 + i] = (int8_t)(i == best ? 127 : -1);
  }
  WHYLITE_OPERATION(1);
}

static const whylite_explanation explanations[] = {
    {"contrast", "input", {32, 4, 0.5f, 0, WHYLITE_INT8, 1, {4}}, contrast, 0, 0, 0, 0}};

const whylite_model whylite_tiny = {"tiny", digest, WHYLITE_TINY_ARENA_SIZE,
    {0, 4, 0.5f, 1, WHYLITE_INT8, 1, {4}}, {16, 4, 0.00390625f, -128, WHYLITE_INT8, 1, {4}},
    {16, 4, 0.00390625f, -128, WHYLITE_INT8, 1, {4}}, predict, explanations, labels, 4, 2, 1, 0};
"""


def tiny() -> dict[str, bytes]:
    """Return the C files of the model ``tiny``, by name."""
    interface = resources.files("export.c") / "kernels" / "whylite.h"
    return {"whylite_tiny.h": _HEADER, "whylite_tiny.c": _SOURCE, "whylite.h": interface.read_bytes()}


def bundle() -> Bundle:
    """Return the model ``tiny`` as a bundle for microcontrollers; its ``model.tflite`` is none."""
    grid = Stored((4,), 0.5, 1)
    scores = Stored((4,), 0.00390625, -128)
    micro = Micro(
        identifier="tiny",
        input=grid,
        scores=scores,
        arena=64,
        constants=300,
        reference_arena=2000,
        reference="tflite-micro 0",
        explanations=(MicroExplanation("contrast", "input", Stored((4,), 0.5, 0), 1.0, 1.0, 8, units=(1.0,) * 4),),
        operations=(Operation("COPY", "copy", "predict", 4), Operation("COPY", "contrast", "contrast", 4)),
    )
    manifest = Manifest(
        name="tiny",
        model_digest=bytes([1, 2, 3, 4, *bytes(28)]).hex(),
        kind="int8",
        input=Port("x", (4,), "int8", 0.5, 1),
        output=Port("scores", (4,), "int8", 0.00390625, -128),
        labels=("one", "two", "three", "four"),
        predict="serving_default",
        logits=None,
        heads=(ExplanationHead("contrast", "input", (4,), "contrast_of", "contrast", stored_input=True),),
        numerics="int8",
        target="micro",
        baseline="zero",
        runtime="none",
        micro=micro,
    )
    members = {"model.tflite": b"none", "micro.tflite": b"none", "micro.npz": b"none"}
    return seal(manifest, members | {SOURCES + name: data for name, data in tiny().items()})
