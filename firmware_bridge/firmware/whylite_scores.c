#include "whylite_scores.h"

/* Models take the time, not this: what counts is its size. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os")
#endif

#define NEARLY 0.1f /* of the scores' range: two that are nearer to each other are nearly equal */

float whylite_real(const whylite_tensor *tensor, const int8_t *stored, uint32_t index) {
  if (tensor->type == WHYLITE_FLOAT32) {
    float value;
    __builtin_memcpy(&value, stored + 4u * index, sizeof value);
    return value;
  }
  int32_t value = stored[index];
  if (tensor->type == WHYLITE_UINT8) {
    value = (uint8_t)stored[index];
  } else if (tensor->type == WHYLITE_INT32) {
    __builtin_memcpy(&value, stored + 4u * index, sizeof value);
  }
  return tensor->scale * (float)(value - tensor->zero_point);
}

uint32_t whylite_classes(const whylite_model *model) {
  const whylite_tensor *tensor = &model->scores;
  const bool bytes = tensor->type == WHYLITE_INT8 || tensor->type == WHYLITE_UINT8;
  return (bytes ? tensor->size : tensor->size / 4u) + model->yes_no;
}

float whylite_score(const whylite_model *model, const int8_t *scores, uint32_t class_index) {
  const bool yes_no = model->yes_no != 0;
  const float score = whylite_real(&model->scores, scores, yes_no ? 0 : class_index);
  return yes_no && class_index == 0 ? 1.0f - score : score;
}

uint32_t whylite_best(const whylite_model *model, const int8_t *scores) {
  uint32_t found = 0;
  for (uint32_t i = 1; i < whylite_classes(model); i++) {
    found = whylite_score(model, scores, i) > whylite_score(model, scores, found) ? i : found;
  }
  return found;
}

bool whylite_small_margin(const whylite_model *model, const int8_t *scores) {
  const uint32_t classes = whylite_classes(model);
  float first = whylite_score(model, scores, 0);
  float second = first;
  float least = first;
  for (uint32_t i = 1; i < classes; i++) {
    const float score = whylite_score(model, scores, i);
    const float lower = score > first ? first : score;
    second = i == 1u || lower > second ? lower : second;
    first = score > first ? score : first;
    least = score < least ? score : least;
  }
  const float sum = __builtin_fabsf(first) + __builtin_fabsf(second);
  return classes > 1u && first - second < NEARLY * (classes > 2u ? first - least : sum);
}
