#include "whylite_dense.h"

#include "whylite_arithmetic.h"

#if !WHYLITE_MVE && !WHYLITE_CMSIS_NN

void whylite_fully_connected(const whylite_dense *p, const int8_t *x, int8_t *y, int8_t *scratch) {
  (void)scratch;
  for (int32_t row = 0; row < p->rows; row++, x += p->depth) {
    const int8_t *weight = p->weights;
    for (int32_t c = 0; c < p->outputs; c++) {
      int32_t sum = p->bias[c];
      for (const int8_t *value = x, *end = x + p->depth; value < end;) {
        sum += *weight++ * *value++;
      }
      const int32_t scaled = whylite_scale(sum, p->multiplier[c], p->shift[c]) + p->out_zero;
      *y++ = whylite_clamp(scaled, p->lowest, p->highest);
    }
  }
}

#endif
