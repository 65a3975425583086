#include "whylite_matmul.h"

#include "whylite_arithmetic.h"
#include "whylite_dsp.h"

static int8_t output(const whylite_matmul *p, int32_t sum) {
  return whylite_clamp(whylite_scale(sum, p->multiplier, p->shift) + p->out_zero, p->lowest, p->highest);
}

#if !WHYLITE_MVE

WHYLITE_APART static int32_t sum_of(const int8_t *run, int32_t count) {
  int32_t sum = 0;
  for (int32_t i = 0; i < count; i++) {
    sum += run[i];
  }
  return sum;
}

/* The sum of products of two runs of bytes. */
WHYLITE_APART static int32_t dot(const int8_t *left, const int8_t *right, int32_t count) {
  int32_t sum = 0;
#if WHYLITE_DSP
  for (; count >= 4; count -= 4, left += 4, right += 4) {
    const uint32_t a = whylite_get_word(left);
    const uint32_t b = whylite_get_word(right);
    __asm("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(whylite_even(a)), "r"(whylite_even(b)));
    __asm("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(whylite_odd(a)), "r"(whylite_odd(b)));
  }
#endif
  for (int32_t i = 0; i < count; i++) {
    sum += left[i] * right[i];
  }
  return sum;
}

void whylite_multiply_runs(const whylite_matmul *p, const int8_t *left, const int8_t *right, int8_t *y) {
  const int32_t left_zero = p->left_zero;
  const int32_t right_zero = p->right_zero;
  for (int32_t column = 0; column < p->columns; column++, right += p->right_column) {
    const int32_t bias = p->bias == NULL ? 0 : p->bias[column];
    const int32_t fixed = bias + left_zero * (p->depth * right_zero - sum_of(right, p->depth));
    const int8_t *from = left;
    for (int32_t row = 0; row < p->rows; row++, from += p->left_row) {
      const int32_t rest = right_zero == 0 ? 0 : right_zero * sum_of(from, p->depth);
      y[row * p->columns + column] = output(p, fixed + dot(from, right, p->depth) - rest);
    }
  }
}

#endif

static int32_t dot_apart(const whylite_matmul *p, const int8_t *left, const int8_t *right) {
  const int32_t left_zero = p->left_zero;
  const int32_t right_zero = p->right_zero;
  int32_t sum = 0;
  for (int32_t i = 0; i < p->depth; i++) {
    sum += (left[i * p->left_step] - left_zero) * (right[i * p->right_step] - right_zero);
  }
  return sum;
}

static void product(const whylite_matmul *p, const int8_t *left, const int8_t *right, int8_t *y) {
  if (p->left_step == 1 && p->right_step == 1) {
    whylite_multiply_runs(p, left, right, y);
    return;
  }
  for (int32_t row = 0; row < p->rows; row++) {
    for (int32_t column = 0; column < p->columns; column++) {
      const int32_t bias = p->bias == NULL ? 0 : p->bias[column];
      *y++ = output(p, bias + dot_apart(p, left + row * p->left_row, right + column * p->right_column));
    }
  }
}

void whylite_multiply_matrices(const whylite_matmul *p, const int32_t *axes, const int8_t *left, const int8_t *right,
                               int8_t *y) {
  for (int32_t a = 0; a < axes[0]; a++) {
    for (int32_t b = 0; b < axes[1]; b++) {
      for (int32_t c = 0; c < axes[2]; c++) {
        for (int32_t d = 0; d < axes[3]; d++, y += p->rows * p->columns) {
          const int8_t *const from = left + a * axes[4] + b * axes[5] + c * axes[6] + d * axes[7];
          product(p, from, right + a * axes[8] + b * axes[9] + c * axes[10] + d * axes[11], y);
        }
      }
    }
  }
}
