#include "whylite_matmul.h"

#include "whylite_arithmetic.h"

static int32_t dot(const whylite_matmul *p, const int8_t *left, const int8_t *right) {
  const int32_t left_zero = p->left_zero;
  const int32_t right_zero = p->right_zero;
  int32_t sum = 0;
  for (int32_t i = 0; i < p->depth; i++) {
    sum += (left[i * p->left_step] - left_zero) * (right[i * p->right_step] - right_zero);
  }
  return sum;
}

static void product(const whylite_matmul *p, const int8_t *left, const int8_t *right, int8_t *y) {
  for (int32_t row = 0; row < p->rows; row++) {
    for (int32_t column = 0; column < p->columns; column++) {
      const int32_t bias = p->bias == NULL ? 0 : p->bias[column];
      const int32_t sum = bias + dot(p, left + row * p->left_row, right + column * p->right_column);
      const int32_t scaled = whylite_scale(sum, p->multiplier, p->shift) + p->out_zero;
      *y++ = whylite_clamp(scaled, p->lowest, p->highest);
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
