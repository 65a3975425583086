#include "whylite_depthwise.h"
#include "whylite_mve.h"

#if WHYLITE_MVE && !WHYLITE_CMSIS_NN

/* Windows side by side: so many, with their rows, their taps and themselves so many bytes apart. */
typedef struct {
  int32_t count, row_stride, tap_stride, stride;
} windows;

/* Sums of eight channels, the even ones of them in one vector and the odd ones in the other. */
static inline int32x4x2_t window(const whylite_conv *p, const windows *w, const int8_t *x, const int8_t *weights,
                                 int32x4x2_t sums, mve_pred16_t there) {
  const int32_t channels = p->out_channels, width = p->kernel_width, stride = w->tap_stride;
  for (int32_t ky = p->kernel_height; ky > 0; ky--, x += w->row_stride) {
    const int8_t *tap = x;
    for (int32_t kx = width; kx > 0; kx--, tap += stride, weights += channels) {
      const int16x8_t value = vldrbq_z_s16(tap, there);
      const int16x8_t weight = vldrbq_z_s16(weights, there);
      sums.val[0] = vaddq_s32(sums.val[0], vmullbq_int_s16(value, weight));
      sums.val[1] = vaddq_s32(sums.val[1], vmulltq_int_s16(value, weight));
    }
  }
  return sums;
}

/* The same for windows three wide, as most are, and for whole vectors: GCC 12 would not keep all of this in registers.
 * Loads that widen take their address from a low register ("l"). */
#define TAP                           \
  "vldrb.s16 q0, [%[x]]\n"            \
  "vldrb.s16 q1, [%[weights]]\n"      \
  "add %[x], %[tap]\n"                \
  "vmullb.s16 q2, q0, q1\n"           \
  "add %[weights], %[channels]\n"     \
  "vmullt.s16 q0, q0, q1\n"           \
  "vadd.i32 %q[even], %q[even], q2\n" \
  "vadd.i32 %q[odd], %q[odd], q0\n"

static inline int32x4x2_t window_3(const whylite_conv *p, const windows *w, const int8_t *x, const int8_t *weights,
                                   int32x4x2_t sums) {
  const int32_t down = w->row_stride - 3 * w->tap_stride;
  int32x4_t even = sums.val[0], odd = sums.val[1];
  __asm volatile(
      "dls lr, %[rows]\n"
      "1:\n" TAP TAP TAP "add %[x], %[down]\n"
      "le lr, 1b\n"
      : [x] "+l"(x), [weights] "+l"(weights), [even] "+w"(even), [odd] "+w"(odd)
      : [rows] "r"((int32_t)p->kernel_height), [tap] "r"(w->tap_stride), [channels] "r"((int32_t)p->out_channels),
        [down] "r"(down)
      : "q0", "q1", "q2", "lr", "memory");
  sums.val[0] = even;
  sums.val[1] = odd;
  return sums;
}

/* Eight channels of all windows, or the last ones. */
static inline void eight(const whylite_conv *p, const windows *w, const int8_t *x, int32_t first, int8_t *y) {
  const int32_t channels = p->out_channels;
  const int whole = channels - first >= 8;
  const mve_pred16_t there = vctp16q((uint32_t)(channels - first));
  const int8_t *weights = p->weights + first;
  const int32x4x2_t bias = vld2q_s32(p->bias + first);
  const int32x4x2_t multiplier = vld2q_s32(p->multiplier + first);
  const int16x8_t shift = vldrbq_s16(p->shift + first);
  const int32x4_t even_shift = vmovlbq_s16(shift), odd_shift = vmovltq_s16(shift);
  for (int32_t i = w->count; i > 0; i--, x += w->stride, y += channels) {
    const int32x4x2_t sums = whole && p->kernel_width == 3 ? window_3(p, w, x, weights, bias)
                                                           : window(p, w, x, weights, bias, there);
    const int32x4_t even = whylite_scale_4(sums.val[0], multiplier.val[0], even_shift);
    const int32x4_t odd = whylite_scale_4(sums.val[1], multiplier.val[1], odd_shift);
    int16x8_t out = vqmovntq_s32(vqmovnbq_s32(vreinterpretq_s16_s32(even), even), odd);
    out = vmaxq_s16(vqaddq_n_s16(out, p->out_zero), vdupq_n_s16(p->lowest));
    vstrbq_p_s16(y, vminq_s16(out, vdupq_n_s16(p->highest)), there);
  }
}

static void pixels(const whylite_conv *p, const windows *w, const int8_t *x, int8_t *y) {
  for (int32_t first = 0; first < p->out_channels; first += 8) {
    eight(p, w, x + first, first, y + first);
  }
}

/* Repeat each of `count` values as often as outputs come of an input channel; they may lie at the end of `to`. */
static void repeat(const int8_t *values, int32_t count, int32_t times, int8_t *to) {
  for (int32_t i = 0; i < count; i++) {
    const int8_t value = values[i];
    for (int32_t j = 0; j < times; j++) {
      *to++ = value;
    }
  }
}

/* A window that reaches over the edge, or whose channels have to be repeated. */
static void one(const whylite_conv *p, const int8_t *x, int32_t top, int32_t left, int8_t *y, int8_t *scratch) {
  const int32_t depth = p->in_channels, channels = p->out_channels;
  const int32_t taps = p->kernel_height * p->kernel_width;
  int8_t *gathered = scratch + taps * (channels - depth);
  (void)whylite_gather_mve(p, x, top, left, gathered);
  if (depth != channels) {
    repeat(gathered, taps * depth, channels / depth, scratch);
  }
  const windows w = {1, p->kernel_width * channels, channels, 0};
  pixels(p, &w, scratch, y);
}

void whylite_depthwise_conv_2d(const whylite_conv *p, const int8_t *x, int8_t *y, int8_t *scratch) {
  const int32_t depth = p->in_channels, width = p->in_width, stride = p->stride_width;
  const int32_t bottom = p->in_height - (p->kernel_height - 1) * p->dilation_height;
  const int32_t right = width - (p->kernel_width - 1) * p->dilation_width;
  windows w = {0, p->dilation_height * width * depth, p->dilation_width * depth, stride * depth};
  for (int32_t row = 0; row < p->out_height; row++) {
    const int32_t top = row * p->stride_height - p->pad_top;
    const int inside = depth == p->out_channels && top >= 0 && top < bottom;
    for (int32_t column = 0; column < p->out_width; column += w.count, y += w.count * p->out_channels) {
      const int32_t left = column * stride - p->pad_left;
      if (inside && left >= 0 && left < right) {
        const int32_t fitting = (right - left - 1) / stride + 1;
        w.count = fitting < p->out_width - column ? fitting : p->out_width - column;
        pixels(p, &w, x + (top * width + left) * depth, y);
      } else {
        w.count = 1;
        one(p, x, top, left, y, scratch);
      }
    }
  }
}

#endif
