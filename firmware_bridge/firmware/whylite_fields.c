#include "whylite_fields.h"

#include "whylite_scores.h"

/* A serial port is slower than any of this: what counts is its size. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os")
#endif

#define LONGEST_LABEL 64u
#define LONGEST_MESSAGE 512u

/* Return a field as a number: of a list how many there are, of a pointer whether it points anywhere. */
static uint64_t number_of(const field *the, const void *at) {
  switch (the->kind) {
    case FIXED:
      return the->place;
    case FLAG:
      return *(const bool *)at;
    case NUMBER:
    case TABLE: /* which begins with what is known */
      return *(const uint32_t *)at;
    case INTEGER:
      return (uint64_t)(int64_t) * (const int32_t *)at;
    case TICKS:
      return *(const uint64_t *)at;
    case BYTES:
    case TEXTS:
    case PLACES:
    case CLASSES:
      return ((const list *)at)->count;
    default:
      return *(const void *const *)at != NULL;
  }
}

static bool is_there(const field *the, const void *at) {
  return the->unless == ALWAYS || number_of(the, at) != (uint64_t)(int64_t)the->unless;
}

static void put_number(whylite_sender *sender, uint64_t number) {
  whylite_put_head(sender, WHYLITE_UNSIGNED, number);
}

/* Put a text, cut to `limit` bytes where that does not cut a character in two. */
static void put_text(whylite_sender *sender, const char *text, uint32_t limit) {
  uint32_t size = 0;
  while (size < limit && text[size] != 0) {
    size++;
  }
  while (size > 0 && text[size] != 0 && ((uint8_t)text[size] & 0xC0u) == 0x80u) {
    size--;
  }
  whylite_put_head(sender, WHYLITE_TEXT, size);
  whylite_put(sender, text, size);
}

static void put_list(whylite_sender *sender, const list *those, uint32_t type) {
  whylite_put_head(sender, WHYLITE_ARRAY, those->count);
  for (uint32_t i = 0; i < those->count; i++) {
    if (type == TEXTS) {
      const uint8_t *at = (const uint8_t *)those->first + i * those->step;
      put_text(sender, *(const char *const *)(const void *)at, LONGEST_LABEL);
    } else {
      put_number(sender, type == PLACES ? ((const uint8_t *)those->first)[i] : ((const uint16_t *)those->first)[i]);
    }
  }
}

/* Put a table of ticks, or else of the counts that are not zero. */
static void put_table(whylite_sender *sender, const whylite_ticks *ticks, const uint32_t *counts) {
  uint32_t known = 0;
  uint32_t entries = 0;
  for (uint32_t i = 0; i < WHYLITE_CODES; i++) {
    const uint32_t there = ticks != NULL ? ticks->known >> i & 1u : counts[i] != 0;
    known |= there << i;
    entries += there;
  }
  whylite_put_head(sender, WHYLITE_MAP, entries);
  for (uint32_t i = 0; i < WHYLITE_CODES; i++) {
    if ((known >> i & 1u) != 0) {
      put_number(sender, i);
      put_number(sender, ticks != NULL ? ticks->ticks[i] : counts[i]);
    }
  }
}

static void put_shape(whylite_sender *sender, const whylite_tensor *tensor) {
  whylite_put_head(sender, WHYLITE_ARRAY, tensor->rank);
  for (uint32_t i = 0; i < tensor->rank; i++) {
    put_number(sender, tensor->shape[i]);
  }
}

/* Put scores as float32, little-endian. */
static void put_scores(whylite_sender *sender, const scores *those) {
  const uint32_t count = whylite_classes(those->model);
  whylite_put_head(sender, WHYLITE_BYTES, 4u * count);
  for (uint32_t i = 0; i < count; i++) {
    const union {
      float number;
      uint32_t bits;
    } as = {whylite_score(those->model, those->stored, i)};
    const uint8_t bytes[4] = {(uint8_t)as.bits, (uint8_t)(as.bits >> 8), (uint8_t)(as.bits >> 16),
                              (uint8_t)(as.bits >> 24)};
    whylite_put(sender, bytes, sizeof bytes);
  }
}

static void put_field(whylite_sender *sender, const field *the, const void *at) {
  const uint64_t number = number_of(the, at);
  const void *pointer = the->kind >= COUNTS ? *(const void *const *)at : at;
  put_number(sender, the->key);
  switch (the->kind) {
    case FLAG: {
      const uint8_t truth = (uint8_t)(WHYLITE_FALSE + number);
      whylite_put(sender, &truth, 1);
      break;
    }
    case INTEGER:
      whylite_put_head(sender, (int64_t)number < 0 ? WHYLITE_NEGATIVE : WHYLITE_UNSIGNED,
                       (int64_t)number < 0 ? ~number : number);
      break;
    case BYTES:
      whylite_put_head(sender, WHYLITE_BYTES, number);
      whylite_put(sender, ((const list *)at)->first, (uint32_t)number);
      break;
    case TEXTS:
    case PLACES:
    case CLASSES:
      put_list(sender, at, the->kind);
      break;
    case TABLE:
      put_table(sender, at, NULL);
      break;
    case SCORES:
      put_scores(sender, at);
      break;
    case COUNTS:
      put_table(sender, NULL, pointer);
      break;
    case OPTIONAL:
      put_number(sender, *(const uint32_t *)pointer);
      break;
    case REAL:
      whylite_put_float(sender, *(const float *)pointer);
      break;
    case SHAPE:
      put_shape(sender, pointer);
      break;
    case LABEL:
    case MESSAGE:
      put_text(sender, pointer, the->kind == LABEL ? LONGEST_LABEL : LONGEST_MESSAGE);
      break;
    default:
      put_number(sender, number);
      break;
  }
}

void whylite_send_fields(whylite_sender *sender, whylite_code code, const field *fields, uint32_t count,
                         const void *record) {
  uint32_t pairs = 0;
  for (uint32_t i = 0; i < count; i++) {
    pairs += is_there(&fields[i], (const uint8_t *)record + fields[i].place);
  }
  whylite_open(sender, (uint8_t)code, pairs);
  for (uint32_t i = 0; i < count; i++) {
    const void *at = (const uint8_t *)record + fields[i].place;
    if (is_there(&fields[i], at)) {
      put_field(sender, &fields[i], at);
    }
  }
  whylite_close(sender);
}
