/* Pooling: of windows, and of whole axes. */
#ifndef WHYLITE_POOL_H
#define WHYLITE_POOL_H

#include <stdint.h>

/* Windows of [in_height, in_width, channels]; what of one lies beyond the edge does not count. */
typedef struct {
  uint16_t in_height, in_width, channels;
  uint16_t out_height, out_width;
  uint16_t window_height, window_width;
  uint16_t stride_height, stride_width;
  uint16_t pad_top, pad_left;
  int16_t lowest, highest;
} whylite_pool;

void whylite_average_pool(const whylite_pool *p, const int8_t *x, int8_t *y);

void whylite_max_pool(const whylite_pool *p, const int8_t *x, int8_t *y);

#endif
