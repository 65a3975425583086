#include "whylite_bilinear.h"

#include "whylite_arithmetic.h"

/* The two entries of an axis that a place lies between, and how far it is from the lower one, in 1/1024. */
typedef struct {
  int32_t lower, upper, fraction;
} between;

static between neighbours(int32_t place, int32_t size) {
  between found;
  found.lower = place / 1024 > 0 ? place / 1024 : 0;
  found.upper = (place + 1023) / 1024 < size - 1 ? (place + 1023) / 1024 : size - 1;
  found.fraction = place - 1024 * found.lower;
  return found;
}

void whylite_resize_bilinear(const whylite_bilinear *p, const int8_t *x, int8_t *y) {
  for (int32_t row = 0; row < p->out_height; row++) {
    const between v = neighbours(row * p->row_scale + p->row_offset, p->in_height);
    for (int32_t column = 0; column < p->out_width; column++) {
      const between h = neighbours(column * p->column_scale + p->column_offset, p->in_width);
      const int8_t *upper_left = x + (v.lower * p->in_width + h.lower) * p->channels;
      const int32_t right = (h.upper - h.lower) * p->channels;
      const int32_t down = (v.upper - v.lower) * p->in_width * p->channels;
      for (int32_t c = 0; c < p->channels; c++) {
        const int8_t *value = upper_left + c;
        const int32_t above = value[0] * (1024 - h.fraction) + value[right] * h.fraction;
        const int32_t below = value[down] * (1024 - h.fraction) + value[down + right] * h.fraction;
        const int32_t sum = above * (1024 - v.fraction) + below * v.fraction;
        *y++ = (int8_t)((sum + (sum > 0 ? 1 << 19 : -(1 << 19))) / (1 << 20));
      }
    }
  }
}
