#include "whylite_desk.h"

#include <stddef.h>

#include "whylite_scores.h"

/* Models take the time, not this: what counts is its size. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os")
#endif

/* Why something is refused, or NULL where it is not. Flash is dear: what can be done stands where HINT says. */
typedef const char *refusal;

#define HINT "docs/firmware.md, Refusals"

static bool has(const whylite_message *message, uint32_t key) { return (message->there >> key & 1u) != 0; }

/* --- WINDOW --- */

static refusal store(whylite_device *device) {
  const whylite_message *message = &device->message;
  const whylite_model *model = device->model;
  whylite_incoming *incoming = &device->incoming;
  const uint32_t sequence = message->value[WHYLITE_WINDOW_SEQUENCE];
  const uint32_t offset = message->value[WHYLITE_WINDOW_OFFSET];
  const uint32_t size = message->value[WHYLITE_WINDOW_DATA];
  if (message->value[WHYLITE_WINDOW_SIZE] != model->input.size || offset > model->input.size ||
      size > model->input.size - offset) {
    return "not of the input's size";
  }
  if (device->answered && sequence <= device->result.sequence) {
    return "windows count up";
  }
  if (!incoming->receiving || incoming->sequence != sequence) {
    *incoming = (whylite_incoming){.receiving = offset == 0, .sequence = sequence, .truth = -1};
  }
  if (offset > incoming->filled || !incoming->receiving) {
    return "a chunk is missing";
  }
  int8_t *input = device->window == NULL ? device->arena + model->input.offset : device->window;
  whylite_copy_bytes(input + offset, (const int8_t *)message->data, size);
  device->kept = false;
  device->scored = device->window != NULL; /* without a copy this may lie where the scores did */
  incoming->filled = offset + size > incoming->filled ? offset + size : incoming->filled;
  if (has(message, WHYLITE_WINDOW_TRUTH)) {
    incoming->truth = (int32_t)message->value[WHYLITE_WINDOW_TRUTH];
  }
  return NULL;
}

/* Whether the window answered last comes again, and not another one of its number; without a copy nobody can tell. */
static bool is_again(const whylite_device *device) {
  const whylite_message *message = &device->message;
  const uint32_t offset = message->value[WHYLITE_WINDOW_OFFSET];
  const uint32_t size = message->value[WHYLITE_WINDOW_DATA];
  const uint32_t whole = device->model->input.size;
  if (!device->answered || message->value[WHYLITE_WINDOW_SEQUENCE] != device->result.sequence ||
      message->value[WHYLITE_WINDOW_SIZE] != whole || offset > whole || size > whole - offset) {
    return false;
  }
  bool same = device->window == NULL ? device->scored : device->kept;
  for (uint32_t i = 0; same && device->window != NULL && i < size; i++) {
    same = device->window[offset + i] == (int8_t)message->data[i];
  }
  return same;
}

static bool take_window(whylite_device *device) {
  const whylite_message *message = &device->message;
  const whylite_incoming *incoming = &device->incoming;
  const uint32_t last = device->result.sequence;
  if (is_again(device)) { /* the host did not hear all of the answer */
    if (message->value[WHYLITE_WINDOW_OFFSET] + message->value[WHYLITE_WINDOW_DATA] == device->model->input.size) {
      whylite_tell_result(device);
      if (!device->job.on || device->job.requested) { /* its LATENCY has left */
        whylite_send_ack(&device->sender, message->number, NULL, NULL, &last);
      }
    }
    return true;
  }
  if (device->job.on) {
    return false;
  }
  const refusal refused = store(device);
  if (refused != NULL) {
    whylite_send_ack(&device->sender, message->number, refused, HINT, device->answered ? &last : NULL);
  } else if (incoming->filled == device->model->input.size) {
    device->incoming.receiving = false;
    whylite_answer(device, incoming->sequence, incoming->truth);
  }
  return true;
}

/* --- REQUEST --- */

static refusal check_method(const whylite_device *device, uint32_t method) {
  if (method >= device->model->explanation_count) {
    return "no such method";
  }
  return whylite_can_use(device, method) ? NULL : "no memory for this method";
}

static refusal check_settings(const whylite_device *device) {
  const whylite_message *message = &device->message;
  const uint32_t explain = message->value[WHYLITE_REQUEST_EXPLAIN];
  const uint32_t count = message->value[WHYLITE_REQUEST_METHODS];
  if (message->value[WHYLITE_REQUEST_RATE] << 1 != 0) { /* zero of either sign is none */
    return "the rate is the board's own";
  }
  if (explain > WHYLITE_ON_REQUEST || (explain == WHYLITE_ON_ALARM && device->alarm_count == 0)) {
    return "no such rule";
  }
  if (device->window == NULL && (count > 1u || message->value[WHYLITE_REQUEST_INPUTS] != 0)) {
    return "no memory for a copy";
  }
  refusal refused = NULL;
  for (uint32_t i = 0; i < count && refused == NULL; i++) {
    refused = check_method(device, message->methods[i]);
  }
  return refused;
}

static refusal check_window(const whylite_device *device) {
  const whylite_message *message = &device->message;
  const uint32_t class_index = message->value[WHYLITE_REQUEST_CLASS];
  if (!device->kept ||
      (has(message, WHYLITE_REQUEST_SEQUENCE) && message->value[WHYLITE_REQUEST_SEQUENCE] != device->result.sequence)) {
    return "the window is not kept";
  }
  if (message->value[WHYLITE_REQUEST_WHAT] == WHYLITE_INPUT) {
    return NULL;
  }
  if (has(message, WHYLITE_REQUEST_CLASS) &&
      (class_index >= whylite_classes(device->model) || (device->model->yes_no != 0 && class_index == 0))) {
    return "no maps of this class";
  }
  if (has(message, WHYLITE_REQUEST_METHOD)) {
    return check_method(device, message->value[WHYLITE_REQUEST_METHOD]);
  }
  const bool others = has(message, WHYLITE_REQUEST_METHODS);
  return (others ? message->value[WHYLITE_REQUEST_METHODS] : device->method_count) > 0 ? NULL : "no method is in use";
}

static refusal check(const whylite_device *device) {
  const refusal refused = check_settings(device);
  if (refused != NULL) {
    return refused;
  }
  switch (device->message.value[WHYLITE_REQUEST_WHAT]) {
    case 0:
    case WHYLITE_SESSION:
    case WHYLITE_HEALTH:
      return NULL;
    case WHYLITE_MAP_CHUNK:
    case WHYLITE_INPUT:
      return check_window(device);
    default:
      return "no such record";
  }
}

/* Keep the methods asked for, each once and in their order. */
static void choose(whylite_device *device) {
  uint32_t chosen = 0;
  for (uint32_t i = 0; i < device->message.value[WHYLITE_REQUEST_METHODS]; i++) {
    bool again = false;
    for (uint32_t j = 0; j < chosen; j++) {
      again = again || device->methods[j] == device->message.methods[i];
    }
    if (!again) {
      device->methods[chosen++] = device->message.methods[i];
    }
  }
  device->method_count = chosen;
}

static void change_settings(whylite_device *device) {
  const whylite_message *message = &device->message;
  if (has(message, WHYLITE_REQUEST_METHODS)) {
    choose(device);
  }
  if (has(message, WHYLITE_REQUEST_EXPLAIN)) {
    device->explain = (whylite_when)message->value[WHYLITE_REQUEST_EXPLAIN];
  }
  if (has(message, WHYLITE_REQUEST_INPUTS)) {
    device->inputs = message->value[WHYLITE_REQUEST_INPUTS] != 0;
  }
  const uint32_t settings =
      1u << WHYLITE_REQUEST_METHODS | 1u << WHYLITE_REQUEST_EXPLAIN | 1u << WHYLITE_REQUEST_INPUTS;
  if ((message->there & settings) != 0) {
    whylite_tell_settings(device);
  }
}

/* Put the explanation that is asked for in line: it is made step by step. */
static void begin_explanation(whylite_device *device) {
  const whylite_message *message = &device->message;
  const bool named = has(message, WHYLITE_REQUEST_CLASS);
  whylite_begin(device, named ? message->value[WHYLITE_REQUEST_CLASS] : device->result.class_index);
  device->job.requested = true;
  device->job.acknowledge = message->value[WHYLITE_REQUEST_ACKNOWLEDGE] != 0;
  device->job.request = message->number;
  if (has(message, WHYLITE_REQUEST_METHOD)) {
    device->job.methods[0] = (uint8_t)message->value[WHYLITE_REQUEST_METHOD];
    device->job.count = 1;
  }
}

static bool take_request(whylite_device *device) {
  const whylite_message *message = &device->message;
  const uint32_t what = message->value[WHYLITE_REQUEST_WHAT];
  if (device->job.on && (what == WHYLITE_MAP_CHUNK || what == WHYLITE_INPUT)) {
    return false;
  }
  const bool acknowledge = message->value[WHYLITE_REQUEST_ACKNOWLEDGE] != 0;
  const uint32_t *sequence = has(message, WHYLITE_REQUEST_SEQUENCE) ? &message->value[WHYLITE_REQUEST_SEQUENCE] : NULL;
  const refusal refused = check(device);
  if (refused != NULL) {
    if (acknowledge) {
      whylite_send_ack(&device->sender, message->number, refused, HINT, sequence);
    } else {
      whylite_device_log(device, 30, refused);
    }
    return true;
  }
  change_settings(device);
  device->session_due = what == WHYLITE_SESSION ? 0 : device->session_due;
  device->health_due = what == WHYLITE_HEALTH ? 0 : device->health_due;
  if (what == WHYLITE_INPUT || (what == WHYLITE_MAP_CHUNK && device->inputs)) {
    whylite_tell_input(device);
  }
  if (what == WHYLITE_MAP_CHUNK) {
    begin_explanation(device);
  } else if (acknowledge) {
    whylite_send_ack(&device->sender, message->number, NULL, NULL, sequence);
  }
  return true;
}

bool whylite_take(whylite_device *device) {
  const whylite_message *message = &device->message;
  switch (message->code) {
    case WHYLITE_REQUEST:
      return take_request(device);
    case WHYLITE_WINDOW:
      return take_window(device);
    case WHYLITE_PING: {
      const uint64_t received = whylite_device_time(device);
      whylite_send_pong(&device->sender, message->value[WHYLITE_PING_TOKEN], received, whylite_device_time(device));
      return true;
    }
    default:
      return true; /* a record of a later version */
  }
}
