/* Reduction of axes. */
#ifndef WHYLITE_REDUCE_H
#define WHYLITE_REDUCE_H

#include <stdint.h>

/* Two axes that stay and two that go, outer first, with the distance of their entries. `zeros` is the sum of the
 * input's zero point over the axes that go. */
typedef struct {
  int32_t kept[2], kept_step[2];
  int32_t gone[2], gone_step[2];
  int32_t zeros, multiplier;
  int16_t shift, out_zero;
} whylite_axes;

/* The sum, scaled; that is the mean where the multiplier has the count in it. May be written over the input. */
void whylite_reduce_sum(const whylite_axes *p, const int8_t *x, int8_t *y);

/* May be written over the input. */
void whylite_reduce_max(const whylite_axes *p, const int8_t *x, int8_t *y);

/* Positions of the first maximum along `size`, as int32 [outer, inner], in x [outer, size, inner]. */
void whylite_arg_max(const int8_t *x, int8_t *y, int32_t outer, int32_t size, int32_t inner);

#endif
