#include "whylite_elementwise.h"

#include "whylite_arithmetic.h"
#include "whylite_elementwise_mve.h"

/* The innermost axis of an output, and how far the operands move along it. */
typedef struct {
  int32_t count, left, right;
} steps;

typedef void row(const void *parameters, steps along, const int8_t *left, const int8_t *right, int8_t *y);

static void rows(row *each, const void *p, const int32_t *axes, const int8_t *left, const int8_t *right, int8_t *y) {
  const steps along = {axes[3], axes[7], axes[11]};
  for (int32_t a = 0; a < axes[0]; a++) {
    for (int32_t b = 0; b < axes[1]; b++) {
      for (int32_t c = 0; c < axes[2]; c++) {
        const int8_t *const from = left + a * axes[4] + b * axes[5] + c * axes[6];
        each(p, along, from, right + a * axes[8] + b * axes[9] + c * axes[10], y);
        y += along.count;
      }
    }
  }
}

#if !WHYLITE_MVE

/* value * multiplier / 2^32, halves up, and `more` added: whylite_high_product of half the value. */
static inline int32_t high_word(int32_t value, int32_t multiplier, int32_t more) {
#if WHYLITE_DSP
  int32_t high;
  __asm("smmlar %0, %1, %2, %3" : "=r"(high) : "r"(value), "r"(multiplier), "r"(more));
  return high;
#else
  return (int32_t)(((int64_t)value * multiplier + (INT64_C(1) << 31)) >> 32) + more;
#endif
}

static inline int32_t lifted(int32_t value, int32_t by) {
  return (int32_t)((uint32_t)value << by);
}

/* whylite_halve(whylite_high_product(value / 2, multiplier), exponent) for an even value and an exponent above 0, given
 * `half` = 2^(exponent - 1). The product has the value's sign, or is 0, where that makes no difference. */
static inline int32_t scaled(int32_t value, int32_t multiplier, int32_t half, int32_t exponent) {
  return (high_word(value, multiplier, half) + (value >> 31)) >> exponent;
}

#endif

/* Parameters are copied: the compiler must take y for one that may overwrite them. */
static inline void sum_row(whylite_addition p, int32_t sign, steps along, const int8_t *left, const int8_t *right,
                           int8_t *y) {
#if WHYLITE_MVE
  whylite_sum_mve(p, sign, along.count, left, along.left, right, along.right, y);
#else
  const int32_t left_half = 1 << (p.left_shift - 1), left_from = lifted(-p.left_zero, p.left_lift);
  const int32_t right_half = 1 << (p.right_shift - 1), right_from = lifted(-p.right_zero, p.right_lift);
  const int32_t half = 1 << (p.out_shift - 1);
  for (int32_t i = 0; i < along.count; i++) {
    const int32_t a = scaled(lifted(*left, p.left_lift) + left_from, p.left_multiplier, left_half, p.left_shift);
    const int32_t b = scaled(lifted(*right, p.right_lift) + right_from, p.right_multiplier, right_half, p.right_shift);
    const int32_t sum = scaled(2 * (a + sign * b), p.out_multiplier, half, p.out_shift);
    y[i] = whylite_clamp(sum + p.out_zero, p.lowest, p.highest);
    left += along.left;
    right += along.right;
  }
#endif
}

static void add_row(const void *p, steps along, const int8_t *left, const int8_t *right, int8_t *y) {
  sum_row(*(const whylite_addition *)p, 1, along, left, right, y);
}

static void subtract_row(const void *p, steps along, const int8_t *left, const int8_t *right, int8_t *y) {
  sum_row(*(const whylite_addition *)p, -1, along, left, right, y);
}

void whylite_add(const whylite_addition *p, const int32_t *axes, const int8_t *left, const int8_t *right, int8_t *y) {
  rows(add_row, p, axes, left, right, y);
}

void whylite_subtract(const whylite_addition *p, const int32_t *axes, const int8_t *left, const int8_t *right,
                      int8_t *y) {
  rows(subtract_row, p, axes, left, right, y);
}

static void multiply_row(const void *parameters, steps along, const int8_t *left, const int8_t *right, int8_t *y) {
  const whylite_product p = *(const whylite_product *)parameters;
#if WHYLITE_MVE
  whylite_product_mve(p, along.count, left, along.left, right, along.right, y);
#else
  for (int32_t i = 0; i < along.count; i++) {
    const int32_t product = (*left - p.left_zero) * (*right - p.right_zero);
    const int32_t out = whylite_halve(high_word(lifted(product, p.lift), p.multiplier, 0), p.shift);
    y[i] = whylite_clamp(out + p.out_zero, p.lowest, p.highest);
    left += along.left;
    right += along.right;
  }
#endif
}

void whylite_multiply(const whylite_product *p, const int32_t *axes, const int8_t *left, const int8_t *right,
                      int8_t *y) {
  rows(multiply_row, p, axes, left, right, y);
}

static void prelu_row(const void *parameters, steps along, const int8_t *left, const int8_t *right, int8_t *y) {
  const whylite_slope p = *(const whylite_slope *)parameters;
  for (int32_t i = 0; i < along.count; i++) {
    const int32_t x = *left - p.left_zero;
    const int32_t out = x >= 0 ? whylite_scale(x, p.multiplier, p.shift)
                               : whylite_scale(x * (*right - p.right_zero), p.slope_multiplier, p.slope_shift);
    y[i] = whylite_clamp(out + p.out_zero, INT8_MIN, INT8_MAX);
    left += along.left;
    right += along.right;
  }
}

void whylite_prelu(const whylite_slope *p, const int32_t *axes, const int8_t *left, const int8_t *right, int8_t *y) {
  rows(prelu_row, p, axes, left, right, y);
}

static void maximum_row(const void *p, steps along, const int8_t *left, const int8_t *right, int8_t *y) {
  (void)p;
  for (int32_t i = 0; i < along.count; i++) {
    y[i] = *left > *right ? *left : *right;
    left += along.left;
    right += along.right;
  }
}

static void minimum_row(const void *p, steps along, const int8_t *left, const int8_t *right, int8_t *y) {
  (void)p;
  for (int32_t i = 0; i < along.count; i++) {
    y[i] = *left < *right ? *left : *right;
    left += along.left;
    right += along.right;
  }
}

void whylite_maximum(const int32_t *axes, const int8_t *left, const int8_t *right, int8_t *y) {
  rows(maximum_row, NULL, axes, left, right, y);
}

void whylite_minimum(const int32_t *axes, const int8_t *left, const int8_t *right, int8_t *y) {
  rows(minimum_row, NULL, axes, left, right, y);
}
