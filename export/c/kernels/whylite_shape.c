#include "whylite_shape.h"

void whylite_copy(const int8_t *x, int8_t *y, int32_t bytes) {
  for (int32_t i = 0; i < bytes; i++) {
    y[i] = x[i];
  }
}
