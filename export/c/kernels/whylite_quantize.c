#include "whylite_quantize.h"

#include "whylite_arithmetic.h"

/* Further from zero than this, any grid of 8 bits has ended. */
#define FAR 1024

static int32_t nearest(float value) {
  if (!(value > (float)-FAR)) {
    return -FAR;
  }
  if (value > (float)FAR) {
    return FAR;
  }
  const int32_t whole = (int32_t)value;
  const float rest = value - (float)whole; /* exact, where value + 0.5 is not */
  return whole + (rest >= 0.5f ? 1 : 0) - (rest <= -0.5f ? 1 : 0);
}

void whylite_quantize(const whylite_affine *p, const int8_t *x, int8_t *y, int32_t count) {
  for (int32_t i = 0; i < count; i++) {
    float value;
    __builtin_memcpy(&value, x + (size_t)i * sizeof value, sizeof value);
    y[i] = whylite_clamp(nearest(value / p->scale) + p->zero, INT8_MIN, INT8_MAX);
  }
}

void whylite_dequantize(const whylite_affine *p, const int8_t *x, int8_t *y, int32_t count) {
  for (int32_t i = 0; i < count; i++) {
    const float value = p->scale * (float)(x[i] - p->zero);
    __builtin_memcpy(y + (size_t)i * sizeof value, &value, sizeof value);
  }
}
