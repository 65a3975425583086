#include "whylite_gather.h"

#include "whylite_arithmetic.h"
#include "whylite_shape.h"

void whylite_gather(const whylite_picks *p, const int8_t *x, const void *positions, int8_t *y) {
  const int8_t *position = positions;
  for (int32_t batch = 0; batch < p->batches; batch++, position += 4 * p->count) {
    for (int32_t i = 0; i < p->outer; i++, x += p->size * p->inner) {
      for (int32_t k = 0; k < p->count; k++, y += p->inner) {
        const int32_t at = whylite_get_int32(position + 4 * k);
        const int32_t last = p->size - 1;
        whylite_copy(x + (at < 0 ? 0 : (at > last ? last : at)) * p->inner, y, p->inner);
      }
    }
  }
}

void whylite_resize_nearest(const whylite_nearest *p, const int8_t *x, int8_t *y) {
  for (int32_t row = 0; row < p->out_height; row++) {
    for (int32_t column = 0; column < p->out_width; column++, y += p->channels) {
      whylite_copy(x + (p->rows[row] * p->in_width + p->columns[column]) * p->channels, y, p->channels);
    }
  }
}
