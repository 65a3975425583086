/* The whole of a board: windows in, answers and explanations out, and what the host asks for in between.
 *
 *     static int8_t memory[...] __attribute__((aligned(WHYLITE_ALIGNMENT)));   WHYLITE_MODEL_MEMORY says how large
 *     static whylite_device device;
 *     whylite_device_start(&device, &whylite_beats, &port, memory, sizeof memory);
 *     for (;;) {
 *       whylite_device_step(&device);
 *     }
 *
 * A step listens to the host, then computes one thing at the most: a prediction, an explanation, or one step of
 * Integrated Gradients. Nothing is kept outside of `device` and `memory`.
 */
#ifndef WHYLITE_DEVICE_H
#define WHYLITE_DEVICE_H

#include "whylite_integrate.h"
#include "whylite_message.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Define as 0 where no explanation of the model takes steps (_STEPS in its header), to leave the code for them out. */
#ifndef WHYLITE_INTEGRATE
#define WHYLITE_INTEGRATE 1
#endif

/* Bytes of memory for a model's arena, and for a copy of the window and its scores. Without room for the copy a window
 * can be explained by one method alone, and not on request. */
#define WHYLITE_DEVICE_MEMORY(arena, input, scores) (((arena) + 15u) / 16u * 16u + ((input) + (scores) + 3u) / 4u * 4u)

/* All that a model takes: of `prefix`, what the macros of its header begin with, such as WHYLITE_BEATS. With sums
 * where an explanation takes steps: without room for them the device cannot use that one. */
#define WHYLITE_MODEL_MEMORY(prefix) WHYLITE_MODEL_MEMORY_(prefix)
#define WHYLITE_MODEL_MEMORY_(prefix)                                                      \
  (WHYLITE_DEVICE_MEMORY(prefix##_ARENA_SIZE, prefix##_INPUT_SIZE, prefix##_SCORES_SIZE) + \
   (prefix##_STEPS > 0 ? WHYLITE_SUMS_SIZE(prefix##_INPUT_SIZE) : 0u))

/* An explanation under way: by `methods`, of which `next` is the one whose turn is. */
typedef struct {
  bool on;
  bool requested;   /* by the host, */
  bool acknowledge; /* which wants to know, */
  uint32_t request; /* in this frame */
  bool intact;      /* the arena is as the prediction left it */
  bool integrating;
  uint32_t class_index;
  uint32_t count;
  uint32_t next;
  uint8_t methods[WHYLITE_METHODS];
} whylite_job;

/* A window: of the one that is received `filled` bytes are there. */
typedef struct {
  bool receiving;
  uint32_t sequence;
  uint32_t filled;
  int32_t truth;
} whylite_incoming;

/* What a user may set, after whylite_device_start: `explain`, `methods` and `method_count`, `inputs`, `alarms` and
 * `alarm_count`. The rest is the board's own. */
typedef struct {
  const whylite_model *model;
  const whylite_port *port;
  int8_t *arena;
  int8_t *window; /* the copy, and behind it that of the scores; or NULL */
  int32_t *sums;  /* or NULL */
  whylite_when explain;
  bool inputs;
  uint8_t methods[WHYLITE_METHODS];
  uint32_t method_count;
  const uint16_t *alarms;
  uint32_t alarm_count;
  uint8_t session[8];
  uint32_t ticks; /* of the port when it was read last */
  uint64_t time;  /* ticks since the start */
  uint64_t session_due;
  uint64_t health_due;
  uint64_t produced;
  uint32_t clock_faults;
  bool answered; /* there is a `result`, */
  bool scored;   /* its scores are there still, */
  bool kept;     /* and its window can be explained again */
  bool held;     /* `message` waits until what is under way is done */
  int32_t before; /* the last answer, -1 at first */
  whylite_incoming incoming;
  whylite_result result;
  whylite_latency latency;
  whylite_job job;
  whylite_integral integral;
  whylite_message message;
  whylite_sender sender;
  whylite_receiver receiver;
  uint8_t received[WHYLITE_RECEIVE_SIZE];
} whylite_device;

/* Begin a session. Returns false, with nothing done, where `size` bytes do not hold the model's arena, its input or
 * maps are not int8, it has more than WHYLITE_METHODS of them, or one takes steps and WHYLITE_INTEGRATE is 0. */
bool whylite_device_start(whylite_device *device, const whylite_model *model, const whylite_port *port, int8_t *memory,
                          uint32_t size);

/* Do what is due; return whether there was anything to do. */
bool whylite_device_step(whylite_device *device);

/* Return the ticks since the start. */
uint64_t whylite_device_time(whylite_device *device);

/* Tell people something. Nothing else may be written to the port. `level`: 10 debug, 20 info, 30 warning, 40 error. */
void whylite_device_log(whylite_device *device, uint8_t level, const char *text);

#ifdef __cplusplus
}
#endif

#endif
