/* What test programs need on an emulated board: output and an end by semihosting, and a counter of instructions. */
#include <stdint.h>

#include "virtual.h"
#include "whylite.h"

#define SYS_OPEN 0x01
#define SYS_WRITE 0x05
#define SYS_EXIT 0x18
#define WRITE_BINARY 5u
#define APPLICATION_EXIT 0x20026u

#define SYSTICK_CONTROL (*(volatile uint32_t *)0xE000E010u)
#define SYSTICK_RELOAD (*(volatile uint32_t *)0xE000E014u)
#define SYSTICK_VALUE (*(volatile uint32_t *)0xE000E018u)
#define SYSTICK_MAX 0xFFFFFFu

void put(const int8_t *from, uint32_t size);
void start(void);
int finish(void);

static uint32_t semihost(uint32_t operation, uintptr_t argument) {
  register uint32_t r0 __asm("r0") = operation;
  register uintptr_t r1 __asm("r1") = argument;
  __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

void put(const int8_t *from, uint32_t size) {
  static uint32_t console;
  if (console == 0) {
    const uintptr_t how[] = {(uintptr_t) ":tt", WRITE_BINARY, 3};
    console = semihost(SYS_OPEN, (uintptr_t)how);
  }
  const uintptr_t what[] = {console, (uintptr_t)from, size};
  (void)semihost(SYS_WRITE, (uintptr_t)what);
}

int finish(void) { return (int)semihost(SYS_EXIT, APPLICATION_EXIT); }

static volatile uint32_t wraps;
static uint32_t mark;

void whylite_tick(void) { wraps++; }

/* SysTick counts down and interrupts as it comes to 0, which is what it starts from: then a period begins. */
static uint32_t ticks(void) {
  uint32_t before, value;
  do {
    before = wraps;
    value = SYSTICK_VALUE;
  } while (before != wraps); /* it ran out in between */
  return (before << 24) + ((0u - value) & SYSTICK_MAX);
}

void start(void) {
  SYSTICK_RELOAD = SYSTICK_MAX;
  SYSTICK_VALUE = 0;
  SYSTICK_CONTROL = 7u; /* on, with its interrupt, at the processor's clock */
  mark = ticks();
}

#ifdef WHYLITE_PROFILE
void whylite_operation(uint16_t index) {
  const uint32_t taken = ticks() - mark;
  (void)index;
  put((const int8_t *)&taken, sizeof taken);
  mark = ticks();
}
#endif
