/* Moving values that stay as they are. */
#ifndef WHYLITE_SHAPE_H
#define WHYLITE_SHAPE_H

#include <stdint.h>

/* Where bytes go: `run` of them lie together at both ends, over four loops, outermost first. All is in bytes; steps may
 * be negative, and 0 where the same bytes are read again. */
typedef struct {
  int32_t from, to, run;
  int32_t times[4], from_step[4], to_step[4];
} whylite_layout;

void whylite_copy(const void *x, int8_t *y, int32_t bytes);

void whylite_move(const whylite_layout *p, const void *x, int8_t *y);

#endif
