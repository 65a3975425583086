/* Matrix products. */
#ifndef WHYLITE_DENSE_H
#define WHYLITE_DENSE_H

#include "whylite_arithmetic.h"

/* [rows, depth] times `weights` [outputs, depth], transposed; `bias` has the input's zero point in it. `bias`,
 * `multiplier` and `shift` are per output, and filled up with zeros to a multiple of four. */
typedef struct {
  const int8_t *weights;
  const int32_t *bias;
  const int32_t *multiplier;
  const whylite_shift *shift;
  int32_t rows, depth, outputs;
  int16_t out_zero, lowest, highest;
} whylite_dense;

/* `scratch` is CMSIS-NN's alone. */
void whylite_fully_connected(const whylite_dense *p, const int8_t *x, int8_t *y, int8_t *scratch);

/* The same for weights of -127 to 127; all figures are packed where WHYLITE_PACKED is set (whylite_dsp.h).
 * `scratch` has room for a row as int16, filled up to a multiple of four. */
#if WHYLITE_PACKED
void whylite_fully_connected_fast(const whylite_dense *p, const int8_t *x, int8_t *y, int8_t *scratch);
#else
#define whylite_fully_connected_fast whylite_fully_connected
#endif

#endif
