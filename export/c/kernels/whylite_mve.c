#include "whylite_mve.h"

#if WHYLITE_MVE

/* Write one byte so many times, and return what follows the last. */
static int8_t *fill(int8_t *to, int32_t value, int32_t bytes) {
  int8_t *at = to;
  __asm volatile(
      "wlstp.8 lr, %[bytes], 2f\n"
      "1:\n"
      "vstrb.8 %q[value], [%[at]], #16\n"
      "letp lr, 1b\n"
      "2:\n"
      : [at] "+r"(at)
      : [bytes] "r"(bytes), [value] "w"(vdupq_n_s8((int8_t)value))
      : "lr", "memory");
  return to + bytes;
}

static int8_t *copy(int8_t *to, const int8_t *from, int32_t bytes) {
  int8_t *at = to;
  __asm volatile(
      "wlstp.8 lr, %[bytes], 2f\n"
      "1:\n"
      "vldrb.8 q0, [%[from]], #16\n"
      "vstrb.8 q0, [%[at]], #16\n"
      "letp lr, 1b\n"
      "2:\n"
      : [from] "+r"(from), [at] "+r"(at)
      : [bytes] "r"(bytes)
      : "q0", "lr", "memory");
  return to + bytes;
}

/* Copy `count` columns of a row from one on that may be beyond the edge, as may be the last. */
static int8_t *columns(const whylite_conv *p, const int8_t *row, int32_t first, int32_t count, int8_t *to) {
  const int32_t depth = p->in_channels, width = p->in_width;
  const int32_t before = first < 0 ? (-first < count ? -first : count) : 0;
  const int32_t end = first + count < width ? first + count : width;
  const int32_t inside = end > first + before ? end - first - before : 0;
  to = fill(to, p->in_zero, before * depth);
  if (inside > 0) {
    to = copy(to, row + (first + before) * depth, inside * depth);
  }
  return fill(to, p->in_zero, (count - before - inside) * depth);
}

int8_t *whylite_gather_mve(const whylite_conv *p, const int8_t *x, int32_t top, int32_t left, int8_t *to) {
  const int32_t depth = p->in_channels, width = p->kernel_width;
  const int32_t together = p->dilation_width == 1 ? width : 1; /* taps that lie beside each other */
  const int inside = together == width && left >= 0 && left + width <= p->in_width;
  for (int32_t row = top; row < top + p->kernel_height * p->dilation_height; row += p->dilation_height) {
    if (row < 0 || row >= p->in_height) {
      to = fill(to, p->in_zero, width * depth);
    } else if (inside) {
      to = copy(to, x + (row * p->in_width + left) * depth, width * depth);
    } else {
      for (int32_t kx = 0; kx < width; kx += together) {
        to = columns(p, x + row * p->in_width * depth, left + kx * p->dilation_width, together, to);
      }
    }
  }
  return to;
}

#endif
