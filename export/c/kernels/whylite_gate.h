/* Which values of an activation are above its lowest, a bit each, and what passes or stops by them. */
#ifndef WHYLITE_GATE_H
#define WHYLITE_GATE_H

#include <stdint.h>

/* Bit i % 8 of byte i / 8 says whether x[i] is above -128. `x` is aligned to 4 bytes; all of the last byte is
 * written. */
void whylite_pack(const int8_t *x, int8_t *bits, int32_t count);

/* y[i] is what `table` (whylite_lookup.h) makes of x[i % period] where bit i is set, and 0 elsewhere; without a table
 * it is x[i % period] itself. `period` is `count` or a multiple of 8; `x` and `y` are aligned to 4 bytes, and may be
 * the same if the period is `count`. */
void whylite_gate(const int8_t *table, const int8_t *x, int32_t period, const int8_t *bits, int8_t *y, int32_t count);

#endif
