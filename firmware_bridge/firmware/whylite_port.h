/* What a board has to offer WhyLite: the part to fill in for a board of your own. See ports/ for examples.
 *
 * Only `write`, `read`, `ticks` and `identify` are needed; the others may be NULL. All are called from
 * whylite_device_step alone, never from an interrupt.
 */
#ifndef WHYLITE_PORT_H
#define WHYLITE_PORT_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  void *context; /* handed to every function */

  /* Take up to `size` bytes to be sent and return how many were taken; waiting for room, for some milliseconds at the
   * most, saves calls. Nothing else may ever be written to the serial port: log lines travel as records. */
  uint32_t (*write)(void *context, const uint8_t *data, uint32_t size);

  /* Give up to `size` bytes that have arrived, without waiting, and return how many. While a model computes nobody
   * calls this, so have an interrupt or DMA put what comes into a ring: 128 bytes hold what a monitor says in a second.
   * Where windows come from the host, 600 bytes, a chunk of one. */
  uint32_t (*read)(void *context, uint8_t *data, uint32_t size);

  /* A counter that counts up at `clock_hz` and wraps after 32 bits: a cycle counter, or a timer of a microsecond. It
   * has to be read at least once per wrap, which whylite_device_step does. */
  uint32_t (*ticks)(void *context);

  /* Fill in 8 bytes that are not the same after the next reset: by them a host tells that the board has begun anew. */
  void (*identify)(void *context, uint8_t session[8]);

  /* Write the next window as the model stores its input, and return true; false while none is complete. NULL where the
   * host sends the windows. */
  bool (*capture)(void *context, int8_t *input);

  /* Return how many bytes of RAM are in use, stack included, for HEALTH. */
  uint32_t (*memory)(void *context);

  /* There is nothing to do: sleep until an interrupt comes, a millisecond at the most where windows are captured. */
  void (*idle)(void *context);

  uint32_t clock_hz;
  uint32_t bytes_per_second; /* that the serial port carries, for the size of a map's chunks; 0 if it is very fast */
  const char *board;         /* its name, at most 64 bytes, for people */
  const char *clock;         /* the name of what `ticks` reads, such as "DWT" */
} whylite_port;

#ifdef __cplusplus
}
#endif

#endif
