/* Convolution with DSP instructions: two windows at a time are spread into scratch, then every channel's product taken. */
#include "whylite_conv.h"
#include "whylite_dsp.h"

#if WHYLITE_DSP

/* Where a tap of a window lies among two windows that are spread word by word in turn. */
static int32_t place(int32_t tap) { return (tap & ~3) * 4 + (tap & 1) * 8 + (tap & 2); }

static void put_half(int8_t *to, int32_t value) {
  const int16_t half = (int16_t)value;
  __builtin_memcpy(to, &half, sizeof half);
}

/* Spread `count` values, from tap `first` of the window at `to` on. */
static void spread(int8_t *to, int32_t first, const int8_t *x, int32_t count) {
  if ((first & 3) == 0) {
    int8_t *word = to + 4 * first;
    for (; count >= 4; count -= 4, first += 4, x += 4, word += 16) {
      const uint32_t four = whylite_get_word(x);
      whylite_put_word(word, whylite_even(four));
      whylite_put_word(word + 8, whylite_odd(four));
    }
  }
  for (; count > 0; count--) {
    put_half(to + place(first++), *x++);
  }
}

/* The same of one value over and over. */
static void fill(int8_t *to, int32_t first, int32_t value, int32_t count) {
  if ((first & 3) == 0) {
    const uint32_t two = (uint16_t)value * 0x00010001u;
    int8_t *word = to + 4 * first;
    for (; count >= 4; count -= 4, first += 4, word += 16) {
      whylite_put_word(word, two);
      whylite_put_word(word + 8, two);
    }
  }
  for (; count > 0; count--) {
    put_half(to + place(first++), value);
  }
}

/* Spread the window that begins at (top, left). Rows of a window, or taps where they are dilated, begin at multiples of
 * four; weights in between are 0. */
static void gather(const whylite_conv *p, const int8_t *x, int32_t top, int32_t left, int8_t *to) {
  const int32_t depth = p->in_channels;
  const int32_t apart = p->dilation_width == 1 ? 1 : p->kernel_width;
  const int32_t taps = p->kernel_width / apart; /* that follow each other in the input */
  const int32_t run = 4 * ((taps * depth + 3) & ~3);
  for (int32_t ky = 0; ky < p->kernel_height; ky++) {
    const int32_t row = top + ky * p->dilation_height;
    for (int32_t kx = 0; kx < apart; kx++, to += run) {
      const int32_t column = left + kx * p->dilation_width;
      const int32_t begin = column < 0 ? -column : 0;
      int32_t end = p->in_width - column;
      end = end < taps ? end : taps;
      if (row < 0 || row >= p->in_height || begin >= end) {
        fill(to, 0, p->in_zero, taps * depth);
        continue;
      }
      fill(to, 0, p->in_zero, begin * depth);
      spread(to, begin * depth, x + (row * p->in_width + column + begin) * depth, (end - begin) * depth);
      fill(to, end * depth, p->in_zero, (taps - end) * depth);
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
  const int32_t across = p->dilation_width == 1 ? p->kernel_width * p->in_channels : p->in_channels;
  const int32_t runs = p->kernel_height * (p->dilation_width == 1 ? 1 : p->kernel_width);
  const int32_t taps = ((across + 3) & ~3) * runs;
  const whylite_outputs to =
      whylite_outputs_of(p->bias, p->multiplier, p->shift, p->out_zero, p->lowest, p->highest);
  int32_t waiting = 0;
  for (int32_t row = 0; row < p->out_height; row++) {
    for (int32_t column = 0; column < p->out_width; column++) {
      const int32_t top = row * p->stride_height - p->pad_top;
      gather(p, x, top, column * p->stride_width - p->pad_left, scratch + 4 * waiting);
      if (++waiting == 2) {
        multiply(&to, p->weights, p->out_channels, scratch, taps, waiting, y);
        y += 2 * p->out_channels;
        waiting = 0;
      }
    }
  }
  if (waiting != 0) {
    multiply(&to, p->weights, p->out_channels, scratch, taps, waiting, y);
  }
}

#endif
