#include "whylite_lookup.h"

#include "whylite_arithmetic.h"

void whylite_lookup(const int8_t *table, const int8_t *x, int8_t *y, int32_t count) {
  for (int32_t i = 0; i < count; i++) {
    y[i] = table[(uint8_t)x[i]];
  }
}
