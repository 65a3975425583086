/* Moving values that stay as they are. */
#ifndef WHYLITE_SHAPE_H
#define WHYLITE_SHAPE_H

#include <stdint.h>

void whylite_copy(const int8_t *x, int8_t *y, int32_t bytes);

#endif
