#include "whylite_pool.h"

#include "whylite_arithmetic.h"

/* Where a window meets the input: its first value and how much of it is inside. */
typedef struct {
  const int8_t *first;
  int32_t height, width;
} part;

static int32_t inside(int32_t begin, int32_t window, int32_t size) {
  const int32_t end = begin + window < size ? begin + window : size;
  return end - (begin > 0 ? begin : 0);
}

static part window(const whylite_pool *p, const int8_t *x, int32_t row, int32_t column) {
  const int32_t top = row * p->stride_height - p->pad_top;
  const int32_t left = column * p->stride_width - p->pad_left;
  const int32_t first = (top > 0 ? top : 0) * p->in_width + (left > 0 ? left : 0);
  const part found = {x + first * p->channels, inside(top, p->window_height, p->in_height),
                      inside(left, p->window_width, p->in_width)};
  return found;
}

/* The result may be written over the input where no window reads what windows before it have written. */
void whylite_average_pool(const whylite_pool *p, const int8_t *x, int8_t *y) {
  for (int32_t place = 0; place < p->out_height * p->out_width; place++) {
    const part w = window(p, x, place / p->out_width, place % p->out_width);
    const int32_t count = w.height * w.width;
    for (int32_t c = 0; c < p->channels; c++) {
      int32_t sum = 0;
      for (int32_t i = 0; i < w.height; i++) {
        const int8_t *value = w.first + i * p->in_width * p->channels + c;
        for (int32_t j = 0; j < w.width; j++) {
          sum += value[j * p->channels];
        }
      }
      const int32_t mean = (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
      *y++ = whylite_clamp(mean, p->lowest, p->highest);
    }
  }
}

void whylite_max_pool(const whylite_pool *p, const int8_t *x, int8_t *y) {
  for (int32_t place = 0; place < p->out_height * p->out_width; place++) {
    const part w = window(p, x, place / p->out_width, place % p->out_width);
    for (int32_t c = 0; c < p->channels; c++) {
      int32_t most = p->lowest;
      for (int32_t i = 0; i < w.height; i++) {
        const int8_t *value = w.first + i * p->in_width * p->channels + c;
        for (int32_t j = 0; j < w.width; j++) {
          most = value[j * p->channels] > most ? value[j * p->channels] : most;
        }
      }
      *y++ = whylite_clamp(most, p->lowest, p->highest);
    }
  }
}
