#include "whylite_desk.h"

#include <stddef.h>

/* Models take the time, not this: what counts is its size. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os")
#endif

/* Why something is refused, and what can be done; NULL where it is not. */
typedef struct {
  const char *cause;
  const char *hint;
} refusal;

static const refusal nothing = {NULL, NULL};

static bool has(const whylite_message *message, uint32_t key) { return (message->there >> key & 1u) != 0; }

/* --- WINDOW --- */

static refusal store(whylite_device *device) {
  static const refusal wrong_size = {"the window is not as large as the model's input", "is it for this model?"};
  static const refusal backwards = {"windows count up", "go on after the one named here"};
  static const refusal gap = {"a chunk before this one is missing", "send the window again"};
  const whylite_message *message = &device->message;
  const whylite_model *model = device->model;
  whylite_incoming *incoming = &device->incoming;
  const uint32_t sequence = message->value[WHYLITE_WINDOW_SEQUENCE];
  const uint32_t offset = message->value[WHYLITE_WINDOW_OFFSET];
  const uint32_t size = message->value[WHYLITE_WINDOW_DATA];
  if (message->value[WHYLITE_WINDOW_SIZE] != model->input.size || offset > model->input.size ||
      size > model->input.size - offset) {
    return wrong_size;
  }
  if (device->answered && sequence <= device->result.sequence) {
    return backwards;
  }
  if (!incoming->receiving || incoming->sequence != sequence) {
    *incoming = (whylite_incoming){.receiving = offset == 0, .sequence = sequence, .truth = -1};
  }
  if (offset > incoming->filled || !incoming->receiving) {
    return gap;
  }
  int8_t *input = device->window == NULL ? device->arena + model->input.offset : device->window;
  whylite_copy_bytes(input + offset, (const int8_t *)message->data, size);
  device->kept = false;
  incoming->filled = offset + size > incoming->filled ? offset + size : incoming->filled;
  if (has(message, WHYLITE_WINDOW_TRUTH)) {
    incoming->truth = (int32_t)message->value[WHYLITE_WINDOW_TRUTH];
  }
  return nothing;
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
  bool same = device->window == NULL || device->kept;
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
  if (refused.cause != NULL) {
    whylite_send_ack(&device->sender, message->number, refused.cause, refused.hint, device->answered ? &last : NULL);
  } else if (incoming->filled == device->model->input.size) {
    device->incoming.receiving = false;
    device->result = (whylite_result){
        .sequence = incoming->sequence, .truth = incoming->truth, .captured = whylite_device_time(device)};
    whylite_answer(device);
  }
  return true;
}

/* --- REQUEST --- */

static refusal check_method(const whylite_device *device, uint32_t method) {
  static const refusal unknown = {"the session has no such method", "see its SESSION for those it has"};
  static const refusal no_memory = {"there is no memory for this method", "give the device WHYLITE_SUMS_SIZE more"};
  if (method >= device->model->explanation_count) {
    return unknown;
  }
  return whylite_can_use(device, method) ? nothing : no_memory;
}

static refusal check_settings(const whylite_device *device) {
  static const refusal rate = {"the rate of this board's windows is not the link's to set", "leave it out"};
  static const refusal rule = {"there is no such rule of what to explain", "there are 0 to 3; on-alarm wants alarms"};
  static const refusal no_copy = {"there is no memory for a copy of the window",
                                  "use one method, and no inputs; WHYLITE_DEVICE_MEMORY says what a copy takes"};
  const whylite_message *message = &device->message;
  const uint32_t explain = message->value[WHYLITE_REQUEST_EXPLAIN];
  const uint32_t count = message->value[WHYLITE_REQUEST_METHODS];
  if (message->value[WHYLITE_REQUEST_RATE] << 1 != 0) { /* zero of either sign is none */
    return rate;
  }
  if (explain > WHYLITE_ON_REQUEST || (explain == WHYLITE_ON_ALARM && device->alarm_count == 0)) {
    return rule;
  }
  if (device->window == NULL && (count > 1u || message->value[WHYLITE_REQUEST_INPUTS] != 0)) {
    return no_copy;
  }
  refusal refused = nothing;
  for (uint32_t i = 0; i < count && refused.cause == NULL; i++) {
    refused = check_method(device, message->methods[i]);
  }
  return refused;
}

static refusal check_window(const whylite_device *device) {
  static const refusal gone = {"the window is not kept", "ask for the latest one, before the next one comes"};
  static const refusal no_class = {"there is no map of such a class", "see SESSION's labels; of yes and no, take yes"};
  static const refusal none = {"no method is in use", "name one"};
  const whylite_message *message = &device->message;
  const uint32_t class_index = message->value[WHYLITE_REQUEST_CLASS];
  if (!device->kept ||
      (has(message, WHYLITE_REQUEST_SEQUENCE) && message->value[WHYLITE_REQUEST_SEQUENCE] != device->result.sequence)) {
    return gone;
  }
  if (message->value[WHYLITE_REQUEST_WHAT] == WHYLITE_INPUT) {
    return nothing;
  }
  if (has(message, WHYLITE_REQUEST_CLASS) &&
      (class_index >= whylite_classes(device) || (device->yes_no && class_index == 0))) {
    return no_class;
  }
  if (has(message, WHYLITE_REQUEST_METHOD)) {
    return check_method(device, message->value[WHYLITE_REQUEST_METHOD]);
  }
  const bool others = has(message, WHYLITE_REQUEST_METHODS);
  return (others ? message->value[WHYLITE_REQUEST_METHODS] : device->method_count) > 0 ? nothing : none;
}

static refusal check(const whylite_device *device) {
  static const refusal unknown = {"this board sends no such record on request", "see docs/wire.md, REQUEST"};
  refusal refused = check_settings(device);
  if (refused.cause != NULL) {
    return refused;
  }
  switch (device->message.value[WHYLITE_REQUEST_WHAT]) {
    case 0:
    case WHYLITE_SESSION:
    case WHYLITE_HEALTH:
      return nothing;
    case WHYLITE_MAP_CHUNK:
    case WHYLITE_INPUT:
      return check_window(device);
    default:
      return unknown;
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
  device->job =
      (whylite_job){.on = true,
                    .requested = true,
                    .acknowledge = message->value[WHYLITE_REQUEST_ACKNOWLEDGE] != 0,
                    .request = message->number,
                    .class_index = named ? message->value[WHYLITE_REQUEST_CLASS] : device->result.class_index};
  if (has(message, WHYLITE_REQUEST_METHOD)) {
    device->job.methods[0] = (uint8_t)message->value[WHYLITE_REQUEST_METHOD];
    device->job.count = 1;
  } else {
    whylite_copy_bytes((int8_t *)device->job.methods, (const int8_t *)device->methods, device->method_count);
    device->job.count = device->method_count;
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
  if (refused.cause != NULL) {
    if (acknowledge) {
      whylite_send_ack(&device->sender, message->number, refused.cause, refused.hint, sequence);
    } else {
      whylite_device_log(device, 30, refused.cause);
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
