#include "whylite_depthwise.h"

#include "whylite_arithmetic.h"

#if !WHYLITE_MVE && !WHYLITE_CMSIS_NN

/* One output value of channel c: the window that begins at (top, left), which may reach over the edge. */
WHYLITE_APART static int32_t window(const whylite_conv *p, const int8_t *x, int32_t c, int32_t from, int32_t top,
                            int32_t left) {
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

/* The same of a window that lies within the input, and of `x` at its first value. */
WHYLITE_APART static int32_t inner(const whylite_conv *p, const int8_t *x, const int8_t *weight) {
  const int32_t step = p->dilation_width * p->in_channels;
  const int32_t down = p->dilation_height * p->in_width * p->in_channels;
  const int32_t channels = p->out_channels;
  int32_t sum = 0;
  for (int32_t ky = p->kernel_height; ky > 0; ky--, x += down) {
    const int8_t *value = x;
    for (int32_t kx = p->kernel_width; kx > 0; kx--, value += step, weight += channels) {
      sum += *weight * *value;
    }
  }
  return sum;
}

static int within(int32_t first, int32_t taps, int32_t dilation, int32_t size) {
  return first >= 0 && first + (taps - 1) * dilation < size;
}

void whylite_depthwise_conv_2d(const whylite_conv *p, const int8_t *x, int8_t *y, int8_t *scratch) {
  (void)scratch;
  const int32_t times = p->out_channels / p->in_channels;
  for (int32_t row = 0; row < p->out_height; row++) {
    const int32_t top = row * p->stride_height - p->pad_top;
    for (int32_t column = 0; column < p->out_width; column++) {
      const int32_t left = column * p->stride_width - p->pad_left;
      const int inside = within(top, p->kernel_height, p->dilation_height, p->in_height) &&
                         within(left, p->kernel_width, p->dilation_width, p->in_width);
      int32_t from = 0, again = 0; /* the input channel, and how often it was used */
      for (int32_t c = 0; c < p->out_channels; c++) {
        const int32_t products =
            inside ? inner(p, x + (top * p->in_width + left) * p->in_channels + from, p->weights + c)
                   : window(p, x, c, from, top, left);
        const int32_t scaled = whylite_scale(products + p->bias[c], p->multiplier[c], p->shift[c]) + p->out_zero;
        *y++ = whylite_clamp(scaled, p->lowest, p->highest);
        if (++again == times) {
          again = 0;
          from++;
        }
      }
    }
  }
}

#endif
