/* Feeds the receiver what it is told, and says what it understood: for tests.
 *
 * Each job is a size [4 bytes, in this machine's order] and so many bytes; the answer is a line per record that was
 * read, and one that begins with "bad" and how many frames were. */
#include <stdio.h>
#include <stdlib.h>

#include "whylite_message.h"

static void print(const whylite_message *message) {
  /* that these two are there says nothing where they are as they are by default */
  const uint32_t defaults =
      message->code == WHYLITE_REQUEST ? 1u << WHYLITE_REQUEST_WHAT | 1u << WHYLITE_REQUEST_ACKNOWLEDGE : 0;
  printf("%u %u %u", (unsigned)message->code, (unsigned)message->number, (unsigned)(message->there | defaults));
  for (uint32_t key = 0; key < WHYLITE_KEYS; key++) {
    printf(" %u", (unsigned)message->value[key]);
  }
  printf(" ");
  if (message->code == WHYLITE_REQUEST) {
    for (uint32_t i = 0; i < message->value[WHYLITE_REQUEST_METHODS]; i++) {
      printf("%02x", message->methods[i]);
    }
  }
  if (message->code == WHYLITE_WINDOW) {
    for (uint32_t i = 0; i < message->value[WHYLITE_WINDOW_DATA]; i++) {
      printf("%02x", message->data[i]);
    }
  }
  printf("\n");
}

int main(void) {
  uint32_t size;
  while (fread(&size, sizeof size, 1, stdin) == 1) {
    uint8_t *buffer = malloc(WHYLITE_RECEIVE_SIZE); /* of its own, so that a byte beyond it is noticed */
    whylite_receiver receiver = {.buffer = buffer, .capacity = WHYLITE_RECEIVE_SIZE};
    for (; size > 0; size--) {
      const uint32_t payload = whylite_receive(&receiver, (uint8_t)getchar());
      if (payload == 0) {
        continue;
      }
      uint8_t *exact = malloc(payload); /* so that is one beyond the payload */
      for (uint32_t i = 0; i < payload; i++) {
        exact[i] = buffer[i];
      }
      whylite_message message;
      if (whylite_read(exact, payload, &message)) {
        print(&message);
      } else {
        receiver.bad++;
      }
      free(exact);
    }
    printf("bad %u\n", (unsigned)receiver.bad);
    fflush(stdout);
    free(buffer);
  }
  return 0;
}
