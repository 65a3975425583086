/* Between real numbers, single precision in the arena, and their grid. */
#ifndef WHYLITE_QUANTIZE_H
#define WHYLITE_QUANTIZE_H

#include <stdint.h>

/* Real values are scale * (stored - zero). */
typedef struct {
  float scale;
  int32_t zero;
} whylite_affine;

/* Rounds to nearest, halves away from zero; what is beyond the grid, infinity too, is stored as its end, and what is no
 * number as its lower one. */
void whylite_quantize(const whylite_affine *p, const int8_t *x, int8_t *y, int32_t count);

void whylite_dequantize(const whylite_affine *p, const int8_t *x, int8_t *y, int32_t count);

#endif
