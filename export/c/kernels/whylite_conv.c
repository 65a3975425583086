#include "whylite_conv.h"

#include "whylite_arithmetic.h"

#if !WHYLITE_MVE && !WHYLITE_CMSIS_NN

/* Copy the window that begins at (top, left), which may reach over the edge. */
static void gather(const whylite_conv *p, const int8_t *x, int32_t top, int32_t left, int8_t *to) {
  const int32_t depth = p->in_channels;
  for (int32_t ky = 0; ky < p->kernel_height; ky++) {
    const int32_t row = top + ky * p->dilation_height;
    for (int32_t kx = 0; kx < p->kernel_width; kx++) {
      const int32_t column = left + kx * p->dilation_width;
      if (row < 0 || row >= p->in_height || column < 0 || column >= p->in_width) {
        for (int32_t i = 0; i < depth; i++) {
          *to++ = (int8_t)p->in_zero;
        }
      } else {
        const int8_t *from = x + (row * p->in_width + column) * depth;
        for (int32_t i = 0; i < depth; i++) {
          *to++ = *from++;
        }
      }
    }
  }
}

#if defined(__ARM_ARCH_6M__) /* which has eight registers that it computes with */

/* The products of a window with the weights of two channels. */
WHYLITE_APART static void dot_1x2(const int8_t *x, const int8_t *v, const int8_t *w, int32_t count, int32_t sums[2]) {
  int32_t even = 0, odd = 0;
  for (int32_t i = 0; i < count; i++) {
    even += x[i] * v[i];
    odd += x[i] * w[i];
  }
  sums[0] = even;
  sums[1] = odd;
}

static void dot_2x2(const int8_t *const x[2], const int8_t *const weights[2], int32_t count, int32_t sums[4]) {
  dot_1x2(x[0], weights[0], weights[1], count, sums);
  dot_1x2(x[1], weights[0], weights[1], count, sums + 2);
}

#else

/* The products of two windows with the weights of two channels: what is loaded is used twice. */
WHYLITE_APART static void dot_2x2(const int8_t *const x[2], const int8_t *const weights[2], int32_t count,
                                  int32_t sums[4]) {
  const int8_t *a = x[0], *b = x[1], *v = weights[0], *w = weights[1];
  int32_t av = 0, aw = 0, bv = 0, bw = 0;
  for (const int8_t *end = a + count; a < end;) {
    const int32_t left = *a++, right = *b++, even = *v++, odd = *w++;
    av += left * even;
    aw += left * odd;
    bv += right * even;
    bw += right * odd;
  }
  sums[0] = av;
  sums[1] = aw;
  sums[2] = bv;
  sums[3] = bw;
}

#endif

static int8_t quantise(const whylite_conv *p, int32_t c, int32_t sum) {
  const int32_t scaled = whylite_scale(sum + p->bias[c], p->multiplier[c], p->shift[c]) + p->out_zero;
  return whylite_clamp(scaled, p->lowest, p->highest);
}

/* All channels of `count` windows, one or two. Where there is no second window or channel, the first stands in for
 * it. */
static void multiply(const whylite_conv *p, const int8_t *const windows[2], int32_t taps, int32_t count, int8_t *y) {
  for (int32_t c = 0; c < p->out_channels; c += 2) {
    const int32_t channels = c + 1 < p->out_channels ? 2 : 1;
    const int8_t *const weights[2] = {p->weights + c * taps, p->weights + (c + channels - 1) * taps};
    int32_t sums[4];
    dot_2x2(windows, weights, taps, sums);
    for (int32_t i = 0; i < count; i++) {
      for (int32_t j = 0; j < channels; j++) {
        y[i * p->out_channels + c + j] = quantise(p, c + j, sums[2 * i + j]);
      }
    }
  }
}

void whylite_conv_2d(const whylite_conv *p, const int8_t *x, int8_t *y, int8_t *scratch) {
  const int32_t taps = p->kernel_height * p->kernel_width * p->in_channels;
  const int8_t *windows[2];
  int32_t waiting = 0;
  for (int32_t row = 0; row < p->out_height; row++) {
    for (int32_t column = 0; column < p->out_width; column++) {
      const int32_t top = row * p->stride_height - p->pad_top;
      const int32_t left = column * p->stride_width - p->pad_left;
      if (taps == p->in_channels) { /* 1x1: a window is where it is */
        windows[waiting] = x + (top * p->in_width + left) * taps;
      } else {
        gather(p, x, top, left, scratch + waiting * taps);
        windows[waiting] = scratch + waiting * taps;
      }
      if (++waiting == 2) {
        multiply(p, windows, taps, waiting, y);
        y += 2 * p->out_channels;
        waiting = 0;
      }
    }
  }
  if (waiting != 0) {
    windows[1] = windows[0];
    multiply(p, windows, taps, waiting, y);
  }
}

#endif
