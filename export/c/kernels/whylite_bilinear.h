/* Bilinear resizing. */
#ifndef WHYLITE_BILINEAR_H
#define WHYLITE_BILINEAR_H

#include <stdint.h>

/* Output row r lies at input row (r * row_scale + row_offset) / 1024; columns likewise. */
typedef struct {
  uint16_t in_height, in_width, channels;
  uint16_t out_height, out_width;
  int32_t row_scale, row_offset;
  int32_t column_scale, column_offset;
} whylite_bilinear;

void whylite_resize_bilinear(const whylite_bilinear *p, const int8_t *x, int8_t *y);

#endif
