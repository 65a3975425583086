/* Normalising along the innermost axis. The output may be written over the input. */
#ifndef WHYLITE_NORMALIZE_H
#define WHYLITE_NORMALIZE_H

#include <stdint.h>

/* `exponentials` are those of 0, -1, -2 ... steps of the input's grid, in Q31; what is further below the row's largest
 * value than there are of them is nothing. The output is on the grid 1/256, -128. */
void whylite_softmax(const int32_t *exponentials, int32_t count, const int8_t *x, int8_t *y, int32_t rows,
                     int32_t depth);

/* Divides by the square root of the sum of squares. The output is on the grid 1/128, 0. */
void whylite_l2_normalize(int32_t zero, const int8_t *x, int8_t *y, int32_t rows, int32_t depth);

#endif
