#include "whylite_integrate.h"

#include <stddef.h>

#include "whylite_scores.h"

#define Q15 15u
#define HALF (1 << (Q15 - 1u))

/* Write the point `node` of the way from the baseline to the window, rounded to nearest, into the arena. */
static void interpolate(const whylite_integral *integral, int32_t node) {
  int8_t *input = integral->arena + integral->model->input.offset;
  const int8_t *baseline = integral->explanation->baseline;
  for (uint32_t i = 0; i < integral->model->input.size; i++) {
    const int32_t way = integral->window[i] - baseline[i];
    input[i] = (int8_t)(baseline[i] + ((way * node + HALF) >> Q15));
  }
}

void whylite_integrate_start(whylite_integral *integral, const whylite_model *model,
                             const whylite_explanation *explanation, int8_t *arena, const int8_t *window, int32_t *sums,
                             int32_t class_index) {
  const whylite_tensor *logits = &model->logits;
  const int8_t *stored = arena + logits->offset;
  *integral = (whylite_integral){model, explanation, arena, window, sums, class_index, 0, 0.0f, false};
  integral->logit = whylite_real(logits, stored, (uint32_t)class_index);
  integral->cut_off = stored[class_index] == INT8_MIN || stored[class_index] == INT8_MAX;
  for (uint32_t i = 0; i < model->input.size; i++) {
    sums[i] = 0;
  }
}

bool whylite_integrate_step(whylite_integral *integral) {
  const whylite_explanation *explanation = integral->explanation;
  interpolate(integral, explanation->node[integral->steps]);
  integral->model->predict(integral->arena);
  explanation->run(integral->arena, integral->class_index);
  const int8_t *gradient = integral->arena + explanation->map.offset;
  const int32_t weight = explanation->weight[integral->steps];
  for (uint32_t i = 0; i < integral->model->input.size; i++) {
    integral->sums[i] += weight * (gradient[i] - explanation->map.zero_point);
  }
  integral->steps++;
  return integral->steps < explanation->steps;
}

/* Return a sum times the way from the baseline: an attribution in 1/32768 of the product of both scales. */
static int64_t product(const whylite_integral *integral, uint32_t index) {
  return (int64_t)integral->sums[index] * (integral->window[index] - integral->explanation->baseline[index]);
}

/* Return 64 bits as a float by way of 32: compilers' libraries take a kilobyte of soft floats for it, FPU or not. */
static float real(int64_t value) { return (float)(int32_t)(value >> 32) * 4294967296.0f + (float)(uint32_t)value; }

/* Quantise the products, whose greatest magnitude is `largest`, into the memory of the sums. */
static void quantize(const whylite_integral *integral, int64_t largest) {
  int8_t *values = (int8_t *)integral->sums;
  uint32_t shift = 0; /* so that 32 bits hold 127 times what is left */
  while (largest >> shift >= 1 << 24) {
    shift++;
  }
  const int32_t range = (int32_t)(largest >> shift);
  for (uint32_t i = 0; i < integral->model->input.size; i++) {
    const int32_t scaled = (int32_t)(product(integral, i) >> shift) * 127;
    const int32_t half = scaled < 0 ? -(range / 2) : range / 2;
    values[i] = (int8_t)(range == 0 ? 0 : (scaled + half) / range);
  }
}

void whylite_integrate_finish(whylite_integral *integral, whylite_attribution *attribution) {
  int64_t sum = 0;
  int64_t largest = 0;
  for (uint32_t i = 0; i < integral->model->input.size; i++) {
    const int64_t each = product(integral, i);
    const int64_t magnitude = each < 0 ? -each : each;
    sum += each;
    largest = magnitude > largest ? magnitude : largest;
  }
  quantize(integral, largest);
  const whylite_explanation *explanation = integral->explanation;
  const float step =
      explanation->map.scale * (explanation->units == NULL ? 1.0f : explanation->units[integral->class_index]);
  const float unit = integral->model->input.scale * step / (float)(1u << Q15);
  attribution->tensor = explanation->map;
  attribution->tensor.scale = largest == 0 ? 1.0f : unit * real(largest) / 127.0f;
  attribution->tensor.zero_point = 0;
  attribution->values = (const int8_t *)integral->sums;
  attribution->cut_off = integral->cut_off;
  attribution->change = integral->logit - explanation->baseline_logits[integral->class_index];
  attribution->residual = attribution->change - unit * real(sum);
}
