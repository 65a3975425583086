/* whylite_profile on the host, its port on standard input and output, with a counter that a test makes up. Arguments: what it starts
 * at, what it goes on by whenever it is read, and the bytes of memory there are. */
#include <stdlib.h>
#include <unistd.h>

#include "whylite_loops.h"
#include "whylite_profile.h"

static uint32_t counter, step;

static uint32_t ticks(void *context) {
  (void)context;
  counter += step;
  return counter;
}

static uint32_t put(void *context, const uint8_t *data, uint32_t size) {
  (void)context;
  const ssize_t taken = write(1, data, size);
  if (taken <= 0) {
    _exit(0);
  }
  return (uint32_t)taken;
}

static uint32_t get(void *context, uint8_t *data, uint32_t size) {
  (void)context;
  const ssize_t given = read(0, data, size);
  if (given == 0) {
    _exit(0);
  }
  return given < 0 ? 0 : (uint32_t)given;
}

int main(int count, char **arguments) {
  static int8_t memory[4096] __attribute__((aligned(WHYLITE_ALIGNMENT)));
  const whylite_port port = {.write = put, .read = get, .ticks = ticks, .clock_hz = 1000000, .clock = "DWT"};
  if (count != 4) {
    return 2;
  }
  counter = (uint32_t)strtoul(arguments[1], 0, 0);
  step = (uint32_t)strtoul(arguments[2], 0, 0);
  const uint32_t size = (uint32_t)strtoul(arguments[3], 0, 0);
  const whylite_profiled profiled = {&whylite_loops, &port, memory, size, 0};
  for (;;) {
    (void)whylite_profile(&profiled);
  }
}
