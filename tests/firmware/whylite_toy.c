/* Squares of six positions of two channels, weighted: three classes, or one score. It keeps to the letter of whylite.h:
 * `predict` destroys its input, and an explanation what others need. tests/firmware/toy.py has the same in numpy. */
#include "whylite_toy.h"

#include <stddef.h>

enum { SIZE = 12, CLASSES = 3, POSITIONS = 6 };
enum { INPUT = 0, HIDDEN = 16, LOGITS = 32, SCORES = 36, CAM = 40, GRADIENT = 48, KEPT = 64 };

static const int8_t weights[CLASSES][SIZE] = {
    {9, -3, 4, 7, -8, 2, 5, 1, -6, 3, 8, -2},
    {-4, 6, 1, -9, 7, 3, -2, 8, 5, -7, 2, 4},
    {2, 5, -7, 3, 1, -6, 9, -4, 3, 6, -5, 8},
};

static int8_t clamp(int32_t value) { return (int8_t)(value < -128 ? -128 : (value > 127 ? 127 : value)); }

static void predict(int8_t *arena) {
  for (int32_t i = 0; i < SIZE; i++) {
    const int32_t x = arena[INPUT + i];
    arena[KEPT + i] = (int8_t)x;
    arena[HIDDEN + i] = clamp(x * x >> 7);
    arena[INPUT + i] = 99;
  }
  for (int32_t class_index = 0; class_index < CLASSES; class_index++) {
    int32_t sum = 0;
    for (int32_t i = 0; i < SIZE; i++) {
      sum += weights[class_index][i] * arena[HIDDEN + i];
    }
    arena[LOGITS + class_index] = clamp(sum >> 4);
    arena[SCORES + class_index] = clamp((sum >> 5) - 7);
  }
}

static int32_t chosen(const int8_t *arena, int32_t class_index) {
  int32_t best = class_index;
  if (class_index < 0) {
    best = 0;
    for (int32_t i = 1; i < CLASSES; i++) {
      best = arena[SCORES + i] > arena[SCORES + best] ? i : best;
    }
  }
  return best;
}

static void cam(int8_t *arena, int32_t class_index) {
  const int8_t *of = weights[chosen(arena, class_index)];
  for (int32_t i = 0; i < POSITIONS; i++) {
    const int32_t sum = of[2 * i] * arena[HIDDEN + 2 * i] + of[2 * i + 1] * arena[HIDDEN + 2 * i + 1];
    arena[CAM + i] = clamp((sum > 0 ? sum >> 3 : 0) - 128);
  }
  for (int32_t i = 0; i < SIZE; i++) {
    arena[HIDDEN + i] = 77;
    arena[KEPT + i] = 55;
  }
}

static void gradient(int8_t *arena, int32_t class_index) {
  const int8_t *of = weights[chosen(arena, class_index)];
  for (int32_t i = 0; i < SIZE; i++) {
    arena[GRADIENT + i] = clamp((of[i] * arena[KEPT + i] >> 3) + 3);
    arena[KEPT + i] = 55;
    arena[HIDDEN + i] = 77;
  }
}

static const uint8_t digest[32] = {1, 2, 3, 4};
static const char *const labels[] = {"walk", "run", "Kniebeuge f\xC3\xBCr Anf\xC3\xA4nger"};
static const char *const no_yes[] = {"no", "yes"};
static const uint16_t node[WHYLITE_TOY_STEPS] = {2275, 10814, 21954, 30493};
static const uint16_t weight[WHYLITE_TOY_STEPS] = {5699, 10685, 10685, 5699};
static const int8_t baseline[SIZE] = {-5, -5, -5, -5, -5, -5, -5, -5, -5, -5, -5, -5};

static const float baseline_logits[CLASSES] = {-0.25f, -0.25f, -0.25f};
static const float cam_units[CLASSES] = {0.5f, 2.0f, 1.0f};
static const float gradient_units[CLASSES] = {1.5f, 1.0f, 0.25f};

static const whylite_explanation explanations[] = {
    {.method = "gradcam",
     .layer = "hidden",
     .map = {.offset = CAM, .size = POSITIONS, .scale = 0.03125f, .zero_point = -128, .rank = 1, .shape = {POSITIONS}},
     .run = cam,
     .flags = 512,
     .units = cam_units},
    {.method = "integrated_gradients",
     .layer = "x",
     .map = {.offset = GRADIENT, .size = SIZE, .scale = 0.0625f, .zero_point = 3, .rank = 2, .shape = {6, 2}},
     .run = gradient,
     .steps = WHYLITE_TOY_STEPS,
     .node = node,
     .weight = weight,
     .baseline = baseline,
     .baseline_logits = baseline_logits,
     .units = gradient_units},
};

#define COMMON                                                                                                \
  .digest = digest, .arena_size = WHYLITE_TOY_ARENA_SIZE,                                                     \
  .input = {.offset = INPUT, .size = SIZE, .scale = 0.015625f, .zero_point = -5, .rank = 2, .shape = {6, 2}}, \
  .predict = predict, .explanations = explanations, .explanation_count = 2

const whylite_model whylite_toy = {
    .name = "toy",
    COMMON,
    .scores = {.offset = SCORES, .size = CLASSES, .scale = 0.00390625f, .zero_point = -128, .rank = 1, .shape = {3}},
    .logits = {.offset = LOGITS, .size = CLASSES, .scale = 0.125f, .zero_point = 2, .rank = 1, .shape = {3}},
    .labels = labels,
    .label_count = CLASSES,
};

const whylite_model whylite_yes = {
    .name = "yes",
    COMMON,
    .scores = {.offset = SCORES, .size = 1, .scale = 0.00390625f, .zero_point = -128, .rank = 1, .shape = {1}},
    .logits = {.offset = LOGITS, .size = 1, .scale = 0.125f, .zero_point = 2, .rank = 1, .shape = {1}},
    .labels = no_yes,
    .label_count = 2,
    .yes_no = 1,
};
