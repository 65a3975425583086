/* From reset to main() on a Cortex-M: vectors, memory, FPU, and a painted stack whose peak can be read afterwards. */
#include "virtual.h"

#include <stddef.h>

/* Set by link.ld.in; only their addresses mean anything. */
extern uint32_t whylite_data_source[], whylite_data_start[], whylite_data_end[];
extern uint32_t whylite_bss_start[], whylite_bss_end[];
extern uint32_t whylite_stack_limit[], whylite_paint_end[], whylite_stack_top[];

extern int main(void);

#define COPROCESSORS (*(volatile uint32_t *)0xE000ED88u) /* CPACR: who may use the FPU, and Helium */
#define FPU_FOR_ALL (0xFu << 20)
#define PAINT 0xA5A5A5A5u

static void copy(uint32_t *to, const uint32_t *end, const uint32_t *from) {
  while (to < end) {
    *to++ = *from++;
  }
}

static void fill(uint32_t *at, const uint32_t *end, uint32_t value) {
  while (at < end) {
    *at++ = value;
  }
}

void whylite_reset(void) {
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
  COPROCESSORS |= FPU_FOR_ALL; /* before any code that a compiler may have vectorised */
  __asm volatile("dsb\n isb" ::: "memory");
#endif
  copy(whylite_data_start, whylite_data_end, whylite_data_source);
  fill(whylite_bss_start, whylite_bss_end, 0);
  fill(whylite_stack_limit, whylite_paint_end, PAINT);
  (void)main();
  for (;;) {
  }
}

uint32_t whylite_stack_peak(void) {
  const uint32_t *deepest = whylite_stack_limit;
  while (deepest < whylite_paint_end && *deepest == PAINT) {
    deepest++;
  }
  return (uint32_t)((uintptr_t)whylite_stack_top - (uintptr_t)deepest);
}

/* A fault stays where it is, for a debugger to find. */
static void stop(void) {
  for (;;) {
  }
}

typedef void (*vector)(void);

__attribute__((section(".vectors"), used)) static const vector vectors[16] = {
    (vector)(uintptr_t)whylite_stack_top,
    whylite_reset,
    stop,
    stop,
    stop,
    stop,
    stop,
    stop,
    NULL,
    NULL,
    NULL,
    stop,
    stop,
    NULL,
    stop,
    whylite_tick,
};

/* Compilers call these three even where no libc is: they are weak, so that one that is there has its way. */
#ifdef __clang__
#define AS_WRITTEN __attribute__((weak, no_builtin))
#else
#define AS_WRITTEN __attribute__((weak, optimize("no-tree-loop-distribute-patterns")))
#endif

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *at, int value, size_t size);

AS_WRITTEN void *memcpy(void *restrict to, const void *restrict from, size_t size) {
  uint8_t *out = to;
  const uint8_t *in = from;
  if ((((uintptr_t)out | (uintptr_t)in) & 3u) == 0) {
    for (; size >= 4; size -= 4, out += 4, in += 4) {
      *(uint32_t *)(void *)out = *(const uint32_t *)(const void *)in;
    }
  }
  while (size-- > 0) {
    *out++ = *in++;
  }
  return to;
}

AS_WRITTEN void *memmove(void *to, const void *from, size_t size) {
  uint8_t *out = to;
  const uint8_t *in = from;
  if ((uintptr_t)out <= (uintptr_t)in) {
    while (size-- > 0) {
      *out++ = *in++;
    }
  } else {
    while (size-- > 0) {
      out[size] = in[size];
    }
  }
  return to;
}

AS_WRITTEN void *memset(void *at, int value, size_t size) {
  uint8_t *out = at;
  const uint8_t byte = (uint8_t)value;
  if (((uintptr_t)out & 3u) == 0) {
    for (; size >= 4; size -= 4, out += 4) {
      *(uint32_t *)(void *)out = byte * 0x01010101u;
    }
  }
  while (size-- > 0) {
    *out++ = byte;
  }
  return at;
}
