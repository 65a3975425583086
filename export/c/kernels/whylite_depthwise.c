#include "whylite_depthwise.h"

#include "whylite_arithmetic.h"

#if !WHYLITE_MVE

/* One output value of channel c: the window that begins at (top, left), which may reach over the edge. */
static int32_t window(const whylite_conv *p, const int8_t *x, int32_t c, int32_t top, int32_t left) {
  const int32_t from = c / (p->out_channels / p->in_channels);
  const int8_t *weight = p->weights + c;
  int32_t sum = 0;
  for (int32_t ky = 0; ky < p->kernel_height; ky++) {
    const int32_t row = top + ky * p->dilation_height;
    for (int32_t kx = 0; kx < p->kernel_width; kx++, weight += p->out_channels) {
      const int32_t column = left + kx * p->dilation_width;
      const int inside = row >= 0 && row < p->in_height && column >= 0 && column < p->in_width;
      sum += *weight * (inside ? x[(row * p->in_width + column) * p->in_channels + from] : p->in_zero);
    }
  }
  return sum;
}

void whylite_depthwise_conv_2d(const whylite_conv *p, const int8_t *x, int8_t *y, int8_t *scratch) {
  (void)scratch;
  for (int32_t row = 0; row < p->out_height; row++) {
    for (int32_t column = 0; column < p->out_width; column++) {
      const int32_t top = row * p->stride_height - p->pad_top;
      const int32_t left = column * p->stride_width - p->pad_left;
      for (int32_t c = 0; c < p->out_channels; c++) {
        const int32_t sum = p->bias[c] + window(p, x, c, top, left);
        const int32_t scaled = whylite_scale(sum, p->multiplier[c], p->shift[c]) + p->out_zero;
        *y++ = whylite_clamp(scaled, p->lowest, p->highest);
      }
    }
  }
}

#endif
