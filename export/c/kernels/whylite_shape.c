#include "whylite_shape.h"

/* A word at a time where both ends are aligned: not every core can read words from elsewhere. */
void whylite_copy(const void *x, int8_t *y, int32_t bytes) {
  const int8_t *from = x;
  int32_t i = 0;
  if ((((uintptr_t)from | (uintptr_t)y) & 3U) == 0U) {
    for (; i + 4 <= bytes; i += 4) {
      __builtin_memcpy(__builtin_assume_aligned(y + i, 4), __builtin_assume_aligned(from + i, 4), 4);
    }
  }
  for (; i < bytes; i++) {
    y[i] = from[i];
  }
}

/* The innermost loop. */
static void move_row(const whylite_layout *p, const int8_t *x, int8_t *y) {
  int32_t from = 0;
  int32_t to = 0;
  for (int32_t i = 0; i < p->times[3]; i++) {
    if (p->run == 1) {
      y[to] = x[from];
    } else {
      whylite_copy(x + from, y + to, p->run);
    }
    from += p->from_step[3];
    to += p->to_step[3];
  }
}

void whylite_move(const whylite_layout *p, const void *x, int8_t *y) {
  const int8_t *from = (const int8_t *)x + p->from;
  int8_t *to = y + p->to;
  for (int32_t a = 0; a < p->times[0]; a++) {
    for (int32_t b = 0; b < p->times[1]; b++) {
      for (int32_t c = 0; c < p->times[2]; c++) {
        move_row(p, from + a * p->from_step[0] + b * p->from_step[1] + c * p->from_step[2],
                 to + a * p->to_step[0] + b * p->to_step[1] + c * p->to_step[2]);
      }
    }
  }
}
