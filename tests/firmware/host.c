/* The firmware as a Linux program, on the serial port that the first argument names. Others: `yes` takes the model with
 * one score, `small` leaves no memory for a copy of the window, `copy` none for Integrated Gradients, `capture` makes
 * windows of its own, `stopped` stops the clock, and `quick` has it go ten times as fast as it says. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "whylite_device.h"
#include "whylite_toy.h"

static struct {
  int port;
  bool stopped;
  uint32_t captured;
} host;

static uint32_t put(void *context, const uint8_t *data, uint32_t size) {
  (void)context;
  struct pollfd ready = {host.port, POLLOUT, 0};
  if (poll(&ready, 1, 10) <= 0) {
    return 0;
  }
  const ssize_t taken = write(host.port, data, size);
  return taken > 0 ? (uint32_t)taken : 0;
}

static uint32_t get(void *context, uint8_t *data, uint32_t size) {
  (void)context;
  const ssize_t given = read(host.port, data, size);
  return given > 0 ? (uint32_t)given : 0;
}

static uint32_t nanoseconds(void *context) {
  (void)context;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return host.stopped ? 1u : (uint32_t)((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
}

static void identify(void *context, uint8_t session[8]) {
  (void)context;
  const int source = open("/dev/urandom", O_RDONLY);
  if (source < 0 || read(source, session, 8) != 8) {
    exit(3);
  }
  close(source);
}

static bool capture(void *context, int8_t *input) {
  (void)context;
  static uint32_t before;
  const uint32_t now = nanoseconds(NULL);
  if (now - before < 20000000u) {
    return false;
  }
  before = now;
  for (uint32_t i = 0; i < WHYLITE_TOY_INPUT_SIZE; i++) {
    input[i] = (int8_t)(host.captured * 7u + i * 11u);
  }
  host.captured++;
  return true;
}

static uint32_t memory_in_use(void *context) {
  (void)context;
  return sizeof(whylite_device);
}

static void wait_for_bytes(void *context) {
  (void)context;
  struct pollfd ready = {host.port, POLLIN, 0};
  (void)poll(&ready, 1, 1);
}

int main(int count, char **arguments) {
  whylite_port port = {.write = put,
                       .read = get,
                       .ticks = nanoseconds,
                       .identify = identify,
                       .memory = memory_in_use,
                       .idle = wait_for_bytes,
                       .clock_hz = 1000000000,
                       .board = "Linux process",
                       .clock = "CLOCK_MONOTONIC"};
  const whylite_model *model = &whylite_toy;
  uint32_t size = WHYLITE_MODEL_MEMORY(WHYLITE_TOY);
  for (int i = 2; i < count; i++) {
    model = strcmp(arguments[i], "yes") == 0 ? &whylite_yes : model;
    size = strcmp(arguments[i], "small") == 0 ? WHYLITE_TOY_ARENA_SIZE : size;
    size = strcmp(arguments[i], "copy") == 0 ? size - 4u : size;
    port.capture = strcmp(arguments[i], "capture") == 0 ? capture : port.capture;
    port.clock_hz = strcmp(arguments[i], "quick") == 0 ? 100000000u : port.clock_hz;
    host.stopped = host.stopped || strcmp(arguments[i], "stopped") == 0;
  }
  host.port = open(arguments[1], O_RDWR | O_NOCTTY | O_NONBLOCK);
  int8_t *memory = aligned_alloc(WHYLITE_ALIGNMENT, (size + 15u) / 16u * 16u);
  whylite_device *device = malloc(sizeof *device);
  if (host.port < 0 || memory == NULL || device == NULL || !whylite_device_start(device, model, &port, memory, size)) {
    return 2;
  }
  static const uint16_t alarms[] = {1};
  device->alarms = alarms;
  device->alarm_count = 1;
  for (;;) {
    (void)whylite_device_step(device);
  }
}
