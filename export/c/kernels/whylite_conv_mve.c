#include "whylite_conv.h"
#include "whylite_dense.h"
#include "whylite_mve.h"

#if WHYLITE_MVE && !WHYLITE_CMSIS_NN

/* Windows that are gathered before they are multiplied: what fits into the scratch memory as int8. */
#define AT_ONCE 4

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
    whylite_fully_connected(&product, x, y, NULL);
    return;
  }
  int8_t *end = scratch;
  product.rows = 0;
  for (int32_t row = 0; row < p->out_height; row++) {
    for (int32_t column = 0; column < p->out_width; column++) {
      end = whylite_gather_mve(p, x, row * p->stride_height - p->pad_top, column * p->stride_width - p->pad_left, end);
      const int last = row + 1 == p->out_height && column + 1 == p->out_width;
      if (++product.rows == AT_ONCE || last) {
        whylite_fully_connected(&product, scratch, y, NULL);
        y += product.rows * product.outputs;
        product.rows = 0;
        end = scratch;
      }
    }
  }
}

#endif
