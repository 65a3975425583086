/* Picking entries by their positions. */
#ifndef WHYLITE_GATHER_H
#define WHYLITE_GATHER_H

#include <stdint.h>

/* x [batches, outer, size] and y [batches, outer, count] of entries of `inner` bytes; int32 positions [batches, count].
 * What lies outside is read at the nearest end. */
typedef struct {
  int32_t batches, outer, size, count, inner;
} whylite_picks;

void whylite_gather(const whylite_picks *p, const int8_t *x, const void *positions, int8_t *y);

/* [in_height, in_width, channels] at the given rows [out_height] and columns [out_width]. */
typedef struct {
  const uint16_t *rows, *columns;
  int32_t in_width, channels, out_height, out_width;
} whylite_nearest;

void whylite_resize_nearest(const whylite_nearest *p, const int8_t *x, int8_t *y);

#endif
