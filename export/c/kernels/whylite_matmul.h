/* Products of matrices of which neither needs to be a constant. */
#ifndef WHYLITE_MATMUL_H
#define WHYLITE_MATMUL_H

#include <stdint.h>

/* [rows, depth] times [depth, columns]. Each may be stored transposed: rows of the left one are `left_row` apart and
 * the values in one `left_step`, columns of the right one `right_column` and the values in one `right_step`. `bias`,
 * one for each column, may be NULL. */
typedef struct {
  const int32_t *bias;
  int32_t rows, columns, depth;
  int32_t left_row, left_step, right_column, right_step;
  int32_t multiplier, shift;
  int16_t left_zero, right_zero, out_zero, lowest, highest;
} whylite_matmul;

/* One product, of rows and columns that each lie in one run: both steps are 1, and the zero points are taken out of the
 * sums of products. */
void whylite_multiply_runs(const whylite_matmul *p, const int8_t *left, const int8_t *right, int8_t *y);

/* `axes` has four of batches: their sizes, then how far the left operand moves along each, then the right one. */
void whylite_multiply_matrices(const whylite_matmul *p, const int32_t *axes, const int8_t *left, const int8_t *right,
                               int8_t *y);

#endif
