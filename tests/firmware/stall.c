/* A port that stops taking bytes, after each number of them that there may be, and takes them again: for tests.
 *
 * Writes what came out of it to stdout, for each trial behind its size [4 bytes, in this machine's order]. */
#include <stdio.h>

#include "whylite_records.h"

enum { TRIALS = 120, PONGS = 6 };

static struct {
  uint32_t ticks;
  uint32_t room;
  uint32_t size;
  uint8_t bytes[4096];
} line;

static uint32_t put(void *context, const uint8_t *data, uint32_t size) {
  (void)context;
  const uint32_t taken = size < line.room ? size : line.room;
  for (uint32_t i = 0; i < taken; i++) {
    line.bytes[line.size++] = data[i];
  }
  line.room -= taken;
  return taken;
}

static uint32_t ticks(void *context) {
  (void)context;
  return line.ticks++;
}

int main(void) {
  const whylite_port port = {.write = put, .ticks = ticks};
  for (uint32_t room = 0; room < TRIALS; room++) {
    whylite_sender sender = {.port = &port, .patience = 50};
    line.size = 0;
    line.room = room;
    for (uint32_t i = 0; i < PONGS; i++) {
      const uint32_t before = line.ticks;
      const bool gone = sender.stalled;
      whylite_send_pong(&sender, i, i, i);
      if (gone && line.ticks - before > 2u) {
        return 1; /* it waited for a host of which it was known that it does not read */
      }
    }
    line.room = sizeof line.bytes - line.size;
    whylite_send_pong(&sender, PONGS, PONGS, PONGS);
    whylite_send_health(&sender, &(whylite_health){.produced = room});
    fwrite(&line.size, sizeof line.size, 1, stdout);
    fwrite(line.bytes, 1, line.size, stdout);
  }
  return 0;
}
