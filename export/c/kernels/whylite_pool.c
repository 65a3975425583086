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

/* Of one channel; rows are `down` apart, and values in one `step`. */
WHYLITE_APART static int32_t sum_of(part w, int32_t down, int32_t step) {
  int32_t sum = 0;
  for (; w.height > 0; w.height--, w.first += down) {
    const int8_t *value = w.first;
    for (int32_t left = w.width; left > 0; left--, value += step) {
      sum += *value;
    }
  }
  return sum;
}

/* The result may be written over the input where no window reads what windows before it have written. */
void whylite_average_pool(const whylite_pool *p, const int8_t *x, int8_t *y) {
  for (int32_t place = 0; place < p->out_height * p->out_width; place++) {
    part w = window(p, x, place / p->out_width, place % p->out_width);
    const int32_t count = w.height * w.width;
    for (int32_t c = p->channels; c > 0; c--, w.first++) {
      const int32_t sum = sum_of(w, p->in_width * p->channels, p->channels);
      const int32_t mean = (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
      *y++ = whylite_clamp(mean, p->lowest, p->highest);
    }
  }
}

WHYLITE_APART static int32_t most_of(part w, int32_t down, int32_t step) {
  int32_t most = INT8_MIN;
  for (; w.height > 0; w.height--, w.first += down) {
    const int8_t *value = w.first;
    for (int32_t left = w.width; left > 0; left--, value += step) {
      most = *value > most ? *value : most;
    }
  }
  return most;
}

void whylite_max_pool(const whylite_pool *p, const int8_t *x, int8_t *y) {
  for (int32_t place = 0; place < p->out_height * p->out_width; place++) {
    part w = window(p, x, place / p->out_width, place % p->out_width);
    for (int32_t c = p->channels; c > 0; c--, w.first++) {
      *y++ = whylite_clamp(most_of(w, p->in_width * p->channels, p->channels), p->lowest, p->highest);
    }
  }
}
