#include "whylite_records.h"

#include <stddef.h>

#include "whylite_scores.h"

/* A serial port is slower than any of this: what counts is its size. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os")
#endif

#define LONGEST_LABEL 64u
#define LONGEST_MESSAGE 512u
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

/* --- sending --- */

/* How a field stands in the struct that a record is made of, and with it how it is written. */
typedef enum {
  FIXED,    /* the same number always, which is the field's `place` */
  FLAG,     /* bool */
  NUMBER,   /* uint32_t */
  INTEGER,  /* int32_t */
  TICKS,    /* uint64_t */
  BYTES,    /* list of uint8_t */
  TEXTS,    /* list of what begins with a text */
  PLACES,   /* list of uint8_t, */
  CLASSES,  /* and of uint16_t, as numbers */
  TABLE,    /* whylite_ticks */
  SCORES,   /* scores */
  COUNTS,   /* from here on pointers: to a count for each record code, */
  OPTIONAL, /* to uint32_t, */
  REAL,     /* to float, */
  SHAPE,    /* to a whylite_tensor, */
  LABEL,    /* to a text of up to 64 bytes, */
  MESSAGE   /* and of up to 512 */
} kind;

/* Which number of a field a reader takes for granted, so that it is left out. */
enum { UNLESS_MINUS_ONE = -1, UNLESS_ZERO = 0, UNLESS_ONE = 1, ALWAYS = 2 };

typedef struct {
  uint8_t key;
  uint8_t kind;
  int8_t unless;
  uint8_t place; /* bytes from the start of the struct */
} field;

typedef struct {
  const void *first;
  uint32_t count;
  uint32_t step; /* bytes from one to the next, where they are TEXTS */
} list;

typedef struct {
  const whylite_model *model;
  const int8_t *stored;
} scores;

/* A member's place, which does not compile where a byte does not hold it: the division is by zero there. */
#define PLACE(type, member) (uint8_t)(offsetof(type, member) / (offsetof(type, member) <= UINT8_MAX))
#define SEND(sender, code, fields, record) send(sender, code, fields, sizeof(fields) / sizeof(fields)[0], record)

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

static void send(whylite_sender *sender, whylite_code code, const field *fields, uint32_t count, const void *record) {
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

void whylite_send_session(whylite_sender *sender, const whylite_model *model, const uint8_t session[8], uint64_t time) {
  typedef struct {
    uint64_t time;
    uint32_t clock_hz;
    const void *board, *version, *runtime, *name, *shape, *clock;
    list session, digest, methods, labels, layers;
  } values;
  static const field fields[] = {
      {2, FIXED, ALWAYS, WHYLITE_PROTOCOL},
      {3, BYTES, ALWAYS, PLACE(values, session)},
      {4, TICKS, ALWAYS, PLACE(values, time)},
      {5, NUMBER, ALWAYS, PLACE(values, clock_hz)},
      {6, LABEL, ALWAYS, PLACE(values, board)},
      {7, LABEL, ALWAYS, PLACE(values, version)},
      {8, LABEL, ALWAYS, PLACE(values, runtime)},
      {9, LABEL, ALWAYS, PLACE(values, name)},
      {10, BYTES, ALWAYS, PLACE(values, digest)},
      {11, SHAPE, ALWAYS, PLACE(values, shape)},
      {12, TEXTS, ALWAYS, PLACE(values, methods)},
      {13, TEXTS, ALWAYS, PLACE(values, labels)},
      {14, TEXTS, UNLESS_ZERO, PLACE(values, layers)},
      {15, LABEL, UNLESS_ZERO, PLACE(values, clock)},
  };
  const whylite_port *port = sender->port;
  const whylite_explanation *explanations = model->explanations;
  const uint32_t methods = model->explanation_count;
  const values record = {
      .time = time,
      .clock_hz = port->clock_hz,
      .board = port->board,
      .version = "whylite " WHYLITE_VERSION,
      .runtime = WHYLITE_RUNTIME,
      .name = model->name,
      .shape = &model->input,
      .clock = port->clock == NULL || port->clock[0] == 0 ? NULL : port->clock,
      .session = {session, SESSION_ID, 1},
      .digest = {model->digest, DIGEST, 1},
      .methods = {methods == 0 ? NULL : &explanations->method, methods, sizeof *explanations},
      .labels = {model->labels, model->labels == NULL ? 0 : model->label_count, sizeof *model->labels},
      .layers = {methods == 0 ? NULL : &explanations->layer, methods, sizeof *explanations},
  };
  SEND(sender, WHYLITE_SESSION, fields, &record);
}

void whylite_send_result(whylite_sender *sender, const whylite_result *result, const whylite_model *model,
                         const int8_t *stored) {
  typedef struct {
    whylite_result result;
    scores scores;
  } values;
  static const field fields[] = {
      {2, NUMBER, ALWAYS, PLACE(values, result.sequence)},
      {3, NUMBER, ALWAYS, PLACE(values, result.class_index)},
      {4, SCORES, ALWAYS, PLACE(values, scores)},
      {5, TICKS, ALWAYS, PLACE(values, result.time)},
      {6, INTEGER, UNLESS_MINUS_ONE, PLACE(values, result.truth)},
      {7, TICKS, UNLESS_MINUS_ONE, PLACE(values, result.captured)},
  };
  const values record = {*result, {model, stored}};
  SEND(sender, WHYLITE_RESULT, fields, &record);
}

typedef struct {
  whylite_map map;
  int32_t zero;
  uint32_t chunk, chunks;
  const void *shape, *scale, *residual;
  list data;
} chunk_values;

void whylite_send_chunk(whylite_sender *sender, const whylite_map *map, uint32_t chunk, uint32_t chunks,
                        const int8_t *data, uint32_t size) {
  static const field of_map[] = {
      {2, NUMBER, ALWAYS, PLACE(chunk_values, map.sequence)},
      {3, NUMBER, ALWAYS, PLACE(chunk_values, map.method)},
      {4, NUMBER, ALWAYS, PLACE(chunk_values, map.class_index)},
      {5, SHAPE, ALWAYS, PLACE(chunk_values, shape)},
      {6, FIXED, ALWAYS, 0}, /* int8, one byte per value */
      {8, REAL, ALWAYS, PLACE(chunk_values, scale)},
      {9, INTEGER, ALWAYS, PLACE(chunk_values, zero)},
      {10, REAL, UNLESS_ZERO, PLACE(chunk_values, residual)},
      {11, NUMBER, ALWAYS, PLACE(chunk_values, map.steps)},
      {12, NUMBER, ALWAYS, PLACE(chunk_values, map.flags)},
      {13, NUMBER, UNLESS_ZERO, PLACE(chunk_values, chunk)},
      {14, NUMBER, UNLESS_ZERO, PLACE(chunk_values, chunks)},
      {15, BYTES, ALWAYS, PLACE(chunk_values, data)},
  };
  static const field of_input[] = {
      {2, NUMBER, ALWAYS, PLACE(chunk_values, map.sequence)},
      {5, SHAPE, ALWAYS, PLACE(chunk_values, shape)},
      {6, FIXED, ALWAYS, 0},
      {8, REAL, ALWAYS, PLACE(chunk_values, scale)},
      {9, INTEGER, ALWAYS, PLACE(chunk_values, zero)},
      {13, NUMBER, UNLESS_ZERO, PLACE(chunk_values, chunk)},
      {14, NUMBER, UNLESS_ZERO, PLACE(chunk_values, chunks)},
      {15, BYTES, ALWAYS, PLACE(chunk_values, data)},
  };
  const chunk_values record = {
      .map = *map,
      .zero = map->tensor->zero_point,
      .chunk = chunk,
      .chunks = chunks > 1u ? chunks : 0,
      .shape = map->tensor,
      .scale = &map->tensor->scale,
      .residual = map->complete ? &map->residual : NULL,
      .data = {data, size, 1},
  };
  if (map->code == WHYLITE_MAP_CHUNK) {
    SEND(sender, WHYLITE_MAP_CHUNK, of_map, &record);
  } else {
    SEND(sender, WHYLITE_INPUT, of_input, &record);
  }
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

void whylite_send_latency(whylite_sender *sender, const whylite_latency *latency) {
  static const field fields[] = {
      {2, NUMBER, ALWAYS, PLACE(whylite_latency, sequence)},
      {3, TABLE, ALWAYS, PLACE(whylite_latency, phases)},
      {4, TABLE, UNLESS_ZERO, PLACE(whylite_latency, methods)},
      {5, FLAG, UNLESS_ONE, PLACE(whylite_latency, valid)},
  };
  SEND(sender, WHYLITE_LATENCY, fields, latency);
}

void whylite_send_health(whylite_sender *sender, const whylite_health *health) {
  typedef struct {
    whylite_health health;
    const void *sent, *dropped;
    uint32_t stalls;
  } values;
  static const field fields[] = {
      {2, TICKS, ALWAYS, PLACE(values, health.time)},
      {3, TICKS, ALWAYS, PLACE(values, health.produced)},
      {4, COUNTS, ALWAYS, PLACE(values, sent)},
      {5, COUNTS, ALWAYS, PLACE(values, dropped)},
      {6, FIXED, ALWAYS, 0}, /* nothing waits here: records are sent as they are made */
      {7, FIXED, ALWAYS, 0},
      {8, NUMBER, ALWAYS, PLACE(values, stalls)},
      {9, FIXED, ALWAYS, 0}, /* a board does not see its port come and go */
      {10, NUMBER, ALWAYS, PLACE(values, health.bad_frames)},
      {11, NUMBER, UNLESS_ZERO, PLACE(values, health.memory)},
      {18, NUMBER, UNLESS_ZERO, PLACE(values, health.clock_faults)},
  };
  uint32_t before[WHYLITE_CODES]; /* without this one */
  __builtin_memcpy(before, sender->sent, sizeof before);
  const values record = {*health, before, sender->dropped, sender->stalls};
  SEND(sender, WHYLITE_HEALTH, fields, &record);
}

void whylite_send_settings(whylite_sender *sender, const whylite_settings *settings) {
  typedef struct {
    list methods, alarms;
    uint32_t explain, kept;
    bool inputs;
  } values;
  static const field fields[] = {
      {3, PLACES, ALWAYS, PLACE(values, methods)},    {4, NUMBER, ALWAYS, PLACE(values, explain)},
      {5, FLAG, UNLESS_ZERO, PLACE(values, inputs)},     {8, CLASSES, UNLESS_ZERO, PLACE(values, alarms)},
      {9, NUMBER, UNLESS_ZERO, PLACE(values, kept)},
  };
  const values record = {{settings->methods, settings->method_count, 1},
                         {settings->alarms, settings->alarm_count, 2},
                         (uint32_t)settings->explain,
                         settings->kept,
                         settings->inputs};
  SEND(sender, WHYLITE_SETTINGS, fields, &record);
}

void whylite_send_log(whylite_sender *sender, uint64_t time, uint8_t level, const char *text) {
  typedef struct {
    uint64_t time;
    const void *text;
    uint32_t level;
  } values;
  static const field fields[] = {
      {2, TICKS, ALWAYS, PLACE(values, time)},
      {3, NUMBER, ALWAYS, PLACE(values, level)},
      {4, MESSAGE, ALWAYS, PLACE(values, text)},
  };
  const values record = {time, text, level};
  SEND(sender, WHYLITE_LOG, fields, &record);
}

void whylite_send_error(whylite_sender *sender, uint64_t time, const char *error, const char *cause, const char *hint,
                        const uint32_t *sequence) {
  typedef struct {
    uint64_t time;
    const void *error, *cause, *hint, *sequence;
  } values;
  static const field fields[] = {
      {2, TICKS, ALWAYS, PLACE(values, time)},     {3, LABEL, ALWAYS, PLACE(values, error)},
      {4, MESSAGE, ALWAYS, PLACE(values, cause)},  {5, MESSAGE, ALWAYS, PLACE(values, hint)},
      {6, OPTIONAL, UNLESS_ZERO, PLACE(values, sequence)},
  };
  const values record = {time, error, cause, hint, sequence};
  SEND(sender, WHYLITE_ERROR, fields, &record);
}

void whylite_send_pong(whylite_sender *sender, uint32_t token, uint64_t received, uint64_t sent) {
  typedef struct {
    uint64_t received, sent;
    uint32_t token;
  } values;
  static const field fields[] = {
      {2, NUMBER, ALWAYS, PLACE(values, token)},
      {3, TICKS, ALWAYS, PLACE(values, received)},
      {4, TICKS, ALWAYS, PLACE(values, sent)},
  };
  const values record = {received, sent, token};
  SEND(sender, WHYLITE_PONG, fields, &record);
}

void whylite_send_ack(whylite_sender *sender, uint32_t request, const char *refused, const char *hint,
                      const uint32_t *sequence) {
  typedef struct {
    uint32_t request;
    const void *refused, *hint, *sequence;
  } values;
  static const field fields[] = {
      {2, NUMBER, ALWAYS, PLACE(values, request)},
      {3, MESSAGE, UNLESS_ZERO, PLACE(values, refused)},
      {4, MESSAGE, UNLESS_ZERO, PLACE(values, hint)},
      {5, OPTIONAL, UNLESS_ZERO, PLACE(values, sequence)},
  };
  const values record = {request, refused, hint, sequence};
  SEND(sender, WHYLITE_ACK, fields, &record);
}

/* --- receiving --- */

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
