#include "whylite_conv.h"
#include "whylite_dense.h"
#include "whylite_mve.h"

#if WHYLITE_MVE

/* Windows that are gathered before they are multiplied: what fits into the scratch memory as int8. */
#define AT_ONCE 4

static int8_t *fill(int8_t *to, int32_t value, int32_t bytes) {
  const int8x16_t values = vdupq_n_s8((int8_t)value);
  for (int32_t i = 0; i < bytes; i += 16) {
    vstrbq_p_s8(to + i, values, vctp8q((uint32_t)(bytes - i)));
  }
  return to + bytes;
}

/* Copy the window that begins at (top, left) to one run of bytes, and return its end. */
static int8_t *gather(const whylite_conv *p, const int8_t *x, int32_t top, int32_t left, int8_t *to) {
  const int32_t depth = p->in_channels;
  for (int32_t ky = 0; ky < p->kernel_height; ky++) {
    const int32_t row = top + ky * p->dilation_height;
    const int32_t width = row >= 0 && row < p->in_height ? p->in_width : 0; /* nothing of a row beyond the edge */
    for (int32_t kx = 0; kx < p->kernel_width;) {
      const int32_t column = left + kx * p->dilation_width;
      if (column < 0 || column >= width) {
        to = fill(to, p->in_zero, depth);
        kx++;
        continue;
      }
      int32_t run = 1;
      if (p->dilation_width == 1) {
        run = p->kernel_width - kx < width - column ? p->kernel_width - kx : width - column;
      }
      whylite_copy_mve(to, x + (row * p->in_width + column) * depth, run * depth);
      to += run * depth;
      kx += run;
    }
  }
  return to;
}

void whylite_conv_2d(const whylite_conv *p, const int8_t *x, int8_t *y, int8_t *scratch) {
  const int32_t taps = p->kernel_height * p->kernel_width;
  whylite_dense product = {.weights = p->weights,
                           .bias = p->bias,
                           .multiplier = p->multiplier,
                           .shift = p->shift,
                           .rows = p->out_height * p->out_width,
                           .depth = taps * p->in_channels,
                           .outputs = p->out_channels,
                           .out_zero = p->out_zero,
                           .lowest = p->lowest,
                           .highest = p->highest};
  if (taps == 1 && p->out_height == p->in_height && p->out_width == p->in_width) {
    whylite_fully_connected(&product, x, y);
    return;
  }
  int8_t *end = scratch;
  product.rows = 0;
  for (int32_t row = 0; row < p->out_height; row++) {
    for (int32_t column = 0; column < p->out_width; column++) {
      end = gather(p, x, row * p->stride_height - p->pad_top, column * p->stride_width - p->pad_left, end);
      const int last = row + 1 == p->out_height && column + 1 == p->out_width;
      if (++product.rows == AT_ONCE || last) {
        whylite_fully_connected(&product, scratch, y);
        y += product.rows * product.outputs;
        product.rows = 0;
        end = scratch;
      }
    }
  }
}

#endif
