/* What a host says and a microcontroller understands: REQUEST, PING and WINDOW, of edge/wire/wire.cddl. */
#ifndef WHYLITE_MESSAGE_H
#define WHYLITE_MESSAGE_H

#include "whylite_records.h"

#ifdef __cplusplus
extern "C" {
#endif

#define WHYLITE_WINDOW_CHUNK 512 /* bytes of a window in one frame */

/* Room for the longest frame that a host sends: a WINDOW, or a REQUEST with 32 methods, and its checksum. */
#define WHYLITE_RECEIVE_SIZE (WHYLITE_WINDOW_CHUNK + 48)

/* Keys of what a host sends, to look it up in a message. */
enum {
  WHYLITE_REQUEST_WHAT = 2,
  WHYLITE_REQUEST_SEQUENCE = 3,
  WHYLITE_REQUEST_METHOD = 4,
  WHYLITE_REQUEST_CLASS = 5,
  WHYLITE_REQUEST_RATE = 6,
  WHYLITE_REQUEST_METHODS = 7,
  WHYLITE_REQUEST_EXPLAIN = 8,
  WHYLITE_REQUEST_INPUTS = 9,
  WHYLITE_REQUEST_ACKNOWLEDGE = 10,
  WHYLITE_PING_TOKEN = 2,
  WHYLITE_WINDOW_SEQUENCE = 2,
  WHYLITE_WINDOW_OFFSET = 3,
  WHYLITE_WINDOW_SIZE = 4,
  WHYLITE_WINDOW_DATA = 5,
  WHYLITE_WINDOW_TRUTH = 6,
  WHYLITE_KEYS = 11
};

/* What a frame held. `value` has, by key, integers, truth values, the bits of floats, and of REQUEST's methods and a
 * WINDOW's data how many there are; what was not there is 0. */
typedef struct {
  uint32_t number;
  uint32_t code;
  uint32_t there; /* bit k: key k was */
  uint32_t value[WHYLITE_KEYS];
  uint8_t methods[32];
  const uint8_t *data; /* of a WINDOW: as long as the payload is */
} whylite_message;

/* Read a payload; false where it is no record. A record of a code that is not known here has no values. */
bool whylite_read(const uint8_t *payload, uint32_t size, whylite_message *message);

#ifdef __cplusplus
}
#endif

#endif
