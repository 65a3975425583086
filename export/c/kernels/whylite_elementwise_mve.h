/* Rows of two operands, four values at a time; a row may be written over an operand that it moves along. */
#ifndef WHYLITE_ELEMENTWISE_MVE_H
#define WHYLITE_ELEMENTWISE_MVE_H

#include "whylite_elementwise.h"
#include "whylite_mve.h"

#if WHYLITE_MVE

/* What a row reads next: four values, or one that all have in common, less the zero point. */
static inline int32x4_t whylite_operand_4(const int8_t *from, int32_t step, int32_t zero, mve_pred16_t there) {
  return vsubq_n_s32(step != 0 ? vldrbq_z_s32(from, there) : vdupq_n_s32(*from), zero);
}

/* whylite_halve for exponents above 0 and values that leave room for the half. */
static inline int32x4_t whylite_halve_4(int32x4_t x, int32_t exponent) {
  return vrshlq_n_s32(vaddq_s32(x, vshrq_n_s32(x, 31)), -exponent);
}

static inline int32x4_t whylite_lift_4(int32x4_t x, int32_t lift, int32_t multiplier, int32_t shift) {
  return whylite_halve_4(vrmulhq_s32(vshlq_r_s32(x, lift), vdupq_n_s32(multiplier)), shift);
}

static inline void whylite_sum_mve(whylite_addition p, int32_t sign, int32_t count, const int8_t *left,
                                   int32_t left_step, const int8_t *right, int32_t right_step, int8_t *y) {
  for (int32_t i = 0; i < count; i += 4, left += 4 * left_step, right += 4 * right_step) {
    const mve_pred16_t there = vctp32q((uint32_t)(count - i));
    const int32x4_t a = whylite_lift_4(whylite_operand_4(left, left_step, p.left_zero, there), p.left_lift,
                                       p.left_multiplier, p.left_shift);
    const int32x4_t b = whylite_lift_4(whylite_operand_4(right, right_step, p.right_zero, there), p.right_lift,
                                       p.right_multiplier, p.right_shift);
    const int32x4_t sum = vqrdmulhq_n_s32(sign > 0 ? vaddq_s32(a, b) : vsubq_s32(a, b), p.out_multiplier);
    const int32x4_t out = vaddq_n_s32(whylite_halve_4(sum, p.out_shift), p.out_zero);
    vstrbq_p_s32(y + i, whylite_clamp_4(out, p.lowest, p.highest), there);
  }
}

static inline void whylite_product_mve(whylite_product p, int32_t count, const int8_t *left, int32_t left_step,
                                       const int8_t *right, int32_t right_step, int8_t *y) {
  const int32x4_t multiplier = vdupq_n_s32(p.multiplier), shift = vdupq_n_s32(p.lift - 1 - p.shift);
  for (int32_t i = 0; i < count; i += 4, left += 4 * left_step, right += 4 * right_step) {
    const mve_pred16_t there = vctp32q((uint32_t)(count - i));
    const int32x4_t a = whylite_operand_4(left, left_step, p.left_zero, there);
    const int32x4_t b = whylite_operand_4(right, right_step, p.right_zero, there);
    const int32x4_t out = vaddq_n_s32(whylite_scale_4(vmulq_s32(a, b), multiplier, shift), p.out_zero);
    vstrbq_p_s32(y + i, whylite_clamp_4(out, p.lowest, p.highest), there);
  }
}

#endif

#endif
