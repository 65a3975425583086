/* Matrix products. */
#ifndef WHYLITE_DENSE_H
#define WHYLITE_DENSE_H

#include <stdint.h>

/* [rows, depth] times `weights` [outputs, depth], transposed; `bias` has the input's zero point in it. */
typedef struct {
  const int8_t *weights;
  const int32_t *bias;
  const int32_t *multiplier;
  const int8_t *shift;
  int32_t rows, depth, outputs;
  int16_t out_zero, lowest, highest;
} whylite_dense;

void whylite_fully_connected(const whylite_dense *p, const int8_t *x, int8_t *y);

#endif
