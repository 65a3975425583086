#include "whylite_reduce.h"

#include "whylite_arithmetic.h"

void whylite_reduce_sum(const whylite_axes *p, const int8_t *x, int8_t *y) {
  for (int32_t a = 0; a < p->kept[0]; a++) {
    for (int32_t b = 0; b < p->kept[1]; b++) {
      const int8_t *first = x + a * p->kept_step[0] + b * p->kept_step[1];
      int32_t sum = -p->zeros;
      for (int32_t i = 0; i < p->gone[0]; i++) {
        const int8_t *value = first + i * p->gone_step[0];
        for (int32_t j = 0; j < p->gone[1]; j++) {
          sum += value[j * p->gone_step[1]];
        }
      }
      *y++ = whylite_clamp(whylite_scale(sum, p->multiplier, p->shift) + p->out_zero, INT8_MIN, INT8_MAX);
    }
  }
}

void whylite_reduce_max(const whylite_axes *p, const int8_t *x, int8_t *y) {
  for (int32_t a = 0; a < p->kept[0]; a++) {
    for (int32_t b = 0; b < p->kept[1]; b++) {
      const int8_t *first = x + a * p->kept_step[0] + b * p->kept_step[1];
      int8_t most = INT8_MIN;
      for (int32_t i = 0; i < p->gone[0]; i++) {
        const int8_t *value = first + i * p->gone_step[0];
        for (int32_t j = 0; j < p->gone[1]; j++) {
          most = value[j * p->gone_step[1]] > most ? value[j * p->gone_step[1]] : most;
        }
      }
      *y++ = most;
    }
  }
}

void whylite_arg_max(const int8_t *x, int8_t *y, int32_t outer, int32_t size, int32_t inner) {
  for (int32_t a = 0; a < outer; a++, x += size * inner) {
    for (int32_t b = 0; b < inner; b++, y += 4) {
      int32_t best = 0;
      for (int32_t i = 1; i < size; i++) {
        best = x[i * inner + b] > x[best * inner + b] ? i : best;
      }
      whylite_put_int32(y, best);
    }
  }
}
