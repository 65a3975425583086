#include "whylite_mve.h"

#if WHYLITE_MVE

/* Copy bytes, 0 of them too. */
static inline void copy(int8_t *to, const int8_t *from, int32_t bytes) {
  __asm volatile(
      "wlstp.8 lr, %[bytes], 2f\n"
      "1:\n"
      "vldrb.8 q0, [%[from]], #16\n"
      "vstrb.8 q0, [%[to]], #16\n"
      "letp lr, 1b\n"
      "2:\n"
      : [from] "+r"(from), [to] "+r"(to)
      : [bytes] "r"(bytes)
      : "q0", "lr", "memory");
}

static int8_t *fill(int8_t *to, int32_t value, int32_t bytes) {
  const int8x16_t values = vdupq_n_s8((int8_t)value);
  for (int32_t i = 0; i < bytes; i += 16) {
    vstrbq_p_s8(to + i, values, vctp8q((uint32_t)(bytes - i)));
  }
  return to + bytes;
}

int8_t *whylite_gather_mve(const whylite_conv *p, const int8_t *x, int32_t top, int32_t left, int8_t *to) {
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
      copy(to, x + (row * p->in_width + column) * depth, run * depth);
      to += run * depth;
      kx += run;
    }
  }
  return to;
}

#endif
