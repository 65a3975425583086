#include "whylite_depthwise.h"
#include "whylite_mve.h"

#if WHYLITE_MVE

/* One output pixel, of a window whose rows and taps are so many bytes apart: eight channels at a time, the even ones and
 * the odd ones of them in a vector of sums each. */
static void pixel(const whylite_conv *p, const int8_t *x, int32_t row_stride, int32_t tap_stride, int8_t *y) {
  const int32_t channels = p->out_channels;
  for (int32_t c = 0; c < channels; c += 8) {
    const mve_pred16_t there = vctp16q((uint32_t)(channels - c));
    const int8_t *weights = p->weights + c;
    const int8_t *row = x + c;
    int32x4x2_t sums = vld2q_s32(p->bias + c);
    for (int32_t ky = p->kernel_height; ky > 0; ky--, row += row_stride) {
      const int8_t *tap = row;
      for (int32_t kx = p->kernel_width; kx > 0; kx--, tap += tap_stride, weights += channels) {
        const int16x8_t value = vldrbq_z_s16(tap, there);
        const int16x8_t weight = vldrbq_z_s16(weights, there);
        sums.val[0] = vaddq_s32(sums.val[0], vmullbq_int_s16(value, weight));
        sums.val[1] = vaddq_s32(sums.val[1], vmulltq_int_s16(value, weight));
      }
    }
    const int32x4x2_t multiplier = vld2q_s32(p->multiplier + c);
    const int16x8_t shift = vldrbq_s16(p->shift + c);
    int16x8_t out = vqmovnbq_s32(vdupq_n_s16(0), whylite_scale_4(sums.val[0], multiplier.val[0], vmovlbq_s16(shift)));
    out = vqmovntq_s32(out, whylite_scale_4(sums.val[1], multiplier.val[1], vmovltq_s16(shift)));
    out = vmaxq_s16(vqaddq_n_s16(out, p->out_zero), vdupq_n_s16(p->lowest));
    vstrbq_p_s16(y + c, vminq_s16(out, vdupq_n_s16(p->highest)), there);
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

void whylite_depthwise_conv_2d(const whylite_conv *p, const int8_t *x, int8_t *y, int8_t *scratch) {
  const int32_t depth = p->in_channels, channels = p->out_channels;
  const int32_t width = p->in_width;
  const int32_t values = p->kernel_height * p->kernel_width * depth;
  const int32_t bottom = p->in_height - (p->kernel_height - 1) * p->dilation_height;
  const int32_t right = width - (p->kernel_width - 1) * p->dilation_width;
  for (int32_t row = 0; row < p->out_height; row++) {
    for (int32_t column = 0; column < p->out_width; column++, y += channels) {
      const int32_t top = row * p->stride_height - p->pad_top;
      const int32_t left = column * p->stride_width - p->pad_left;
      if (depth == channels && top >= 0 && top < bottom && left >= 0 && left < right) {
        pixel(p, x + (top * width + left) * depth, p->dilation_height * width * depth, p->dilation_width * depth, y);
      } else {
        int8_t *window = scratch + p->kernel_height * p->kernel_width * channels - values;
        (void)whylite_gather_mve(p, x, top, left, window);
        if (depth != channels) {
          repeat(window, values, channels / depth, scratch);
        }
        pixel(p, scratch, p->kernel_width * channels, channels, y);
      }
    }
  }
}

#endif
