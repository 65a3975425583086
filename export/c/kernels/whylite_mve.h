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

/* Sums as lanes 0 and 2 of a vector, and 1 and 3. */
static inline int32x4_t whylite_lanes(int32_t lane0, int32_t lane2, int32_t lane1, int32_t lane3) {
  int32x4_t vector;
  __asm("vmov %q0[2], %q0[0], %1, %2" : "=w"(vector) : "r"(lane0), "r"(lane2));
  __asm("vmov %q0[3], %q0[1], %1, %2" : "+w"(vector) : "r"(lane1), "r"(lane3));
  return vector;
}

/* Sums of products of one run of bytes with four others, of `depth` bytes each, one at least. */
static inline int32x4_t whylite_dot_1x4_mve(const int8_t *x, const int8_t *w0, const int8_t *w1, const int8_t *w2,
                                            const int8_t *w3, int32_t depth) {
  int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  __asm volatile(
      "dlstp.8 lr, %[depth]\n"
      "1:\n"
      "vldrb.8 q0, [%[x]], #16\n"
      "vldrb.8 q1, [%[w0]], #16\n"
      "vmladava.s8 %[s0], q0, q1\n"
      "vldrb.8 q2, [%[w1]], #16\n"
      "vmladava.s8 %[s1], q0, q2\n"
      "vldrb.8 q3, [%[w2]], #16\n"
      "vmladava.s8 %[s2], q0, q3\n"
      "vldrb.8 q1, [%[w3]], #16\n"
      "vmladava.s8 %[s3], q0, q1\n"
      "letp lr, 1b\n"
      : [x] "+r"(x), [w0] "+r"(w0), [w1] "+r"(w1), [w2] "+r"(w2), [w3] "+r"(w3), [s0] "+Te"(s0), [s1] "+Te"(s1),
        [s2] "+Te"(s2), [s3] "+Te"(s3)
      : [depth] "r"(depth)
      : "q0", "q1", "q2", "q3", "lr", "memory");
  return whylite_lanes(s0, s2, s1, s3);
}

/* Copy the window of a convolution that begins at (top, left) to one run of bytes, what lies beyond the edge as the
 * input's zero point, and return its end. */
int8_t *whylite_gather_mve(const whylite_conv *p, const int8_t *x, int32_t top, int32_t left, int8_t *to);

#endif

#endif
