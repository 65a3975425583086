#include "whylite_normalize.h"

#include "whylite_arithmetic.h"

static int32_t leading_zeros(int32_t value) {
  int32_t count = 0;
  for (uint32_t bits = (uint32_t)value; bits < (UINT32_C(1) << 31); bits <<= 1) {
    count++;
  }
  return count;
}

/* x * 2^by for by >= 0, saturated. */
WHYLITE_APART static int32_t raised(int32_t x, int32_t by) {
  const int32_t shifted = (int32_t)((uint32_t)x << by);
  return shifted >> by == x ? shifted : (x < 0 ? INT32_MIN : INT32_MAX);
}

/* 1 / (1 + x) in Q31 for x in Q31 from 0 to 1: three steps of Newton and Raphson (gemmlowp's
 * one_over_one_plus_x_for_x_in_0_1, with two integer bits in between). */
static int32_t inverse_of_one_plus(int32_t x) {
  const int32_t half_denominator = (int32_t)(((uint32_t)x + (UINT32_C(1) << 31)) >> 1);
  int32_t y = 1515870810 + whylite_high_product(half_denominator, -1010580540); /* 48/17 - 32/17 d */
  for (int32_t step = 0; step < 3; step++) {
    const int32_t error = (INT32_C(1) << 29) - whylite_high_product(half_denominator, y);
    y += raised(whylite_high_product(y, error), 2);
  }
  return raised(y, 1);
}

static void softmax_row(const int32_t *exponentials, int32_t count, const int8_t *x, int8_t *y, int32_t depth) {
  int32_t largest = INT8_MIN;
  for (int32_t i = 0; i < depth; i++) {
    largest = x[i] > largest ? x[i] : largest;
  }
  int32_t sum = 0; /* with 12 integer bits */
  for (int32_t i = 0; i < depth; i++) {
    const int32_t below = largest - x[i];
    sum += below < count ? whylite_halve(exponentials[below], 12) : 0;
  }
  const int32_t zeros = leading_zeros(sum);
  const uint32_t fraction = ((uint32_t)sum << zeros) - (UINT32_C(1) << 31);
  const int32_t inverse = inverse_of_one_plus((int32_t)fraction);
  const int32_t exponent = 12 - zeros + 31 - 8; /* above 31, shares are less than half a step */
  for (int32_t i = 0; i < depth; i++) {
    const int32_t below = largest - x[i];
    const int32_t share = below < count && exponent < 32 ? whylite_high_product(inverse, exponentials[below]) : 0;
    y[i] = whylite_clamp(whylite_halve(share, exponent & 31) + INT8_MIN, INT8_MIN, INT8_MAX);
  }
}

void whylite_softmax(const int32_t *exponentials, int32_t count, const int8_t *x, int8_t *y, int32_t rows,
                     int32_t depth) {
  for (int32_t row = 0; row < rows; row++, x += depth, y += depth) {
    softmax_row(exponentials, count, x, y, depth);
  }
}

/* 1 / sqrt(x) as a mantissa in Q31 and how far to shift left: five steps of Newton and Raphson with three integer bits
 * (TensorFlow Lite's GetInvSqrtQuantizedMultiplierExp). */
static int32_t inverse_root(int32_t x, int32_t *shift) {
  *shift = 0;
  if (x <= 1) {
    return INT32_MAX;
  }
  int32_t right = 11;
  for (; x >= (INT32_C(1) << 29); x /= 4) {
    right++;
  }
  const int32_t pairs = (leading_zeros(x) - 1) / 2 - 1;
  const int32_t input = (x << (2 * pairs)) >> 1;
  const int32_t half_input = whylite_halve(input, 1);
  right -= pairs;
  int32_t y = INT32_C(1) << 28;
  for (int32_t step = 0; step < 5; step++) {
    const int32_t cube = raised(whylite_high_product(whylite_high_product(y, y), y), 6);
    y = raised(whylite_high_product(402653184, y) - whylite_high_product(half_input, cube), 3); /* 3/2 y - x/2 y^3 */
  }
  y = whylite_high_product(y, 1518500250); /* sqrt(1/2) */
  if (right < 0) {
    return y << -right;
  }
  *shift = -right;
  return y;
}

void whylite_l2_normalize(int32_t zero, const int8_t *x, int8_t *y, int32_t rows, int32_t depth) {
  for (int32_t row = 0; row < rows; row++, x += depth, y += depth) {
    int32_t sum = 0;
    for (int32_t i = 0; i < depth; i++) {
      sum += (x[i] - zero) * (x[i] - zero);
    }
    int32_t shift;
    const int32_t root = inverse_root(sum, &shift);
    for (int32_t i = 0; i < depth; i++) {
      y[i] = whylite_clamp(whylite_scale(x[i] - zero, root, shift + 7), INT8_MIN, INT8_MAX);
    }
  }
}
