"""Firmware that tests build where any model will do: a few lines of C that say which of four numbers is the largest."""

from importlib import resources

_HEADER = b"""#ifndef WHYLITE_TINY_H
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

static void predict(int8_t *arena) {
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
    {16, 4, 0.00390625f, -128, WHYLITE_INT8, 1, {4}}, predict, explanations, labels, 4, 2, 1};
"""


def tiny() -> dict[str, bytes]:
    """Return the C files of the model ``tiny``, by name."""
    interface = resources.files("export.c") / "kernels" / "whylite.h"
    return {"whylite_tiny.h": _HEADER, "whylite_tiny.c": _SOURCE, "whylite.h": interface.read_bytes()}
