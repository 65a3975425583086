/* Armv8.1-M's vectors (MVE, Helium): what several kernels do with them. Only for sources that WHYLITE_MVE compiles.
 *
 * Loops of vectors whose number of bytes is no multiple of 16 are in assembly: the hardware predicates their last round
 * (dlstp, letp), which compilers find in intrinsics only where they see all of the loop.
 */
#ifndef WHYLITE_MVE_H
#define WHYLITE_MVE_H

#include "whylite_arithmetic.h"
#include "whylite_conv.h"

#if WHYLITE_MVE

#include <arm_mve.h>

/* Four times whylite_scale. vrshl rounds halves up: a negative number that it shifts to the right is one less before,
 * so that halves go away from zero. */
static inline int32x4_t whylite_scale_4(int32x4_t x, int32x4_t multiplier, int32x4_t shift) {
  const int32x4_t right = vminq_s32(shift, vdupq_n_s32(0));
  const int32x4_t product = vqrdmulhq_s32(vshlq_s32(x, vsubq_s32(shift, right)), multiplier);
  const int32x4_t one_less = vshrq_n_s32(vandq_s32(product, right), 31);
  return vrshlq_s32(vqaddq_s32(product, one_less), right);
}

static inline int32x4_t whylite_clamp_4(int32x4_t x, int32_t lowest, int32_t highest) {
  return vminq_s32(vmaxq_s32(x, vdupq_n_s32(lowest)), vdupq_n_s32(highest));
}

/* Copy the window of a convolution that begins at (top, left) to one run of bytes, what lies beyond the edge as the
 * input's zero point, and return its end. */
int8_t *whylite_gather_mve(const whylite_conv *p, const int8_t *x, int32_t top, int32_t left, int8_t *to);

#endif

#endif
