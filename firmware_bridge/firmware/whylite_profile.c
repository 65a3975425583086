#include "whylite_profile.h"

#include <stddef.h>

#include "whylite_integrate.h"
#include "whylite_scores.h"

#define VERSION 1u
#define ASKED '?'          /* by the host: introduce yourself and measure a window */
#define CHUNK 512u         /* bytes of a window that are asked for at once: what a port's buffer has to hold */
#define PATIENCE (1u << 19) /* looks at the port; a count of ticks would never end where the counter stands still */
#define EMPTY_CALLS 256u   /* of the hook, to know what it adds to the operation it follows */

/* What one operation has taken. */
typedef struct {
  uint64_t ticks;
  uint32_t calls;
} count;

_Static_assert(sizeof(count) == 16, "WHYLITE_PROFILE_MEMORY counts on it");

/* whylite_operation is given an index and nothing else, so this is the one thing here that is not the caller's. */
static struct {
  const whylite_port *port;
  count *counts;
  uint32_t mark; /* the counter, when the hook returned last */
} now;

static uint32_t ticks(void) { return now.port->ticks(now.port->context); }

void whylite_operation(uint16_t index);

void whylite_operation(uint16_t index) {
  const uint32_t taken = ticks() - now.mark;
  now.counts[index].ticks += taken;
  now.counts[index].calls++;
  now.mark = ticks();
}

/* --- lines --- */

static uint8_t check; /* of the line so far */

static void put(const char *data, uint32_t size) {
  for (uint32_t i = 0; i < size; i++) {
    check ^= (uint8_t)data[i];
  }
  while (size > 0) {
    const uint32_t taken = now.port->write(now.port->context, (const uint8_t *)data, size);
    data += taken;
    size -= taken;
  }
}

static void put_text(const char *text) {
  uint32_t size = 0;
  while (text[size] != 0) {
    size++;
  }
  put(text, size);
}

static void open_line(const char *name) {
  put_text("$");
  check = 0;
  put_text("WHY,");
  put_text(name);
}

static void put_digits(uint64_t value, uint32_t digits) {
  char text[16];
  for (uint32_t i = digits; i-- > 0; value >>= 4) {
    text[i] = "0123456789abcdef"[value & 15u];
  }
  put(text, digits);
}

static void put_number(uint64_t value) {
  uint32_t digits = 1;
  while (digits < 16 && value >> 4 * digits != 0) {
    digits++;
  }
  put_text(",");
  put_digits(value, digits);
}

static void close_line(void) {
  const uint8_t sum = check;
  put_text("*");
  put_digits(sum, 2);
  put_text("\r\n");
}

/* --- windows --- */

/* The link's checksum, slow and small: firmware that measures has nothing of the link in it. */
static uint32_t crc32(const int8_t *data, uint32_t size) {
  uint32_t sum = ~0u;
  for (uint32_t i = 0; i < size; i++) {
    sum ^= (uint8_t)data[i];
    for (int bit = 0; bit < 8; bit++) {
      sum = sum >> 1 ^ (0xEDB88320u & (0u - (sum & 1u)));
    }
  }
  return ~sum;
}

/* Take `size` bytes; false where they do not come. */
static bool receive(uint8_t *to, uint32_t size) {
  for (uint32_t looks = 0; size > 0; looks++) {
    const uint32_t got = now.port->read(now.port->context, to, size);
    to += got;
    size -= got;
    if (got > 0) {
      looks = 0;
    } else if (looks > PATIENCE) {
      return false;
    }
  }
  return true;
}

/* Ask for a window, chunk by chunk. */
static bool receive_window(int8_t *window, uint32_t size) {
  for (uint32_t at = 0; at < size; at += CHUNK) {
    const uint32_t part = size - at < CHUNK ? size - at : CHUNK;
    open_line("want");
    put_number(at);
    put_number(part);
    close_line();
    if (!receive((uint8_t *)window + at, part)) {
      return false;
    }
  }
  open_line("window");
  put_number(crc32(window, size));
  close_line();
  return true;
}

/* --- measuring --- */

/* Where in the caller's memory is what; `sums` is NULL where they are left out. */
typedef struct {
  int8_t *arena;
  int8_t *window;
  int32_t *sums;
} places;

/* Divide the memory; false where it is too small. */
static bool divide(const whylite_profiled *profiled, places *found) {
  const whylite_model *model = profiled->model;
  const uint32_t arena = (model->arena_size + 15u) / 16u * 16u;
  const uint32_t window = arena + model->operations * (uint32_t)sizeof(count);
  const uint32_t sums = window + (model->input.size + 3u) / 4u * 4u;
  found->arena = profiled->memory;
  found->window = profiled->memory + window;
  now.counts = (count *)(void *)(profiled->memory + arena);
  found->sums = sums + WHYLITE_SUMS_SIZE(model->input.size) > profiled->size ? NULL : (void *)(profiled->memory + sums);
  return sums <= profiled->size;
}

static void introduce(const whylite_profiled *profiled) {
  const whylite_model *model = profiled->model;
  open_line("hello");
  put_number(VERSION);
  put_text(",");
  for (uint32_t i = 0; i < 32; i++) {
    put_digits(model->digest[i], 2);
  }
  put_number(model->operations);
  put_number(model->explanation_count);
  put_number(model->input.size);
  put_number(profiled->port->clock_hz);
  put_text(",");
  put_text(profiled->port->clock);
  close_line();
}

static void forget(const whylite_model *model) {
  for (uint32_t i = 0; i < model->operations; i++) {
    now.counts[i] = (count){0, 0};
  }
}

static void begin(const whylite_model *model) {
  forget(model);
  now.mark = ticks();
}

/* Say what has been counted since `begin`: `rest` is what came after the last operation. */
static void report(const whylite_profiled *profiled, uint32_t part, uint32_t rest, const int8_t *result,
                   uint32_t size) {
  const uint32_t peak = profiled->stack_peak == NULL ? 0 : profiled->stack_peak();
  open_line("part");
  put_number(part);
  put_number(rest);
  put_number(peak);
  put_number(crc32(result, size));
  close_line();
  for (uint32_t i = 0; i < profiled->model->operations; i++) {
    if (now.counts[i].calls > 0) {
      open_line("op");
      put_number(i);
      put_number(now.counts[i].calls);
      put_number(now.counts[i].ticks);
      close_line();
    }
  }
}

/* The hook counts itself between operations, from one reading of the counter to the next: say how much that is. */
static void report_hook(const whylite_model *model) {
  begin(model);
  for (uint32_t i = 0; i < EMPTY_CALLS && model->operations > 0; i++) {
    whylite_operation(0);
  }
  open_line("hook");
  put_number(EMPTY_CALLS);
  put_number(model->operations > 0 ? now.counts[0].ticks : 0);
  close_line();
}

static void predict(const whylite_model *model, const places *at) {
  for (uint32_t i = 0; i < model->input.size; i++) {
    at->arena[model->input.offset + i] = at->window[i];
  }
  begin(model);
  model->predict(at->arena);
}

static void explain(const whylite_profiled *profiled, const places *at, uint32_t place) {
  const whylite_model *model = profiled->model;
  const whylite_explanation *explanation = &model->explanations[place];
  predict(model, at);
  if (explanation->steps == 0) {
    begin(model);
    explanation->run(at->arena, WHYLITE_PREDICTED);
    report(profiled, place + 1u, ticks() - now.mark, at->arena + explanation->map.offset, explanation->map.size);
  } else if (at->sums != NULL) {
    const uint32_t answer = whylite_best(model, at->arena + model->scores.offset);
    const int32_t target = model->yes_no != 0 ? 0 : (int32_t)answer; /* there is one score */
    whylite_integral integral;
    whylite_attribution attribution;
    begin(model);
    whylite_integrate_start(&integral, model, explanation, at->arena, at->window, at->sums, target);
    while (whylite_integrate_step(&integral)) {
    }
    whylite_integrate_finish(&integral, &attribution);
    report(profiled, place + 1u, ticks() - now.mark, attribution.values, attribution.tensor.size);
  }
}

static void measure(const whylite_profiled *profiled, const places *at) {
  const whylite_model *model = profiled->model;
  report_hook(model);
  predict(model, at);
  report(profiled, 0, ticks() - now.mark, at->arena + model->scores.offset, model->scores.size);
  for (uint32_t i = 0; i < model->explanation_count; i++) {
    explain(profiled, at, i);
  }
  open_line("done");
  close_line();
}

bool whylite_profile(const whylite_profiled *profiled) {
  places at;
  uint8_t asked = 0;
  now.port = profiled->port;
  if (now.port->read(now.port->context, &asked, 1) == 0 || asked != ASKED) {
    return false;
  }
  introduce(profiled);
  if (!divide(profiled, &at)) {
    open_line("small");
    put_number(profiled->size);
    close_line();
    return false;
  }
  if (!receive_window(at.window, profiled->model->input.size)) {
    return false;
  }
  measure(profiled, &at);
  return true;
}
