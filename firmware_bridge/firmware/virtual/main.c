/* The firmware of a virtual board: windows come from the host, to be answered or measured (whylite_profile.h). Its
 * clock is SysTick, as DWT's cycle counter stands still in QEMU.
 *
 * A virtual board has nothing random of its own. Its session is told by a counter in RAM that start-up leaves alone, so
 * it differs after each reset of a running emulator; whoever starts a new one may write `whylite_seed` before the first
 * instruction, or two runs have the same sessions.
 */
#include "uart.h"
#include "virtual.h"
#include "whylite_device.h"
#include "whylite_profile.h"
#include WHYLITE_MODEL_HEADER

#define SYSTICK_CONTROL (*(volatile uint32_t *)0xE000E010u)
#define SYSTICK_RELOAD (*(volatile uint32_t *)0xE000E014u)
#define SYSTICK_VALUE (*(volatile uint32_t *)0xE000E018u)
#define SYSTICK_BITS 24u
#define SYSTICK_MAX ((1u << SYSTICK_BITS) - 1u)

#ifndef WHYLITE_MODEL_PREFIX
#error "define WHYLITE_MODEL_PREFIX as what the macros of WHYLITE_MODEL_HEADER begin with, such as WHYLITE_BEATS"
#endif

extern uint8_t whylite_data_start[], whylite_ram_used[], whylite_stack_limit[]; /* set by link.ld.in */

__attribute__((section(".noinit"))) uint32_t whylite_seed[2];

static volatile uint32_t wraps; /* of SysTick */

void whylite_tick(void) { wraps++; }

/* Have an interrupt that is due be taken: Unicorn does so between blocks of code only, one of which ends with this. */
static void take_interrupt(void) { __asm volatile("isb" ::: "memory"); }

/* Return SysTick, which counts down from 24 bits, as a counter of 32 bits that counts up. */
static uint32_t ticks(void *context) {
  (void)context;
  uint32_t before, value;
  do {
    before = wraps;
    value = SYSTICK_VALUE;
    take_interrupt();
  } while (before != wraps); /* it ran out in between */
  return (before << SYSTICK_BITS) + ((0u - value) & SYSTICK_MAX); /* it is 0 for the tick before it begins anew */
}

static uint32_t write(void *context, const uint8_t *data, uint32_t size) {
  (void)context;
  uint32_t taken = 0;
  while (taken < size && uart_has_room()) {
    uart_write(data[taken++]);
  }
  return taken;
}

static uint32_t read(void *context, uint8_t *data, uint32_t size) {
  (void)context;
  uint32_t given = 0;
  while (given < size && uart_has_byte()) {
    data[given++] = uart_read();
  }
  return given;
}

static void identify(void *context, uint8_t session[8]) {
  (void)context;
  whylite_seed[0]++;
  for (uint32_t i = 0; i < 8u; i++) {
    session[i] = (uint8_t)(whylite_seed[i / 4u] >> (8u * (i % 4u)));
  }
}

static uint32_t memory_in_use(void *context) {
  (void)context;
  return (uint32_t)(whylite_ram_used - whylite_data_start) + whylite_stack_peak();
}

/* Answer the host's windows, for ever; returns where the model does not fit. */
static void serve(const whylite_port *port) {
#ifdef WHYLITE_PROFILE
  const uintptr_t start = ((uintptr_t)whylite_ram_used + WHYLITE_ALIGNMENT - 1u) & ~(uintptr_t)(WHYLITE_ALIGNMENT - 1u);
  const uint32_t size = (uint32_t)((uintptr_t)whylite_stack_limit - start); /* all that nobody else has */
  const whylite_profiled profiled = {&WHYLITE_MODEL, port, (int8_t *)start, size, whylite_stack_peak};
  for (;;) {
    (void)whylite_profile(&profiled);
  }
#else
  static int8_t memory[WHYLITE_MODEL_MEMORY(WHYLITE_MODEL_PREFIX)] __attribute__((aligned(WHYLITE_ALIGNMENT)));
  static whylite_device device;
  if (whylite_device_start(&device, &WHYLITE_MODEL, port, memory, sizeof memory)) {
    for (;;) {
      (void)whylite_device_step(&device);
    }
  }
#endif
}

int main(void) {
  static const whylite_port port = {
      .write = write,
      .read = read,
      .ticks = ticks,
      .identify = identify,
      .memory = memory_in_use,
      .clock_hz = WHYLITE_CLOCK_HZ,
      .board = WHYLITE_BOARD_NAME,
      .clock = "emulated SysTick",
  };
  uart_start();
  SYSTICK_RELOAD = SYSTICK_MAX;
  SYSTICK_VALUE = 0;
  SYSTICK_CONTROL = 7u; /* on, with its interrupt, at the processor's clock */
  serve(&port);
  return 1; /* never: the memory is what the model takes */
}
