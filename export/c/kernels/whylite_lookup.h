/* Functions of one byte, by table. */
#ifndef WHYLITE_LOOKUP_H
#define WHYLITE_LOOKUP_H

#include <stdint.h>

/* `table` has the value of each byte, in the order of bytes as unsigned numbers. `y` may be `x`. */
void whylite_lookup(const int8_t *table, const int8_t *x, int8_t *y, int32_t count);

#endif
