#include "whylite_device.h"

#include <stddef.h>

#include "whylite_desk.h"
#include "whylite_scores.h"

/* Models take the time, not this: what counts is its size. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os")
#endif

#define SESSION_PERIOD 3u /* seconds */
#define HEALTH_PERIOD 5u
#define PATIENCE 2u          /* seconds without a byte taken after which nobody waits for the host any more */
#define SESSION_SHARE 50u    /* SESSION takes at most one part in so many of the link's time */
#define PER_STEP 4096u       /* bytes from the host at the most: one that never stops is not to hold a board up */
#define RESIDUAL_BOUND 0.05f /* of the logit's change */

void whylite_copy_bytes(int8_t *to, const int8_t *from, uint32_t size) {
  for (uint32_t i = 0; i < size; i++) {
    to[i] = from[i];
  }
}

uint64_t whylite_device_time(whylite_device *device) {
  const uint32_t ticks = device->port->ticks(device->port->context);
  device->time += ticks - device->ticks;
  device->ticks = ticks;
  return device->time;
}

void whylite_device_log(whylite_device *device, uint8_t level, const char *text) {
  whylite_send_log(&device->sender, whylite_device_time(device), level, text);
}

static bool is_int8(const whylite_tensor *tensor) { return tensor->type == WHYLITE_INT8; }

static bool can_run(const whylite_model *model, uint32_t size) {
  bool fits = model->arena_size <= size && is_int8(&model->input) && model->explanation_count <= WHYLITE_METHODS;
  for (uint32_t i = 0; i < model->explanation_count; i++) {
    const whylite_explanation *explanation = &model->explanations[i];
    fits = fits && is_int8(&explanation->map) && (WHYLITE_INTEGRATE != 0 || explanation->steps == 0);
  }
  return fits;
}

/* Give the arena, the copy and the sums their places in the memory, as far as it reaches. */
static void divide(whylite_device *device, int8_t *memory, uint32_t size) {
  const whylite_model *model = device->model;
  const uint32_t arena = WHYLITE_DEVICE_MEMORY(model->arena_size, 0u, 0u);
  const uint32_t with_copy = WHYLITE_DEVICE_MEMORY(model->arena_size, model->input.size, model->scores.size);
  device->arena = memory;
  device->window = with_copy <= size ? memory + arena : NULL;
  if (device->window != NULL && size - with_copy >= WHYLITE_SUMS_SIZE(model->input.size)) {
    device->sums = (int32_t *)(void *)(memory + with_copy);
  }
}

bool whylite_can_use(const whylite_device *device, uint32_t method) {
  return device->model->explanations[method].steps == 0 || device->sums != NULL;
}

bool whylite_device_start(whylite_device *device, const whylite_model *model, const whylite_port *port, int8_t *memory,
                          uint32_t size) {
  if (!can_run(model, size)) {
    return false;
  }
  *device = (whylite_device){.model = model, .port = port, .before = -1};
  device->sender.port = port;
  device->sender.patience = PATIENCE * port->clock_hz;
  device->receiver.buffer = device->received;
  device->receiver.capacity = sizeof device->received;
  divide(device, memory, size);
  for (uint8_t i = 0; i < model->explanation_count; i++) {
    if (whylite_can_use(device, i) && (device->method_count == 0 || device->window != NULL)) {
      device->methods[device->method_count++] = i;
    }
  }
  port->identify(port->context, device->session);
  device->ticks = port->ticks(port->context);
  return true;
}

/* --- what leaves unasked --- */

void whylite_tell_settings(whylite_device *device) {
  whylite_send_settings(&device->sender, &(whylite_settings){.methods = device->methods,
                                                             .method_count = device->method_count,
                                                             .explain = device->explain,
                                                             .inputs = device->inputs,
                                                             .alarms = device->alarms,
                                                             .alarm_count = device->alarm_count,
                                                             .kept = device->window != NULL});
}

static void introduce(whylite_device *device) {
  const uint64_t start = whylite_device_time(device);
  whylite_send_session(&device->sender, device->model, device->session, start);
  whylite_tell_settings(device);
  const uint64_t now = whylite_device_time(device);
  const uint64_t period = (uint64_t)SESSION_PERIOD * device->port->clock_hz;
  const uint64_t share = SESSION_SHARE * (now - start);
  device->session_due = now + (share > period ? share : period);
}

static void report(whylite_device *device) {
  const whylite_port *port = device->port;
  const uint64_t now = whylite_device_time(device);
  device->health_due = now + (uint64_t)HEALTH_PERIOD * port->clock_hz;
  whylite_send_health(&device->sender,
                      &(whylite_health){.time = now,
                                        .produced = device->produced,
                                        .bad_frames = device->receiver.bad,
                                        .clock_faults = device->clock_faults,
                                        .memory = port->memory == NULL ? 0 : port->memory(port->context)});
}

/* --- answering --- */

static const int8_t *scores_of(const whylite_device *device) {
  const whylite_model *model = device->model;
  return device->window == NULL ? device->arena + model->scores.offset : device->window + model->input.size;
}

/* Predict the window, and keep the scores, which later predictions overwrite. */
static void predict(whylite_device *device) {
  const whylite_model *model = device->model;
  if (device->window != NULL) {
    whylite_copy_bytes(device->arena + model->input.offset, device->window, model->input.size);
  }
  model->predict(device->arena);
  if (device->window != NULL) {
    whylite_copy_bytes(device->window + model->input.size, device->arena + model->scores.offset, model->scores.size);
  }
}

void whylite_tell_result(whylite_device *device) {
  whylite_send_result(&device->sender, &device->result, device->model, scores_of(device));
}

static bool is_alarm(const whylite_device *device, uint32_t answer) {
  bool found = false;
  for (uint32_t i = 0; i < device->alarm_count; i++) {
    found = found || device->alarms[i] == answer;
  }
  return found;
}

static bool wants_explanation(const whylite_device *device, uint32_t answer) {
  switch (device->explain) {
    case WHYLITE_ALWAYS:
      return true;
    case WHYLITE_ON_CHANGE:
      return (int32_t)answer != device->before;
    case WHYLITE_ON_ALARM:
      return is_alarm(device, answer);
    default:
      return false;
  }
}

/* Note how long something took, into one of the latency's tables. */
static void note(whylite_device *device, whylite_ticks *table, uint32_t place, uint64_t since) {
  table->ticks[place] += whylite_device_time(device) - since;
  table->known |= 1u << place;
}

void whylite_begin(whylite_device *device, uint32_t class_index) {
  whylite_job *job = &device->job;
  const uint32_t yes = 1; /* whatever the answer: there is no map of no */
  *job = (whylite_job){.on = true,
                       .class_index = device->model->yes_no != 0 ? yes : class_index,
                       .count = device->method_count};
  whylite_copy_bytes((int8_t *)job->methods, (const int8_t *)device->methods, job->count);
}

void whylite_answer(whylite_device *device, uint32_t sequence, int32_t truth) {
  whylite_latency *latency = &device->latency;
  const uint64_t start = whylite_device_time(device);
  device->result = (whylite_result){.sequence = sequence, .truth = truth, .captured = start};
  predict(device);
  note(device, &latency->phases, WHYLITE_PREDICT, start);
  latency->valid = latency->phases.ticks[WHYLITE_PREDICT] > 0; /* else the clock stands still */
  device->clock_faults += !latency->valid;
  const uint32_t answer = whylite_best(device->model, scores_of(device));
  latency->sequence = sequence;
  device->result.class_index = answer;
  device->result.time = whylite_device_time(device);
  device->kept = device->window != NULL;
  device->scored = true;
  device->answered = true;
  device->produced++;
  whylite_tell_result(device);
  note(device, &latency->phases, WHYLITE_SEND, device->result.time);
  whylite_begin(device, answer);
  device->job.intact = true;
  if (!wants_explanation(device, answer)) {
    device->job.count = 0;
  } else if (device->inputs) {
    whylite_tell_input(device);
  }
  device->before = (int32_t)answer;
}

/* --- explaining --- */

static uint32_t chunk_size(const whylite_port *port) {
  const uint32_t soon = port->bytes_per_second / 50u; /* what the port carries in 20 ms */
  const uint32_t least = soon < WHYLITE_LEAST_CHUNK ? WHYLITE_LEAST_CHUNK : soon;
  return port->bytes_per_second == 0 || least > WHYLITE_CHUNK ? WHYLITE_CHUNK : least;
}

void whylite_tell_input(whylite_device *device) {
  const whylite_map input = {.code = WHYLITE_INPUT,
                             .sequence = device->result.sequence,
                             .tensor = &device->model->input,
                             .data = device->window};
  whylite_send_map(&device->sender, &input, chunk_size(device->port));
}

static bool is_zero(const whylite_tensor *tensor, const int8_t *map) {
  for (uint32_t i = 0; i < tensor->size; i++) {
    if (map[i] != tensor->zero_point) {
      return false;
    }
  }
  return true;
}

static void tell_map(whylite_device *device, uint8_t method, whylite_map *map) {
  map->code = WHYLITE_MAP_CHUNK;
  map->sequence = device->result.sequence;
  map->method = method;
  map->class_index = device->job.class_index;
  map->flags |= device->model->explanations[method].flags;
  map->flags |= is_zero(map->tensor, map->data) ? WHYLITE_ZERO_MAP : 0;
  map->flags |= whylite_small_margin(device->model, scores_of(device)) ? WHYLITE_SMALL_MARGIN : 0;
  whylite_send_map(&device->sender, map, chunk_size(device->port));
}

/* Take one step of Integrated Gradients; return whether the attribution is there. */
static bool integrate(whylite_device *device, const whylite_explanation *explanation, int32_t target,
                      whylite_attribution *attribution) {
  whylite_integral *integral = &device->integral;
  whylite_job *job = &device->job;
  if (!job->integrating) {
    whylite_integrate_start(integral, device->model, explanation, device->arena, device->window, device->sums, target);
    job->integrating = true;
  }
  if (whylite_integrate_step(integral)) {
    return false;
  }
  whylite_integrate_finish(integral, attribution);
  job->integrating = false;
  return true;
}

/* Do one piece of what is under way: an explanation, or one step of it. */
static void explain(whylite_device *device) {
  whylite_job *job = &device->job;
  const uint8_t method = job->methods[job->next];
  const whylite_explanation *explanation = &device->model->explanations[method];
  const int32_t target = device->model->yes_no != 0 ? 0 : (int32_t)job->class_index; /* there is one score */
  const uint64_t start = whylite_device_time(device);
  if (!job->intact && !job->integrating) {
    predict(device);
  }
  job->intact = false;
  whylite_attribution attribution;
  whylite_tensor tensor = explanation->map;
  tensor.scale *= explanation->units == NULL ? 1.0f : explanation->units[target];
  whylite_map map = {.tensor = &tensor, .data = device->arena + explanation->map.offset, .steps = 1};
  const bool steps = WHYLITE_INTEGRATE != 0 && explanation->steps > 0;
  bool done = true;
  if (steps) {
    done = integrate(device, explanation, target, &attribution);
  } else {
    explanation->run(device->arena, target);
  }
  note(device, &device->latency.methods, method, start);
  if (!done) {
    return;
  }
  if (steps) {
    const bool kept = attribution.cut_off ||
                      __builtin_fabsf(attribution.residual) <= RESIDUAL_BOUND * __builtin_fabsf(attribution.change);
    map = (whylite_map){.tensor = &attribution.tensor,
                        .data = attribution.values,
                        .complete = !attribution.cut_off,
                        .residual = attribution.residual,
                        .steps = explanation->steps,
                        .flags = kept ? 0 : WHYLITE_RESIDUAL_OVER_BOUND};
  }
  tell_map(device, method, &map);
  job->next++;
}

static void finish(whylite_device *device) {
  const whylite_job *job = &device->job;
  if (!job->requested) {
    whylite_send_latency(&device->sender, &device->latency);
  } else if (job->acknowledge) {
    whylite_send_ack(&device->sender, job->request, NULL, NULL, &device->result.sequence);
  }
  device->job.on = false;
  device->latency = (whylite_latency){0};
}

/* --- the loop --- */

/* Take in what the host says, until something has to wait for what is under way. */
static bool listen(whylite_device *device) {
  const whylite_port *port = device->port;
  uint32_t heard = 0;
  uint8_t byte;
  if (device->held && !whylite_take(device)) {
    return false;
  }
  device->held = false;
  while (!device->held && heard < PER_STEP && port->read(port->context, &byte, 1) > 0) {
    heard++;
    const uint32_t size = whylite_receive(&device->receiver, byte);
    if (size == 0) {
      continue;
    }
    if (whylite_read(device->received, size, &device->message)) {
      device->held = !whylite_take(device);
    } else {
      device->receiver.bad++;
    }
  }
  return heard > 0;
}

/* Take the next window from the board itself. */
static bool capture(whylite_device *device) {
  const whylite_model *model = device->model;
  const uint64_t start = whylite_device_time(device);
  int8_t *input = device->window == NULL ? device->arena + model->input.offset : device->window;
  device->scored = device->scored && device->window != NULL; /* it may write to where the scores are */
  if (!device->port->capture(device->port->context, input)) {
    return false;
  }
  note(device, &device->latency.phases, WHYLITE_CAPTURE, start);
  whylite_answer(device, device->answered ? device->result.sequence + 1u : 0, -1);
  return true;
}

bool whylite_device_step(whylite_device *device) {
  const whylite_port *port = device->port;
  const uint64_t now = whylite_device_time(device);
  if (now >= device->session_due) {
    introduce(device);
  }
  if (now >= device->health_due) {
    report(device);
  }
  bool busy = listen(device);
  if (device->job.on) {
    busy = true;
    if (device->job.next < device->job.count) {
      explain(device);
    } else {
      finish(device);
    }
  } else if (port->capture != NULL) {
    busy = capture(device) || busy;
  }
  if (!busy && port->idle != NULL) {
    port->idle(port->context);
  }
  return busy;
}
