#include "whylite_conv.h"

#include "whylite_arithmetic.h"

#if !WHYLITE_MVE

static int32_t dot(const int8_t *a, const int8_t *b, int32_t count) {
  int32_t sum = 0;
  for (int32_t i = 0; i < count; i++) {
    sum += a[i] * b[i];
  }
  return sum;
}

static int32_t total(const int8_t *a, int32_t count) {
  int32_t sum = 0;
  for (int32_t i = 0; i < count; i++) {
    sum += a[i];
  }
  return sum;
}

/* One output value: the window that begins at (top, left), which may reach over the edge. */
static int32_t window(const whylite_conv *p, const int8_t *x, const int8_t *weights, int32_t top, int32_t left) {
  const int32_t depth = p->in_channels;
  int32_t sum = 0;
  for (int32_t ky = 0; ky < p->kernel_height; ky++) {
    const int32_t row = top + ky * p->dilation_height;
    for (int32_t kx = 0; kx < p->kernel_width; kx++, weights += depth) {
      const int32_t column = left + kx * p->dilation_width;
      if (row < 0 || row >= p->in_height || column < 0 || column >= p->in_width) {
        sum += p->in_zero * total(weights, depth);
      } else {
        sum += dot(weights, x + (row * p->in_width + column) * depth, depth);
      }
    }
  }
  return sum;
}

void whylite_conv_2d(const whylite_conv *p, const int8_t *x, int8_t *y, int8_t *scratch) {
  const int32_t taps = p->kernel_height * p->kernel_width * p->in_channels;
  (void)scratch;
  for (int32_t row = 0; row < p->out_height; row++) {
    for (int32_t column = 0; column < p->out_width; column++) {
      const int32_t top = row * p->stride_height - p->pad_top;
      const int32_t left = column * p->stride_width - p->pad_left;
      for (int32_t c = 0; c < p->out_channels; c++) {
        const int32_t sum = p->bias[c] + window(p, x, p->weights + c * taps, top, left);
        const int32_t scaled = whylite_scale(sum, p->multiplier[c], p->shift[c]) + p->out_zero;
        *y++ = whylite_clamp(scaled, p->lowest, p->highest);
      }
    }
  }
}

#endif
