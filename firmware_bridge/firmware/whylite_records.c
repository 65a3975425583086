#include "whylite_records.h"

#include "whylite_fields.h"

/* A serial port is slower than any of this: what counts is its size. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os")
#endif

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

void whylite_send_chunk(whylite_sender *sender, const whylite_map *map, uint32_t chunk, uint32_t chunks,
                        const int8_t *data, uint32_t size) {
  typedef struct {
    uint32_t sequence, chunk, chunks;
    int32_t zero;
    const void *method, *class_index, *shape, *scale, *residual, *steps, *flags;
    list data;
  } values;
  static const field fields[] = {
      {2, NUMBER, ALWAYS, PLACE(values, sequence)},
      {3, OPTIONAL, UNLESS_ZERO, PLACE(values, method)},
      {4, OPTIONAL, UNLESS_ZERO, PLACE(values, class_index)},
      {5, SHAPE, ALWAYS, PLACE(values, shape)},
      {6, FIXED, ALWAYS, 0}, /* int8, one byte per value */
      {8, REAL, ALWAYS, PLACE(values, scale)},
      {9, INTEGER, ALWAYS, PLACE(values, zero)},
      {10, REAL, UNLESS_ZERO, PLACE(values, residual)},
      {11, OPTIONAL, UNLESS_ZERO, PLACE(values, steps)},
      {12, OPTIONAL, UNLESS_ZERO, PLACE(values, flags)},
      {13, NUMBER, UNLESS_ZERO, PLACE(values, chunk)},
      {14, NUMBER, UNLESS_ZERO, PLACE(values, chunks)},
      {15, BYTES, ALWAYS, PLACE(values, data)},
  };
  const bool explains = map->code == WHYLITE_MAP_CHUNK;
  const values record = {
      .sequence = map->sequence,
      .chunk = chunk,
      .chunks = chunks > 1u ? chunks : 0,
      .zero = map->tensor->zero_point,
      .method = explains ? &map->method : NULL,
      .class_index = explains ? &map->class_index : NULL,
      .shape = map->tensor,
      .scale = &map->tensor->scale,
      .residual = explains && map->complete ? &map->residual : NULL,
      .steps = explains ? &map->steps : NULL,
      .flags = explains ? &map->flags : NULL,
      .data = {data, size, 1},
  };
  SEND(sender, map->code, fields, &record);
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
