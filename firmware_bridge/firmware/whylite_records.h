/* The records of the link, and how a microcontroller sends its own: edge/wire/wire.cddl says what they hold.
 *
 * What a record's optional fields hold by default is left out, as everywhere on the link. Maps and inputs travel as
 * int8, one byte per value, and are never thinned or deflated.
 */
#ifndef WHYLITE_RECORDS_H
#define WHYLITE_RECORDS_H

#include "whylite.h"
#include "whylite_link.h"

#ifdef __cplusplus
extern "C" {
#endif

#define WHYLITE_PROTOCOL 1
#define WHYLITE_VERSION "0.1.0"
#define WHYLITE_CHUNK 4096      /* bytes of a map in one frame at the most, */
#define WHYLITE_LEAST_CHUNK 192 /* and at the least, on a slow port */
#define WHYLITE_METHODS 8       /* explanations that a model may have here */

typedef enum {
  WHYLITE_SESSION = 1,
  WHYLITE_RESULT = 2,
  WHYLITE_MAP_CHUNK = 3,
  WHYLITE_LATENCY = 4,
  WHYLITE_HEALTH = 5,
  WHYLITE_LOG = 6,
  WHYLITE_ERROR = 7,
  WHYLITE_INPUT = 8,
  WHYLITE_SETTINGS = 9,
  WHYLITE_REQUEST = 16,
  WHYLITE_PING = 17,
  WHYLITE_PONG = 18,
  WHYLITE_ACK = 19,
  WHYLITE_WINDOW = 20
} whylite_code;

/* Which answers are explained: WHYLITE_ON_CHANGE those that are not the one before, WHYLITE_ON_ALARM certain classes.
 */
typedef enum { WHYLITE_ALWAYS, WHYLITE_ON_CHANGE, WHYLITE_ON_ALARM, WHYLITE_ON_REQUEST } whylite_when;

/* What a reader of a map must know: MAP's flags. */
enum { WHYLITE_RESIDUAL_OVER_BOUND = 1, WHYLITE_ZERO_MAP = 2, WHYLITE_SMALL_MARGIN = 8 };

void whylite_send_session(whylite_sender *sender, const whylite_model *model, const uint8_t session[8], uint64_t time);

typedef struct {
  uint32_t sequence;
  uint32_t class_index;
  int32_t truth; /* -1 where it is not known */
  uint64_t time;
  uint64_t captured; /* when the window was complete, or UINT64_MAX */
} whylite_result;

/* `model` says how its scores are `stored`; the one score p of a yes/no model, which has two labels, travels as 1 - p
 * and p. */
void whylite_send_result(whylite_sender *sender, const whylite_result *result, const whylite_model *model,
                         const int8_t *stored);

/* A map, or an input (WHYLITE_INPUT), of which only `sequence`, `tensor` and `data` count. */
typedef struct {
  whylite_code code;
  uint32_t sequence;
  uint32_t method;
  uint32_t class_index;
  const whylite_tensor *tensor; /* shape, scale and zero point */
  const int8_t *data;
  bool complete; /* the method promises completeness, and the residual is known: this */
  float residual;
  uint32_t steps;
  uint32_t flags;
} whylite_map;

void whylite_send_map(whylite_sender *sender, const whylite_map *map, uint32_t chunk_size);
void whylite_send_chunk(whylite_sender *sender, const whylite_map *map, uint32_t chunk, uint32_t chunks,
                        const int8_t *data, uint32_t size);

enum {
  WHYLITE_CAPTURE,
  WHYLITE_QUANTIZE,
  WHYLITE_PREDICT,
  WHYLITE_ENCODE,
  WHYLITE_QUEUE,
  WHYLITE_SEND,
  WHYLITE_PHASES
};

/* How long things took; bit i of `known` says that entry i counts. */
typedef struct {
  uint32_t known;
  uint64_t ticks[WHYLITE_METHODS]; /* more than there are phases */
} whylite_ticks;

typedef struct {
  uint32_t sequence;
  whylite_ticks phases;
  whylite_ticks methods;
  bool valid;
} whylite_latency;

void whylite_send_latency(whylite_sender *sender, const whylite_latency *latency);

typedef struct {
  uint64_t time;
  uint64_t produced;
  uint32_t bad_frames;
  uint32_t clock_faults;
  uint32_t memory; /* bytes, 0 where it is not known */
} whylite_health;

void whylite_send_health(whylite_sender *sender, const whylite_health *health); /* with the sender's own counts */

typedef struct {
  const uint8_t *methods; /* in use, by their place in the model */
  uint32_t method_count;
  whylite_when explain;
  bool inputs;
  const uint16_t *alarms;
  uint32_t alarm_count;
  uint32_t kept;
} whylite_settings;

void whylite_send_settings(whylite_sender *sender, const whylite_settings *settings);

void whylite_send_log(whylite_sender *sender, uint64_t time, uint8_t level, const char *text);

/* `sequence` is NULL where the error is of no window. */
void whylite_send_error(whylite_sender *sender, uint64_t time, const char *kind, const char *cause, const char *hint,
                        const uint32_t *sequence);
void whylite_send_pong(whylite_sender *sender, uint32_t token, uint64_t received, uint64_t sent);

/* What became of the request or window in frame `request`; `refused` is NULL where it was done, `sequence` where it is
 * about no window. */
void whylite_send_ack(whylite_sender *sender, uint32_t request, const char *refused, const char *hint,
                      const uint32_t *sequence);

#ifdef __cplusplus
}
#endif

#endif
