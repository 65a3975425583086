/* Matrix products with DSP instructions: a row is spread into scratch, then taken with four outputs' weights at a
 * time. */
#include "whylite_dense.h"
#include "whylite_dsp.h"

#if WHYLITE_PACKED

static void spread(int8_t *to, const int8_t *x, int32_t count) {
  for (; count > 0; count -= 4, x += 4, to += 8) {
    const uint32_t four = whylite_get_bytes(x, count);
    whylite_put_word(to, whylite_even(four));
    whylite_put_word(to + 4, whylite_odd(four));
  }
}

void whylite_fully_connected_fast(const whylite_dense *p, const int8_t *x, int8_t *y, int8_t *scratch) {
  const whylite_outputs to =
      whylite_outputs_of(p->bias, p->multiplier, p->shift, p->out_zero, p->lowest, p->highest);
  const int32_t taps = (p->depth + 3) & ~3;
  for (int32_t row = 0; row < p->rows; row++, x += p->depth, y += p->outputs) {
    const int8_t *weights = p->weights;
    spread(scratch, x, p->depth);
    for (int32_t c = 0; c < p->outputs; c += 4, weights += 4 * taps) {
      int32_t sums[8]; /* of two windows, of which there is but one: every other place is nobody's */
      whylite_dot_1x4(scratch, weights, taps, sums);
      whylite_put_bytes(y + c, (uint32_t)whylite_quantise_2x4(sums, &to, c), p->outputs - c);
    }
  }
}

#endif
