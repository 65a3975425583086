/* Measures a compiled model on the board, for `whylite profile`: in place of whylite_device, in a program that is
 * compiled with -DWHYLITE_PROFILE.
 *
 *     static int8_t memory[...] __attribute__((aligned(WHYLITE_ALIGNMENT)));   WHYLITE_PROFILE_MEMORY says how large
 *     static const whylite_profiled profiled = {&whylite_beats, &port, memory, sizeof memory, stack_peak};
 *     for (;;) {
 *       whylite_profile(&profiled);
 *     }
 *
 * When the host sends a ? it asks for a window, predicts and explains it, and says what every call of a kernel took, in
 * lines of text: "$WHY,name,field,...*hh", numbers in hexadecimal, hh the exclusive or of the bytes between $ and *, as
 * in NMEA 0183. firmware_bridge/profile/lines.py lists them.
 */
#ifndef WHYLITE_PROFILE_H
#define WHYLITE_PROFILE_H

#include <stdbool.h>

#include "whylite.h"
#include "whylite_port.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes for a model's arena, a count for each of its operations, a copy of the window, and sums of Integrated
 * Gradients, which may be left out where no explanation has steps. */
#define WHYLITE_PROFILE_MEMORY(arena, operations, input) \
  (((arena) + 15u) / 16u * 16u + 16u * (operations) + ((input) + 3u) / 4u * 4u + 4u * (input))

/* Of the port `write`, `read` and `ticks` are used. `stack_peak` says how many bytes of stack have been in use at the
 * most, or is NULL. */
typedef struct {
  const whylite_model *model;
  const whylite_port *port;
  int8_t *memory;
  uint32_t size;
  uint32_t (*stack_peak)(void);
} whylite_profiled;

/* Measure a window if the host has asked for that; false if it has not, if none came, or the memory is too small. */
bool whylite_profile(const whylite_profiled *profiled);

#ifdef __cplusplus
}
#endif

#endif
