#include "whylite_deconv.h"

#include "whylite_arithmetic.h"

/* The sum over a pixel's channels. */
static int32_t dot(const whylite_conv *p, const int8_t *weights, const int8_t *x) {
  int32_t sum = 0;
  for (int32_t i = 0; i < p->in_channels; i++) {
    sum += weights[i] * (x[i] - p->in_zero);
  }
  return sum;
}

/* All that an output value gets: taps of the kernel, of which only every stride-th has met an input value. */
static int32_t gathered(const whylite_conv *p, const int8_t *weights, const int8_t *x, int32_t row, int32_t column) {
  const int32_t below = row + p->pad_top;
  const int32_t right = column + p->pad_left;
  int32_t sum = 0;
  for (int32_t ky = below % p->stride_height; ky < p->kernel_height && ky <= below; ky += p->stride_height) {
    const int32_t in_row = (below - ky) / p->stride_height;
    if (in_row >= p->in_height) {
      continue;
    }
    for (int32_t kx = right % p->stride_width; kx < p->kernel_width && kx <= right; kx += p->stride_width) {
      const int32_t in_column = (right - kx) / p->stride_width;
      if (in_column < p->in_width) {
        sum += dot(p, weights + (ky * p->kernel_width + kx) * p->in_channels,
                   x + (in_row * p->in_width + in_column) * p->in_channels);
      }
    }
  }
  return sum;
}

void whylite_transpose_conv(const whylite_conv *p, const int8_t *x, int8_t *y) {
  const int32_t taps = p->kernel_height * p->kernel_width * p->in_channels;
  for (int32_t row = 0; row < p->out_height; row++) {
    for (int32_t column = 0; column < p->out_width; column++) {
      for (int32_t c = 0; c < p->out_channels; c++) {
        const int32_t sum = p->bias[c] + gathered(p, p->weights + c * taps, x, row, column);
        const int32_t scaled = whylite_scale(sum, p->multiplier[c], p->shift[c]) + p->out_zero;
        *y++ = whylite_clamp(scaled, p->lowest, p->highest);
      }
    }
  }
}
