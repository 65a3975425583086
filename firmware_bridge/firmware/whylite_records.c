#include "whylite_records.h"

#include <stddef.h>

/* A serial port is slower than any of this: what counts is its size. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os")
#endif

#define LABEL 64u
#define MESSAGE 512u
#define DIGEST 32u
#define SESSION_ID 8u

#if defined(WHYLITE_RUNTIME) /* such as "compiled C, CMSIS-NN" */
#elif defined(__ARM_FEATURE_MVE)
#define WHYLITE_RUNTIME "compiled C, MVE"
#elif defined(__ARM_FEATURE_DSP)
#define WHYLITE_RUNTIME "compiled C, DSP"
#else
#define WHYLITE_RUNTIME "compiled C"
#endif

static void put_uint(whylite_sender *sender, uint32_t key, uint64_t value) {
  whylite_put_head(sender, WHYLITE_UNSIGNED, key);
  whylite_put_head(sender, WHYLITE_UNSIGNED, value);
}

static void put_array(whylite_sender *sender, uint32_t key, uint32_t count) {
  whylite_put_head(sender, WHYLITE_UNSIGNED, key);
  whylite_put_head(sender, WHYLITE_ARRAY, count);
}

static void put_bytes(whylite_sender *sender, uint32_t key, const void *data, uint32_t size) {
  whylite_put_head(sender, WHYLITE_UNSIGNED, key);
  whylite_put_head(sender, WHYLITE_BYTES, size);
  whylite_put(sender, data, size);
}

static void put_real(whylite_sender *sender, uint32_t key, float value) {
  whylite_put_head(sender, WHYLITE_UNSIGNED, key);
  whylite_put_float(sender, value);
}

static void put_true(whylite_sender *sender, uint32_t key, bool value) {
  static const uint8_t truth[2] = {WHYLITE_FALSE, WHYLITE_TRUE};
  whylite_put_head(sender, WHYLITE_UNSIGNED, key);
  whylite_put(sender, &truth[value], 1);
}

/* Put a text, cut to `limit` bytes where that does not cut a character in two. */
static void put_characters(whylite_sender *sender, const char *text, uint32_t limit) {
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

static void put_text(whylite_sender *sender, uint32_t key, const char *text, uint32_t limit) {
  whylite_put_head(sender, WHYLITE_UNSIGNED, key);
  put_characters(sender, text, limit);
}

static void put_shape(whylite_sender *sender, uint32_t key, const whylite_tensor *tensor) {
  put_array(sender, key, tensor->rank);
  for (uint32_t i = 0; i < tensor->rank; i++) {
    whylite_put_head(sender, WHYLITE_UNSIGNED, tensor->shape[i]);
  }
}

void whylite_send_session(whylite_sender *sender, const whylite_model *model, const uint8_t session[8], uint64_t time) {
  const whylite_port *port = sender->port;
  const bool clock = port->clock != NULL && port->clock[0] != 0;
  const uint32_t methods = model->explanation_count;
  whylite_open(sender, WHYLITE_SESSION, 12u + (methods > 0) + clock);
  put_uint(sender, 2, WHYLITE_PROTOCOL);
  put_bytes(sender, 3, session, SESSION_ID);
  put_uint(sender, 4, time);
  put_uint(sender, 5, port->clock_hz);
  put_text(sender, 6, port->board, LABEL);
  put_text(sender, 7, "whylite " WHYLITE_VERSION, LABEL);
  put_text(sender, 8, WHYLITE_RUNTIME, LABEL);
  put_text(sender, 9, model->name, LABEL);
  put_bytes(sender, 10, model->digest, DIGEST);
  put_shape(sender, 11, &model->input);
  put_array(sender, 12, methods);
  for (uint32_t i = 0; i < methods; i++) {
    put_characters(sender, model->explanations[i].method, LABEL);
  }
  const uint32_t labels = model->labels == NULL ? 0 : model->label_count;
  put_array(sender, 13, labels);
  for (uint32_t i = 0; i < labels; i++) {
    put_characters(sender, model->labels[i], LABEL);
  }
  if (methods > 0) {
    put_array(sender, 14, methods);
    for (uint32_t i = 0; i < methods; i++) {
      put_characters(sender, model->explanations[i].layer, LABEL);
    }
  }
  if (clock) {
    put_text(sender, 15, port->clock, LABEL);
  }
  whylite_close(sender);
}

uint32_t whylite_count(const whylite_tensor *tensor) {
  return tensor->type == WHYLITE_INT8 || tensor->type == WHYLITE_UINT8 ? tensor->size : tensor->size / 4u;
}

float whylite_real(const whylite_tensor *tensor, const int8_t *stored, uint32_t index) {
  if (tensor->type == WHYLITE_FLOAT32) {
    float value;
    __builtin_memcpy(&value, stored + 4u * index, sizeof value);
    return value;
  }
  int32_t value = stored[index];
  if (tensor->type == WHYLITE_UINT8) {
    value = (uint8_t)stored[index];
  } else if (tensor->type == WHYLITE_INT32) {
    __builtin_memcpy(&value, stored + 4u * index, sizeof value);
  }
  return tensor->scale * (float)(value - tensor->zero_point);
}

static void put_float32(whylite_sender *sender, float value) {
  const union {
    float number;
    uint32_t bits;
  } as = {value};
  const uint8_t little_endian[4] = {(uint8_t)as.bits, (uint8_t)(as.bits >> 8), (uint8_t)(as.bits >> 16),
                                    (uint8_t)(as.bits >> 24)};
  whylite_put(sender, little_endian, sizeof little_endian);
}

void whylite_send_result(whylite_sender *sender, const whylite_result *result, const whylite_tensor *scores,
                         const int8_t *stored, bool yes_no) {
  const uint32_t count = whylite_count(scores);
  const bool truth = result->truth >= 0;
  const bool captured = result->captured != UINT64_MAX;
  whylite_open(sender, WHYLITE_RESULT, 4u + truth + captured);
  put_uint(sender, 2, result->sequence);
  put_uint(sender, 3, result->class_index);
  whylite_put_head(sender, WHYLITE_UNSIGNED, 4);
  whylite_put_head(sender, WHYLITE_BYTES, 4u * (count + yes_no));
  if (yes_no) {
    put_float32(sender, 1.0f - whylite_real(scores, stored, 0));
  }
  for (uint32_t i = 0; i < count; i++) {
    put_float32(sender, whylite_real(scores, stored, i));
  }
  put_uint(sender, 5, result->time);
  if (truth) {
    put_uint(sender, 6, (uint32_t)result->truth);
  }
  if (captured) {
    put_uint(sender, 7, result->captured);
  }
  whylite_close(sender);
}

void whylite_send_chunk(whylite_sender *sender, const whylite_map *map, uint32_t chunk, uint32_t chunks,
                        const int8_t *data, uint32_t size) {
  const bool is_map = map->code == WHYLITE_MAP_CHUNK;
  const bool residual = is_map && map->complete;
  const uint32_t fields = (is_map ? 10u : 6u) + residual + (chunk > 0) + (chunks > 1u);
  whylite_open(sender, (uint8_t)map->code, fields);
  put_uint(sender, 2, map->sequence);
  if (is_map) {
    put_uint(sender, 3, map->method);
    put_uint(sender, 4, map->class_index);
  }
  put_shape(sender, 5, map->tensor);
  put_uint(sender, 6, 0); /* int8, one byte per value */
  put_real(sender, 8, map->tensor->scale);
  const int32_t zero = map->tensor->zero_point;
  whylite_put_head(sender, WHYLITE_UNSIGNED, 9);
  whylite_put_head(sender, zero < 0 ? WHYLITE_NEGATIVE : WHYLITE_UNSIGNED, (uint32_t)(zero < 0 ? -1 - zero : zero));
  if (residual) {
    put_real(sender, 10, map->residual);
  }
  if (is_map) {
    put_uint(sender, 11, map->steps);
    put_uint(sender, 12, map->flags);
  }
  if (chunk > 0) {
    put_uint(sender, 13, chunk);
  }
  if (chunks > 1u) {
    put_uint(sender, 14, chunks);
  }
  put_bytes(sender, 15, data, size);
  whylite_close(sender);
}

void whylite_send_map(whylite_sender *sender, const whylite_map *map, uint32_t chunk_size) {
  const uint32_t size = map->tensor->size;
  const uint32_t chunks = (size + chunk_size - 1u) / chunk_size;
  for (uint32_t chunk = 0; chunk < chunks; chunk++) {
    const uint32_t start = chunk * chunk_size;
    const uint32_t left = size - start;
    whylite_send_chunk(sender, map, chunk, chunks, map->data + start, left < chunk_size ? left : chunk_size);
  }
}

static uint32_t bits(uint32_t mask) {
  uint32_t count = 0;
  for (; mask != 0; mask &= mask - 1u) {
    count++;
  }
  return count;
}

/* Put a table of ticks. */
static void put_ticks(whylite_sender *sender, uint32_t key, const uint64_t *ticks, uint32_t known) {
  whylite_put_head(sender, WHYLITE_UNSIGNED, key);
  whylite_put_head(sender, WHYLITE_MAP, bits(known));
  for (uint32_t i = 0; known >> i != 0; i++) {
    if ((known >> i & 1u) != 0) {
      put_uint(sender, i, ticks[i]);
    }
  }
}

void whylite_send_latency(whylite_sender *sender, const whylite_latency *latency) {
  const bool methods = latency->methods_known != 0;
  whylite_open(sender, WHYLITE_LATENCY, 2u + methods + !latency->valid);
  put_uint(sender, 2, latency->sequence);
  put_ticks(sender, 3, latency->phases, latency->phases_known);
  if (methods) {
    put_ticks(sender, 4, latency->methods, latency->methods_known);
  }
  if (!latency->valid) {
    put_true(sender, 5, false);
  }
  whylite_close(sender);
}

/* Put a table of counts by record code, those that are not zero. */
static void put_counts(whylite_sender *sender, uint32_t key, const uint32_t *counts) {
  uint32_t known = 0;
  for (uint32_t code = 0; code < WHYLITE_CODES; code++) {
    known += counts[code] != 0;
  }
  whylite_put_head(sender, WHYLITE_UNSIGNED, key);
  whylite_put_head(sender, WHYLITE_MAP, known);
  for (uint32_t code = 0; code < WHYLITE_CODES; code++) {
    if (counts[code] != 0) {
      put_uint(sender, code, counts[code]);
    }
  }
}

void whylite_send_health(whylite_sender *sender, const whylite_health *health) {
  whylite_open(sender, WHYLITE_HEALTH, 9u + (health->memory != 0) + (health->clock_faults != 0));
  put_uint(sender, 2, health->time);
  put_uint(sender, 3, health->produced);
  sender->sent[WHYLITE_HEALTH]--; /* those before this one */
  put_counts(sender, 4, sender->sent);
  sender->sent[WHYLITE_HEALTH]++;
  put_counts(sender, 5, sender->dropped);
  put_uint(sender, 6, 0); /* nothing waits here: records are sent as they are made */
  put_uint(sender, 7, 0);
  put_uint(sender, 8, sender->stalls);
  put_uint(sender, 9, 0); /* a board does not see its port come and go */
  put_uint(sender, 10, health->bad_frames);
  if (health->memory != 0) {
    put_uint(sender, 11, health->memory);
  }
  if (health->clock_faults != 0) {
    put_uint(sender, 18, health->clock_faults);
  }
  whylite_close(sender);
}

void whylite_send_settings(whylite_sender *sender, const whylite_settings *settings) {
  const bool alarms = settings->alarm_count > 0;
  whylite_open(sender, WHYLITE_SETTINGS, 2u + settings->inputs + alarms + (settings->kept > 0));
  put_array(sender, 3, settings->method_count);
  for (uint32_t i = 0; i < settings->method_count; i++) {
    whylite_put_head(sender, WHYLITE_UNSIGNED, settings->methods[i]);
  }
  put_uint(sender, 4, settings->explain);
  if (settings->inputs) {
    put_true(sender, 5, true);
  }
  if (alarms) {
    put_array(sender, 8, settings->alarm_count);
    for (uint32_t i = 0; i < settings->alarm_count; i++) {
      whylite_put_head(sender, WHYLITE_UNSIGNED, settings->alarms[i]);
    }
  }
  if (settings->kept > 0) {
    put_uint(sender, 9, settings->kept);
  }
  whylite_close(sender);
}

void whylite_send_log(whylite_sender *sender, uint64_t time, uint8_t level, const char *text) {
  whylite_open(sender, WHYLITE_LOG, 3);
  put_uint(sender, 2, time);
  put_uint(sender, 3, level);
  put_text(sender, 4, text, MESSAGE);
  whylite_close(sender);
}

void whylite_send_error(whylite_sender *sender, uint64_t time, const char *kind, const char *cause, const char *hint,
                        const uint32_t *sequence) {
  whylite_open(sender, WHYLITE_ERROR, 4u + (sequence != NULL));
  put_uint(sender, 2, time);
  put_text(sender, 3, kind, LABEL);
  put_text(sender, 4, cause, MESSAGE);
  put_text(sender, 5, hint, MESSAGE);
  if (sequence != NULL) {
    put_uint(sender, 6, *sequence);
  }
  whylite_close(sender);
}

void whylite_send_pong(whylite_sender *sender, uint32_t token, uint64_t received, uint64_t sent) {
  whylite_open(sender, WHYLITE_PONG, 3);
  put_uint(sender, 2, token);
  put_uint(sender, 3, received);
  put_uint(sender, 4, sent);
  whylite_close(sender);
}

void whylite_send_ack(whylite_sender *sender, uint32_t request, const char *refused, const char *hint,
                      const uint32_t *sequence) {
  whylite_open(sender, WHYLITE_ACK, 1u + 2u * (refused != NULL) + (sequence != NULL));
  put_uint(sender, 2, request);
  if (refused != NULL) {
    put_text(sender, 3, refused, MESSAGE);
    put_text(sender, 4, hint, MESSAGE);
  }
  if (sequence != NULL) {
    put_uint(sender, 5, *sequence);
  }
  whylite_close(sender);
}

enum { UINT8, UINT16, UINT32, BOOLEAN, FLOAT32, CHUNK, METHOD_LIST };

/* What a host may send: record, key, type, and whether it has to be there. */
static const struct {
  uint8_t code;
  uint8_t key;
  uint8_t kind;
  bool needed;
} fields[] = {
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
#define FIELDS (sizeof fields / sizeof fields[0])

/* Whether an item is an unsigned integer of at most 32 bits. */
static bool is_uint32(const whylite_item *item) {
  const bool wide = item->argument == UINT32_MAX && (item->first & 31u) == 27u;
  return item->major == WHYLITE_UNSIGNED && !wide;
}

static bool read_methods(whylite_reader *reader, const whylite_item *list, whylite_message *message) {
  if (list->major != WHYLITE_ARRAY || list->argument > sizeof message->methods) {
    return false;
  }
  for (uint32_t i = 0; i < list->argument; i++) {
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
    if (fields[i].code == message->code && fields[i].key == key) {
      message->there |= 1u << key;
      message->value[key] = item.argument - (fields[i].kind == BOOLEAN ? WHYLITE_FALSE & 31u : 0u);
      return read_value(reader, &item, fields[i].kind, message);
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
    if (fields[i].needed && fields[i].code == message->code && (message->there >> fields[i].key & 1u) == 0) {
      return false;
    }
  }
  return head == 2u && reader.at == reader.end;
}
