/* Depthwise convolution with DSP instructions: four channels at a time. SMLAD wants two taps of a channel in a word,
 * so the input is spread first, for some outputs of a row: its columns one after the other, each as pairs of rows,
 * each pair as four words, one a channel. Windows are then runs of words, which overlap. What lies beyond the edge
 * is spread like the rest. */
#include "whylite_depthwise.h"
#include "whylite_dsp.h"

#if WHYLITE_PACKED

#define PAIR 16 /* bytes that two taps of four channels are spread to */

/* Pairs of taps from two rows of four channels, whose columns are `steps` from each other; `apart` bytes lie between
 * pairs that follow each other. */
WHYLITE_APART static int8_t *spread_columns(int8_t *to, int32_t apart, const int8_t *const rows[2],
                                            const int32_t steps[2], int32_t count) {
  const int8_t *one = rows[0], *other = rows[1];
  const int32_t one_step = steps[0], other_step = steps[1];
  for (; count > 0; count--, one += one_step, other += other_step, to += apart) {
    const uint32_t taps = whylite_get_word(one), next = whylite_get_word(other);
    const uint32_t even = whylite_even(taps), odd = whylite_odd(taps);
    const uint32_t next_even = whylite_even(next), next_odd = whylite_odd(next);
    whylite_put_word(to, whylite_lower(even, next_even));
    whylite_put_word(to + 4, whylite_lower(odd, next_odd));
    whylite_put_word(to + 8, whylite_upper(even, next_even));
    whylite_put_word(to + 12, whylite_upper(odd, next_odd));
  }
  return to;
}

/* `count` columns from `left` on, of all rows of a window from `top` on. */
static void gather(const whylite_conv *p, const int8_t *x, int32_t top, int32_t left, int32_t count, int8_t *to) {
  const int32_t apart = PAIR * ((p->kernel_height + 1) / 2);
  const int32_t step = p->in_channels, before = left < 0 ? (-left < count ? -left : count) : 0;
  const int32_t inside = p->in_width - left < count ? p->in_width - left : count; /* up to here */
  int8_t zeros[4];
  whylite_put_word(zeros, (uint8_t)p->in_zero * 0x01010101u);
  for (int32_t ky = 0; ky < p->kernel_height; ky += 2, to += PAIR) {
    const int8_t *const edge[2] = {zeros, zeros};
    const int32_t still[2] = {0, 0};
    const int8_t *rows[2] = {zeros, zeros};
    int32_t steps[2] = {0, 0};
    for (int32_t i = 0; i < 2 && ky + i < p->kernel_height; i++) {
      const int32_t row = top + (ky + i) * p->dilation_height;
      if (row >= 0 && row < p->in_height) {
        rows[i] = x + (row * p->in_width + left + before) * step;
        steps[i] = step;
      }
    }
    int8_t *next = spread_columns(to, apart, edge, still, before);
    next = spread_columns(next, apart, rows, steps, inside - before);
    (void)spread_columns(next, apart, edge, still, inside > before ? count - inside : count - before);
  }
}

/* The weights of four channels, in the same order. */
static void spread_weights(const whylite_conv *p, const int8_t *weights, int8_t *to) {
  static const int8_t none[4] = {0};
  const int32_t apart = PAIR * ((p->kernel_height + 1) / 2), step = p->out_channels;
  for (int32_t ky = 0; ky < p->kernel_height; ky += 2, weights += 2 * p->kernel_width * step, to += PAIR) {
    const int two = ky + 1 < p->kernel_height;
    const int8_t *const rows[2] = {weights, two ? weights + p->kernel_width * step : none};
    const int32_t steps[2] = {step, two ? step : 0};
    (void)spread_columns(to, apart, rows, steps, p->kernel_width);
  }
}

/* `count` outputs of a row, whose windows begin `apart` bytes from each other. */
static void multiply(const whylite_outputs *to, int32_t c, const int8_t *windows, int32_t apart, const int8_t *weights,
                     int32_t pairs, int32_t count, int8_t *y, int32_t channels) {
  for (; count > 0; count -= 2, windows += 2 * apart, y += 2 * channels) {
    int32_t sums[8];
    whylite_dot_columns(windows, weights, pairs, sums);
    whylite_dot_columns(windows + (count > 1 ? apart : 0), weights, pairs, sums + 1);
    const uint64_t both = whylite_quantise_2x4(sums, to, c);
    whylite_put_word(y, (uint32_t)both);
    if (count > 1) {
      whylite_put_word(y + channels, (uint32_t)(both >> 32));
    }
  }
}

void whylite_depthwise_conv_2d_fast(const whylite_conv *p, const int8_t *x, int8_t *y, int8_t *scratch) {
  const whylite_outputs to = whylite_outputs_of(p->bias, p->multiplier, p->shift, p->out_zero, p->lowest, p->highest);
  const int32_t deep = (p->kernel_height + 1) / 2, pairs = deep * p->kernel_width, channels = p->out_channels;
  int8_t *const columns = scratch + PAIR * pairs;
  for (int32_t next = 0; next < channels; next += 4) {
    /* The last four overlap those before where channels are no multiple of four. */
    const int32_t c = next + 4 > channels ? channels - 4 : next;
    spread_weights(p, p->weights + c, scratch);
    for (int32_t row = 0; row < p->out_height; row++) {
      for (int32_t column = 0; column < p->out_width; column += WHYLITE_COLUMNS) {
        const int32_t left = p->out_width - column, count = left < WHYLITE_COLUMNS ? left : WHYLITE_COLUMNS;
        gather(p, x + c, row * p->stride_height - p->pad_top, column * p->stride_width - p->pad_left,
               (count - 1) * p->stride_width + p->kernel_width, columns);
        multiply(&to, c, columns, p->stride_width * deep * PAIR, scratch, pairs, count,
                 y + (row * p->out_width + column) * channels + c, channels);
      }
    }
  }
}

#endif
