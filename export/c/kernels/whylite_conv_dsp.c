/* Convolution with DSP instructions: two windows at a time are spread into scratch, then every channel's product
 * taken. */
#include "whylite_conv.h"
#include "whylite_dsp.h"

#if WHYLITE_PACKED

/* Spread `count` values to every other word from `to` on, and return where the next four go. What fills up the last
 * four is multiplied by 0. */
WHYLITE_APART static int8_t *spread(int8_t *to, const int8_t *x, int32_t count) {
  for (; count >= 8; count -= 8, x += 8, to += 32) {
    const uint32_t four = whylite_get_word(x), next = whylite_get_word(x + 4);
    whylite_put_word(to, whylite_even(four));
    whylite_put_word(to + 8, whylite_odd(four));
    whylite_put_word(to + 16, whylite_even(next));
    whylite_put_word(to + 24, whylite_odd(next));
  }
  for (; count > 0; count -= 4, x += 4, to += 16) {
    const uint32_t four = whylite_get_bytes(x, count);
    whylite_put_word(to, whylite_even(four));
    whylite_put_word(to + 8, whylite_odd(four));
  }
  return to;
}

/* The same of one value over and over. */
static void fill(int8_t *to, int32_t value, int32_t count) {
  const uint32_t two = (uint16_t)value * 0x00010001u;
  for (; count > 0; count -= 4, to += 16) {
    whylite_put_word(to, two);
    whylite_put_word(to + 8, two);
  }
}

/* Put one value where spread() puts the one at `tap`. */
static void put(int8_t *to, int32_t tap, int32_t value) {
  const int16_t half = (int16_t)value;
  __builtin_memcpy(to + (tap & ~3) * 4 + (tap & 1) * 8 + (tap & 2), &half, sizeof half);
}

/* How a window is read: runs of taps that follow each other in the input, which begin at multiples of four. */
typedef struct {
  int32_t columns; /* of the window, in a run */
  int32_t apart;   /* runs in a row of it: several where it is dilated */
  int32_t taps;    /* of the whole window, filled up */
} layout;

static layout layout_of(const whylite_conv *p) {
  const int32_t apart = p->dilation_width == 1 ? 1 : p->kernel_width;
  const int32_t columns = p->kernel_width / apart;
  const layout runs = {columns, apart, ((columns * p->in_channels + 3) & ~3) * apart * p->kernel_height};
  return runs;
}

/* Spread the window at (top, left), which reaches over the edge. */
static void gather_edge(const whylite_conv *p, const layout *runs, const int8_t *x, int32_t top, int32_t left,
                        int8_t *to) {
  const int32_t depth = p->in_channels, run = runs->columns * depth;
  for (int32_t ky = 0; ky < p->kernel_height; ky++) {
    const int32_t row = top + ky * p->dilation_height;
    for (int32_t i = 0; i < runs->apart; i++, to += 4 * ((run + 3) & ~3)) {
      const int32_t first = left + i * p->dilation_width;
      if (row < 0 || row >= p->in_height) {
        fill(to, p->in_zero, run);
        continue;
      }
      if (first >= 0 && first + runs->columns <= p->in_width) {
        (void)spread(to, x + (row * p->in_width + first) * depth, run);
        continue;
      }
      for (int32_t j = 0, tap = 0; j < runs->columns; j++, tap += depth) {
        const int32_t column = first + j;
        const int inside = column >= 0 && column < p->in_width;
        const int8_t *from = inside ? x + (row * p->in_width + column) * depth : NULL;
        if ((tap & 3) != 0) {
          for (int32_t c = 0; c < depth; c++) {
            put(to, tap + c, inside ? from[c] : p->in_zero);
          }
        } else if (inside) {
          (void)spread(to + 4 * tap, from, depth);
        } else {
          fill(to + 4 * tap, p->in_zero, depth);
        }
      }
    }
  }
}

/* Spread the window at (top, left), which lies within the input. */
static void gather(const whylite_conv *p, const layout *runs, const int8_t *x, int32_t top, int32_t left, int8_t *to) {
  const int32_t down = p->dilation_height * p->in_width * p->in_channels;
  const int32_t step = p->dilation_width * p->in_channels, count = runs->columns * p->in_channels;
  x += (top * p->in_width + left) * p->in_channels;
  for (int32_t ky = p->kernel_height; ky > 0; ky--, x += down) {
    const int8_t *from = x;
    for (int32_t i = runs->apart; i > 0; i--, from += step) {
      to = spread(to, from, count);
    }
  }
}

/* All channels of the two windows in scratch, of which the second is not written if there is but one. */
static void multiply(const whylite_outputs *to, const int8_t *weights, int32_t channels, const int8_t *windows,
                     int32_t taps, int32_t count, int8_t *y) {
  for (int32_t c = 0; c < channels; c += 4, weights += 4 * taps) {
    int32_t sums[8];
    whylite_dot_2x4(windows, weights, taps, sums);
    const uint64_t both = whylite_quantise_2x4(sums, to, c);
    whylite_put_bytes(y + c, (uint32_t)both, channels - c);
    if (count == 2) {
      whylite_put_bytes(y + channels + c, (uint32_t)(both >> 32), channels - c);
    }
  }
}

void whylite_conv_2d_fast(const whylite_conv *p, const int8_t *x, int8_t *y, int8_t *scratch) {
  const layout runs = layout_of(p);
  const whylite_outputs to = whylite_outputs_of(p->bias, p->multiplier, p->shift, p->out_zero, p->lowest, p->highest);
  const int32_t last_top = p->in_height - (p->kernel_height - 1) * p->dilation_height - 1;
  const int32_t last_left = p->in_width - (p->kernel_width - 1) * p->dilation_width - 1;
  int32_t waiting = 0;
  for (int32_t row = 0; row < p->out_height; row++) {
    const int32_t top = row * p->stride_height - p->pad_top;
    for (int32_t column = 0; column < p->out_width; column++) {
      const int32_t left = column * p->stride_width - p->pad_left;
      if (top < 0 || top > last_top || left < 0 || left > last_left) {
        gather_edge(p, &runs, x, top, left, scratch + 4 * waiting);
      } else {
        gather(p, &runs, x, top, left, scratch + 4 * waiting);
      }
      if (++waiting == 2) {
        multiply(&to, p->weights, p->out_channels, scratch, runs.taps, waiting, y);
        y += 2 * p->out_channels;
        waiting = 0;
      }
    }
  }
  if (waiting != 0) {
    multiply(&to, p->weights, p->out_channels, scratch, runs.taps, waiting, y);
  }
}

#endif
