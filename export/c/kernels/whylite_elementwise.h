/* Two operands, value by value.
 *
 * `axes` says how they run along the output: the sizes of four axes, then how far the left operand moves along each,
 * then the right one; a broadcast operand moves by 0. The output may be written over an operand that has its shape.
 */
#ifndef WHYLITE_ELEMENTWISE_H
#define WHYLITE_ELEMENTWISE_H

#include <stdint.h>

/* Each operand goes to 20 fractional bits of twice the larger scale, their sum to the output's grid. With `lift`, how
 * far an operand is shifted to the left beforehand, every `shift` is above 0. */
typedef struct {
  int32_t left_multiplier, right_multiplier, out_multiplier;
  int16_t left_zero, right_zero, out_zero, lowest, highest;
  int8_t left_lift, right_lift, left_shift, right_shift, out_shift;
} whylite_addition;

void whylite_add(const whylite_addition *p, const int32_t *axes, const int8_t *left, const int8_t *right, int8_t *y);
void whylite_subtract(const whylite_addition *p, const int32_t *axes, const int8_t *left, const int8_t *right,
                      int8_t *y);

/* The product is shifted to the left by `lift` (1 to 14), multiplied, and divided by 2^shift. */
typedef struct {
  int32_t multiplier;
  int16_t left_zero, right_zero, out_zero, lowest, highest;
  int8_t lift, shift;
} whylite_product;

void whylite_multiply(const whylite_product *p, const int32_t *axes, const int8_t *left, const int8_t *right,
                      int8_t *y);

/* The right operand is the slope below zero. */
typedef struct {
  int32_t multiplier, slope_multiplier;
  int16_t left_zero, right_zero, out_zero;
  int8_t shift, slope_shift;
} whylite_slope;

void whylite_prelu(const whylite_slope *p, const int32_t *axes, const int8_t *left, const int8_t *right, int8_t *y);

void whylite_maximum(const int32_t *axes, const int8_t *left, const int8_t *right, int8_t *y);
void whylite_minimum(const int32_t *axes, const int8_t *left, const int8_t *right, int8_t *y);

#endif
