#include "whylite_dense.h"

#include "whylite_arithmetic.h"

#if !WHYLITE_MVE

void whylite_fully_connected(const whylite_dense *p, const int8_t *x, int8_t *y) {
  for (int32_t row = 0; row < p->rows; row++, x += p->depth) {
    const int8_t *weights = p->weights;
    for (int32_t c = 0; c < p->outputs; c++) {
      int32_t sum = p->bias[c];
      for (int32_t i = 0; i < p->depth; i++) {
        sum += *weights++ * x[i];
      }
      const int32_t scaled = whylite_scale(sum, p->multiplier[c], p->shift[c]) + p->out_zero;
      *y++ = whylite_clamp(scaled, p->lowest, p->highest);
    }
  }
}

#endif
