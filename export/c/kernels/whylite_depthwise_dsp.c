/* Depthwise convolution with DSP instructions: four channels at a time, whose weights are spread into scratch. */
#include "whylite_depthwise.h"
#include "whylite_dsp.h"

#if WHYLITE_DSP

/* How a window goes over one dimension of the input, in bytes where a step is. */
typedef struct {
  int32_t size, taps, dilation, step;
} axis;

/* Add the products of taps that lie `step` bytes apart to four channels' sums. */
static inline void add(const int8_t *x, int32_t step, const int8_t *weights, int32_t taps, int32_t sums[4]) {
  int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
  for (; taps > 0; taps--, x += step, weights += 8) {
    const uint32_t four = whylite_get_word(x);
    const uint32_t even = whylite_even(four), odd = whylite_odd(four);
    const uint32_t to_even = whylite_get_word(weights), to_odd = whylite_get_word(weights + 4);
    a = whylite_add_low(even, to_even, a);
    b = whylite_add_low(odd, to_odd, b);
    c = whylite_add_high(even, to_even, c);
    d = whylite_add_high(odd, to_odd, d);
  }
  sums[0] = a;
  sums[1] = b;
  sums[2] = c;
  sums[3] = d;
}

static int within(int32_t first, const axis *along) {
  return first >= 0 && first + (along->taps - 1) * along->dilation < along->size;
}

/* A window that reaches over the edge: `zeros` is read instead of what is beyond. */
static void add_edge(const int8_t *x, const axis *outer, const axis *inner, const int32_t first[2], const int8_t *zeros,
                     const int8_t *weights, int32_t sums[4]) {
  for (int32_t i = 0; i < outer->taps; i++) {
    const int32_t at = first[0] + i * outer->dilation;
    for (int32_t j = 0; j < inner->taps; j++, weights += 8) {
      const int32_t to = first[1] + j * inner->dilation;
      const int inside = at >= 0 && at < outer->size && to >= 0 && to < inner->size;
      add(inside ? x + at * outer->step + to * inner->step : zeros, 0, weights, 1, sums);
    }
  }
}

/* Four channels from c on. */
static void channels(const whylite_conv *p, int32_t c, const int8_t *x, int8_t *y, const int8_t *weights) {
  const whylite_outputs to =
      whylite_outputs_of(p->bias, p->multiplier, p->shift, p->out_zero, p->lowest, p->highest);
  const axis down = {p->in_height, p->kernel_height, p->dilation_height, p->in_width * p->in_channels};
  const axis along = {p->in_width, p->kernel_width, p->dilation_width, p->in_channels};
  int8_t zeros[4];
  whylite_put_word(zeros, (uint8_t)p->in_zero * 0x01010101u);
  for (int32_t row = 0; row < p->out_height; row++) {
    const int32_t top = row * p->stride_height - p->pad_top;
    const int inside = within(top, &down);
    for (int32_t column = 0; column < p->out_width; column++, y += p->out_channels) {
      const int32_t left = column * p->stride_width - p->pad_left;
      int32_t sums[4] = {0, 0, 0, 0};
      if (inside && within(left, &along)) {
        const int8_t *from = x + top * down.step + left * along.step;
        const int8_t *weight = weights;
        for (int32_t ky = 0; ky < down.taps; ky++, from += down.dilation * down.step, weight += 8 * along.taps) {
          add(from, along.dilation * along.step, weight, along.taps, sums);
        }
      } else {
        const int32_t first[2] = {top, left};
        add_edge(x, &down, &along, first, zeros, weights, sums);
      }
      whylite_put_word(y, whylite_quantise_1x4(sums, &to, c));
    }
  }
}

void whylite_depthwise_conv_2d_fast(const whylite_conv *p, const int8_t *x, int8_t *y, int8_t *scratch) {
  const int32_t taps = p->kernel_height * p->kernel_width;
  for (int32_t next = 0; next < p->out_channels; next += 4) {
    /* The last four overlap those before where channels are no multiple of four. */
    const int32_t c = next + 4 > p->out_channels ? p->out_channels - 4 : next;
    for (int32_t tap = 0; tap < taps; tap++) {
      const uint32_t four = whylite_get_word(p->weights + tap * p->out_channels + c);
      whylite_put_word(scratch + 8 * tap, whylite_even(four));
      whylite_put_word(scratch + 8 * tap + 4, whylite_odd(four));
    }
    channels(p, c, x + c, y + c, scratch);
  }
}

#endif
