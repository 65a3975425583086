/* Frames and CBOR of the link, to send and to receive: edge/wire/wire.cddl is the contract, docs/wire.md explains it.
 *
 * A record is written as it is sent: open, put each key and value in ascending order of keys, close. What waits is
 * never more than one COBS block. Received frames are collected in a buffer of the caller's; longer ones are skipped.
 */
#ifndef WHYLITE_LINK_H
#define WHYLITE_LINK_H

#include "whylite_port.h"

#ifdef __cplusplus
extern "C" {
#endif

#define WHYLITE_CODES 20 /* codes of records that a board sends are below */

typedef enum {
  WHYLITE_UNSIGNED,
  WHYLITE_NEGATIVE,
  WHYLITE_BYTES,
  WHYLITE_TEXT,
  WHYLITE_ARRAY,
  WHYLITE_MAP,
  WHYLITE_TAG,
  WHYLITE_SIMPLE
} whylite_major;

enum { WHYLITE_FALSE = 0xF4, WHYLITE_TRUE = 0xF5, WHYLITE_FLOAT = 0xFA }; /* first bytes of what is simple */

/* To begin with all is zero but `port` and `patience`. `sent` and `dropped` count frames by record code. A frame that
 * has begun is sent, and has a number; what the host misses of it shows as a gap. One that cannot begin, because the
 * port has taken nothing for `patience` ticks, is dropped, and so is all that follows until the port takes something
 * again. */
typedef struct {
  const whylite_port *port;
  uint32_t patience;
  uint32_t number;
  uint32_t checksum;
  uint32_t stalls;
  uint32_t sent[WHYLITE_CODES];
  uint32_t dropped[WHYLITE_CODES];
  bool stalled;
  bool skipping;      /* the rest of this frame */
  uint8_t length;     /* of what the block holds so far */
  uint8_t block[256]; /* of COBS: its code, up to 254 bytes, and the delimiter behind the last one */
} whylite_sender;

/* Begin the frame of a record with `pairs` fields beside its code and number, 21 at the most. */
void whylite_open(whylite_sender *sender, uint8_t code, uint32_t pairs);
void whylite_put(whylite_sender *sender, const void *data, uint32_t size); /* bytes as they are */
void whylite_put_head(whylite_sender *sender, whylite_major major, uint64_t argument);
void whylite_put_float(whylite_sender *sender, float value);
void whylite_close(whylite_sender *sender);

/* To begin with all is zero but `buffer` and `capacity`. `bad` counts frames that were not whole, and whoever finds
 * that a payload is no record adds to it. */
typedef struct {
  uint8_t *buffer;
  uint32_t capacity;
  uint32_t size; /* of the frame so far, of which only what fits is kept */
  uint32_t bad;
  bool joined;  /* a delimiter has come: before, the tail of a frame is nobody's fault */
  uint8_t code; /* of the COBS block that is being received, 0 before the first, */
  uint8_t left; /* and how many of its bytes are still to come */
} whylite_receiver;

/* Take one byte; return the size of the payload that it completes, which is in the buffer until the next call, or 0. */
uint32_t whylite_receive(whylite_receiver *receiver, uint8_t byte);

/* What of a payload is still to be read, and an item of it: `data` are the `argument` bytes of a byte string or text,
 * and of a float `argument` has the bits. Arguments beyond 32 bits read as UINT32_MAX: no field that a board receives
 * is as large. */
typedef struct {
  const uint8_t *at;
  const uint8_t *end;
} whylite_reader;

typedef struct {
  uint8_t major; /* a whylite_major */
  uint8_t first;
  uint32_t argument;
  const uint8_t *data;
} whylite_item;

/* Read an item, of an array or map its head alone; false where it is none that the link uses. */
bool whylite_next(whylite_reader *reader, whylite_item *item);

/* Pass over what is inside an item that was read, `depth` containers deep at the most, itself included; false where
 * that is nothing for the link. */
bool whylite_skip(whylite_reader *reader, const whylite_item *item, uint32_t depth);

#define WHYLITE_DEPTH 4 /* containers of a record, the map that it is included */

#ifdef __cplusplus
}
#endif

#endif
