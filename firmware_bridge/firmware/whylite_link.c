#include "whylite_link.h"

/* A serial port is slower than any of this: what counts is its size. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os")
#endif

#define CRC_START 0xFFFFFFFFu
/* What is left of anything with its own CRC-32 behind it, before the final inversion. */
#define CRC_RESIDUE 0xDEBB20E3u
#define CRC_SIZE 4u
#define BLOCK 254u /* bytes of a COBS block that no zero ends */

static uint32_t crc32(uint32_t crc, const uint8_t *data, uint32_t size) {
  static const uint32_t nibble[16] = {
      0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u, 0x4DB26158u, 0x5005713Cu,
      0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu, 0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
  };
  while (size-- > 0) {
    crc ^= *data++;
    crc = (crc >> 4) ^ nibble[crc & 15u];
    crc = (crc >> 4) ^ nibble[crc & 15u];
  }
  return crc;
}

/* Have the port take the first `size` bytes of the block; false where it does not within the patience there is. */
static bool deliver(whylite_sender *sender, uint32_t size) {
  const whylite_port *port = sender->port;
  const uint8_t *data = sender->block;
  const uint32_t since = port->ticks(port->context);
  while (size > 0) {
    const uint32_t taken = port->write(port->context, data, size);
    if (taken > 0) {
      data += taken;
      size -= taken;
      sender->stalled = false;
    } else if (sender->stalled || port->ticks(port->context) - since >= sender->patience) {
      sender->stalls += !sender->stalled;
      sender->stalled = true;
      return false;
    }
  }
  return true;
}

/* Send what the block holds, `more` bytes behind it included. */
static void flush(whylite_sender *sender, uint32_t more) {
  const uint32_t size = sender->length + 1u;
  sender->block[0] = (uint8_t)size;
  sender->length = 0;
  sender->skipping = sender->skipping || !deliver(sender, size + more);
}

void whylite_open(whylite_sender *sender, uint8_t code, uint32_t pairs) {
  const uint8_t start[4] = {(uint8_t)((uint32_t)WHYLITE_MAP << 5 | (pairs + 2u)), 0, code, 1};
  sender->length = 0;
  sender->checksum = CRC_START;
  sender->block[0] = 0;
  sender->skipping = !deliver(sender, 1);
  if (sender->skipping) {
    sender->dropped[code]++;
    return;
  }
  sender->sent[code]++;
  whylite_put(sender, start, sizeof start);
  whylite_put_head(sender, WHYLITE_UNSIGNED, sender->number++);
}

void whylite_put(whylite_sender *sender, const void *data, uint32_t size) {
  const uint8_t *at = data;
  sender->checksum = crc32(sender->checksum, at, size);
  for (; size > 0; size--, at++) {
    if (sender->length == BLOCK) {
      flush(sender, 0);
    }
    if (*at == 0) {
      flush(sender, 0);
    } else {
      sender->block[++sender->length] = *at;
    }
  }
}

/* Put a first byte and the lowest `width` bytes of a number, the highest first. */
static void put_number(whylite_sender *sender, uint32_t first, uint64_t number, uint32_t width) {
  uint8_t bytes[9];
  for (uint32_t i = width; i > 0; i--) {
    bytes[i] = (uint8_t)number;
    number >>= 8;
  }
  bytes[0] = (uint8_t)first;
  whylite_put(sender, bytes, width + 1u);
}

void whylite_put_head(whylite_sender *sender, whylite_major major, uint64_t argument) {
  uint32_t first = (uint32_t)major << 5;
  uint32_t width = 0;
  if (argument < 24u) {
    first |= (uint32_t)argument;
  } else {
    const uint32_t log = (uint32_t)(argument > 0xFFu) + (argument > 0xFFFFu) + (argument > 0xFFFFFFFFu);
    first |= 24u + log;
    width = 1u << log;
  }
  put_number(sender, first, argument, width);
}

void whylite_put_float(whylite_sender *sender, float value) {
  const union {
    float number;
    uint32_t bits;
  } as = {value};
  put_number(sender, WHYLITE_FLOAT, as.bits, 4);
}

void whylite_close(whylite_sender *sender) {
  const uint32_t crc = ~sender->checksum;
  const uint8_t checksum[CRC_SIZE] = {(uint8_t)crc, (uint8_t)(crc >> 8), (uint8_t)(crc >> 16), (uint8_t)(crc >> 24)};
  whylite_put(sender, checksum, sizeof checksum);
  sender->block[sender->length + 1u] = 0;
  flush(sender, 1);
}

/* Return the size of the payload of a frame that has ended. */
static uint32_t finish(whylite_receiver *receiver) {
  const uint32_t size = receiver->size;
  const bool whole = receiver->left == 0 && size > CRC_SIZE && size <= receiver->capacity &&
                     crc32(CRC_START, receiver->buffer, size) == CRC_RESIDUE;
  if (!whole && receiver->code != 0 && receiver->joined) {
    receiver->bad++;
  }
  receiver->joined = true;
  receiver->size = 0;
  receiver->code = 0;
  receiver->left = 0;
  return whole ? size - CRC_SIZE : 0;
}

uint32_t whylite_receive(whylite_receiver *receiver, uint8_t byte) {
  if (byte == 0) {
    return finish(receiver);
  }
  if (receiver->left > 0) {
    receiver->left--;
  } else {
    const bool ended = receiver->code == 0 || receiver->code == BLOCK + 1u;
    receiver->code = byte;
    receiver->left = (uint8_t)(byte - 1u);
    if (ended) {
      return 0;
    }
    byte = 0; /* the one that ended the block before */
  }
  if (receiver->size < receiver->capacity) {
    receiver->buffer[receiver->size] = byte;
  }
  receiver->size++;
  return 0;
}

bool whylite_next(whylite_reader *reader, whylite_item *item) {
  if (reader->at == reader->end) {
    return false;
  }
  const uint8_t first = *reader->at++;
  uint32_t argument = first & 31u;
  if (argument >= 24u) {
    uint32_t width = 1u << (argument - 24u);
    if (width > 8u || (uint32_t)(reader->end - reader->at) < width) {
      return false; /* an indefinite length, or the end */
    }
    for (argument = 0; width > 0; width--) {
      const uint8_t byte = *reader->at++;
      argument = argument > UINT32_MAX >> 8 ? UINT32_MAX : (argument << 8) | byte;
    }
  }
  *item = (whylite_item){(uint8_t)(first >> 5), first, argument, reader->at};
  if (item->major == WHYLITE_BYTES || item->major == WHYLITE_TEXT) {
    if (argument > (uint32_t)(reader->end - reader->at)) {
      return false;
    }
    reader->at += argument;
  }
  return item->major < WHYLITE_TAG || first == WHYLITE_FALSE || first == WHYLITE_TRUE || first == WHYLITE_FLOAT;
}

bool whylite_skip(whylite_reader *reader, const whylite_item *item, uint32_t depth) {
  const bool keyed = item->major == WHYLITE_MAP;
  if (!keyed && item->major != WHYLITE_ARRAY) {
    return true;
  }
  if (depth == 0) {
    return false;
  }
  uint32_t lowest = 0; /* that the next key may be */
  for (uint32_t left = item->argument; left > 0; left--) {
    whylite_item next;
    if (keyed) {
      if (!whylite_next(reader, &next) || next.major != WHYLITE_UNSIGNED || next.argument < lowest ||
          next.argument == UINT32_MAX) {
        return false;
      }
      lowest = next.argument + 1u;
    }
    if (!whylite_next(reader, &next) || !whylite_skip(reader, &next, depth - 1u)) {
      return false;
    }
  }
  return true;
}
