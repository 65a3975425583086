/* The firmware of a virtual board. Its clock is SysTick, as DWT's cycle counter stands still in QEMU. */
#include "uart.h"
#include "virtual.h"

#define SYSTICK_CONTROL (*(volatile uint32_t *)0xE000E010u)
#define SYSTICK_RELOAD (*(volatile uint32_t *)0xE000E014u)
#define SYSTICK_VALUE (*(volatile uint32_t *)0xE000E018u)
#define SYSTICK_BITS 24u
#define SYSTICK_MAX ((1u << SYSTICK_BITS) - 1u)

static volatile uint32_t wraps; /* of SysTick */

void whylite_tick(void) { wraps++; }

/* Return SysTick as a counter of 32 bits that counts up. */
static uint32_t ticks(void) {
  uint32_t before, value;
  do {
    before = wraps;
    value = SYSTICK_VALUE;
  } while (before != wraps); /* it ran out in between */
  return (before << SYSTICK_BITS) + (SYSTICK_MAX - value);
}

static void say(const char *text) {
  for (; *text != 0; text++) {
    while (!uart_has_room()) {
    }
    uart_write((uint8_t)*text);
  }
}

int main(void) {
  uart_start();
  SYSTICK_RELOAD = SYSTICK_MAX;
  SYSTICK_VALUE = 0;
  SYSTICK_CONTROL = 7u; /* on, with its interrupt, at the processor's clock */
  for (;;) {
    const uint32_t start = ticks();
    say("WhyLite on " WHYLITE_BOARD_NAME "\n");
    while (ticks() - start < WHYLITE_CLOCK_HZ) {
      if (uart_has_byte()) {
        (void)uart_read();
      }
    }
  }
}
