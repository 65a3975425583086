#include "whylite_message.h"

/* A serial port is slower than any of this: what counts is its size. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os")
#endif

enum { UINT8, UINT16, UINT32, BOOLEAN, FLOAT32, CHUNK, METHOD_LIST };

/* What a host may send: record, key, type, and whether it has to be there. */
static const struct {
  uint8_t code;
  uint8_t key;
  uint8_t kind;
  bool needed;
} expected[] = {
    {WHYLITE_REQUEST, WHYLITE_REQUEST_WHAT, UINT8, false},
    {WHYLITE_REQUEST, WHYLITE_REQUEST_SEQUENCE, UINT32, false},
    {WHYLITE_REQUEST, WHYLITE_REQUEST_METHOD, UINT8, false},
    {WHYLITE_REQUEST, WHYLITE_REQUEST_CLASS, UINT16, false},
    {WHYLITE_REQUEST, WHYLITE_REQUEST_RATE, FLOAT32, false},
    {WHYLITE_REQUEST, WHYLITE_REQUEST_METHODS, METHOD_LIST, false},
    {WHYLITE_REQUEST, WHYLITE_REQUEST_EXPLAIN, UINT8, false},
    {WHYLITE_REQUEST, WHYLITE_REQUEST_INPUTS, BOOLEAN, false},
    {WHYLITE_REQUEST, WHYLITE_REQUEST_ACKNOWLEDGE, BOOLEAN, false},
    {WHYLITE_PING, WHYLITE_PING_TOKEN, UINT32, true},
    {WHYLITE_WINDOW, WHYLITE_WINDOW_SEQUENCE, UINT32, true},
    {WHYLITE_WINDOW, WHYLITE_WINDOW_OFFSET, UINT32, true},
    {WHYLITE_WINDOW, WHYLITE_WINDOW_SIZE, UINT32, true},
    {WHYLITE_WINDOW, WHYLITE_WINDOW_DATA, CHUNK, true},
    {WHYLITE_WINDOW, WHYLITE_WINDOW_TRUTH, UINT16, false},
};
#define FIELDS (sizeof expected / sizeof expected[0])

/* Whether an item is an unsigned integer of at most 32 bits. */
static bool is_uint32(const whylite_item *item) {
  const bool wide = item->argument == UINT32_MAX && (item->first & 31u) == 27u;
  return item->major == WHYLITE_UNSIGNED && !wide;
}

static bool read_methods(whylite_reader *reader, const whylite_item *head, whylite_message *message) {
  if (head->major != WHYLITE_ARRAY || head->argument > sizeof message->methods) {
    return false;
  }
  for (uint32_t i = 0; i < head->argument; i++) {
    whylite_item item;
    if (!whylite_next(reader, &item) || item.major != WHYLITE_UNSIGNED || item.argument > UINT8_MAX) {
      return false;
    }
    message->methods[i] = (uint8_t)item.argument;
  }
  return true;
}

/* Take the value of a field that is known here. */
static bool read_value(whylite_reader *reader, const whylite_item *item, uint32_t type, whylite_message *message) {
  static const uint32_t limit[] = {[UINT8] = UINT8_MAX, [UINT16] = UINT16_MAX};
  switch (type) {
    case UINT8:
    case UINT16:
      return item->major == WHYLITE_UNSIGNED && item->argument <= limit[type];
    case UINT32:
      return is_uint32(item);
    case BOOLEAN:
      return item->first == WHYLITE_FALSE || item->first == WHYLITE_TRUE;
    case FLOAT32:
      return item->first == WHYLITE_FLOAT && (item->argument >> 23 & 0xFFu) != 0xFFu; /* finite */
    case CHUNK:
      message->data = item->data;
      return item->major == WHYLITE_BYTES && item->argument <= WHYLITE_WINDOW_CHUNK;
    default:
      return read_methods(reader, item, message);
  }
}

/* Take one pair of the record's map. Its code comes first, so that all other keys are known to be of it. */
static bool read_pair(whylite_reader *reader, uint32_t key, whylite_message *message) {
  whylite_item item;
  if (!whylite_next(reader, &item)) {
    return false;
  }
  if (key == 0) {
    message->code = item.argument;
    return item.major == WHYLITE_UNSIGNED && item.argument <= UINT8_MAX;
  }
  if (key == 1) {
    message->number = item.argument;
    return is_uint32(&item);
  }
  for (uint32_t i = 0; i < FIELDS; i++) {
    if (expected[i].code == message->code && expected[i].key == key) {
      message->there |= 1u << key;
      message->value[key] = item.argument - (expected[i].kind == BOOLEAN ? WHYLITE_FALSE & 31u : 0u);
      return read_value(reader, &item, expected[i].kind, message);
    }
  }
  return whylite_skip(reader, &item, WHYLITE_DEPTH - 1u);
}

bool whylite_read(const uint8_t *payload, uint32_t size, whylite_message *message) {
  whylite_reader reader = {payload, payload + size};
  whylite_item item;
  *message = (whylite_message){0};
  if (!whylite_next(&reader, &item) || item.major != WHYLITE_MAP) {
    return false;
  }
  uint32_t head = 0; /* keys 0 and 1, in this order, have to be there */
  uint32_t lowest = 0;
  for (uint32_t left = item.argument; left > 0; left--) {
    if (!whylite_next(&reader, &item) || item.major != WHYLITE_UNSIGNED || item.argument < lowest ||
        item.argument == UINT32_MAX || (item.argument != head && head < 2u)) {
      return false;
    }
    head += head < 2u;
    lowest = item.argument + 1u;
    if (!read_pair(&reader, item.argument, message)) {
      return false;
    }
  }
  for (uint32_t i = 0; i < FIELDS; i++) {
    if (expected[i].needed && expected[i].code == message->code && (message->there >> expected[i].key & 1u) == 0) {
      return false;
    }
  }
  return head == 2u && reader.at == reader.end;
}
