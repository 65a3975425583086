#include "whylite_matmul.h"
#include "whylite_mve.h"

#if WHYLITE_MVE

static int32_t sum_of(const int8_t *run, int32_t count) {
  int32_t sum = 0;
  __asm volatile(
      "dlstp.8 lr, %[count]\n"
      "1:\n"
      "vldrb.8 q0, [%[run]], #16\n"
      "vaddva.s8 %[sum], q0\n"
      "letp lr, 1b\n"
      : [run] "+r"(run), [sum] "+Te"(sum)
      : [count] "r"(count)
      : "q0", "lr", "memory");
  return sum;
}

/* What four rows have in a column, or the last ones: what is beyond them is the last one again, not kept. */
static inline int32x4_t four(const whylite_matmul *p, const int8_t *from, int32_t left, const int8_t *right,
                             int32_t fixed) {
  const int32_t depth = p->depth;
  const int8_t *x0 = from;
  const int8_t *x1 = left > 1 ? x0 + p->left_row : x0;
  const int8_t *x2 = left > 2 ? x1 + p->left_row : x1;
  const int8_t *x3 = left > 3 ? x2 + p->left_row : x2;
  int32x4_t sums = vaddq_n_s32(whylite_dot_1x4_mve(right, x0, x1, x2, x3, depth), fixed);
  if (p->right_zero != 0) {
    const int32x4_t of_rows =
        whylite_lanes(sum_of(x0, depth), sum_of(x2, depth), sum_of(x1, depth), sum_of(x3, depth));
    sums = vsubq_s32(sums, vmulq_n_s32(of_rows, p->right_zero));
  }
  const int32x4_t scaled = whylite_scale_4(sums, vdupq_n_s32(p->multiplier), vdupq_n_s32(p->shift));
  return whylite_clamp_4(vaddq_n_s32(scaled, p->out_zero), p->lowest, p->highest);
}

void whylite_multiply_runs(const whylite_matmul *p, const int8_t *left, const int8_t *right, int8_t *y) {
  const uint32x4_t apart = vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)p->columns);
  for (int32_t column = 0; column < p->columns; column++, right += p->right_column) {
    const int32_t bias = p->bias == NULL ? 0 : p->bias[column];
    const int32_t fixed = bias + p->left_zero * (p->depth * p->right_zero - sum_of(right, p->depth));
    for (int32_t row = 0; row < p->rows; row += 4) {
      const int32x4_t outputs = four(p, left + row * p->left_row, p->rows - row, right, fixed);
      const mve_pred16_t there = vctp32q((uint32_t)(p->rows - row));
      vstrbq_scatter_offset_p_s32(y + row * p->columns + column, apart, outputs, there);
    }
  }
}

#endif
