/* Serial ports of the virtual boards, polled: an emulator holds back what a program has not taken yet, so nothing is
 * lost without interrupts. Real hardware wants a ring behind an interrupt or DMA: see ports/. One of these macros names
 * the driver and has the base address: WHYLITE_UART_CMSDK, _STM32, _NRF51 or _PL011. */
#ifndef WHYLITE_UART_H
#define WHYLITE_UART_H

#include <stdbool.h>
#include <stdint.h>

#define REGISTER(base, offset) (*(volatile uint32_t *)((base) + (offset)))

#if defined(WHYLITE_UART_CMSDK) /* Arm's Cortex-M System Design Kit: the MPS2 and MPS3 boards */

static inline void uart_start(void) {
  REGISTER(WHYLITE_UART_CMSDK, 0x10u) = 16u; /* BAUDDIV, the least there is */
  REGISTER(WHYLITE_UART_CMSDK, 0x08u) = 3u;  /* CTRL: both directions on */
}

static inline bool uart_has_room(void) { return (REGISTER(WHYLITE_UART_CMSDK, 0x04u) & 1u) == 0; }

static inline void uart_write(uint8_t byte) { REGISTER(WHYLITE_UART_CMSDK, 0x00u) = byte; }

static inline bool uart_has_byte(void) { return (REGISTER(WHYLITE_UART_CMSDK, 0x04u) & 2u) != 0; }

static inline uint8_t uart_read(void) { return (uint8_t)REGISTER(WHYLITE_UART_CMSDK, 0x00u); }

#elif defined(WHYLITE_UART_STM32) /* USART of the STM32F2 and F4 */

static inline void uart_start(void) {
  REGISTER(WHYLITE_UART_STM32, 0x08u) = 16u;     /* BRR */
  REGISTER(WHYLITE_UART_STM32, 0x0Cu) = 0x200Cu; /* CR1: UE, TE, RE */
}

static inline bool uart_has_room(void) { return (REGISTER(WHYLITE_UART_STM32, 0x00u) & 0x80u) != 0; }

static inline void uart_write(uint8_t byte) { REGISTER(WHYLITE_UART_STM32, 0x04u) = byte; }

static inline bool uart_has_byte(void) { return (REGISTER(WHYLITE_UART_STM32, 0x00u) & 0x20u) != 0; }

static inline uint8_t uart_read(void) { return (uint8_t)REGISTER(WHYLITE_UART_STM32, 0x04u); }

#elif defined(WHYLITE_UART_NRF51) /* its event says when the byte before has left: none has at first */

static inline void uart_start(void) {
  REGISTER(WHYLITE_UART_NRF51, 0x500u) = 4u;          /* ENABLE */
  REGISTER(WHYLITE_UART_NRF51, 0x524u) = 0x10000000u; /* BAUDRATE: 1 Mbaud */
  REGISTER(WHYLITE_UART_NRF51, 0x000u) = 1u;          /* STARTRX */
  REGISTER(WHYLITE_UART_NRF51, 0x008u) = 1u;          /* STARTTX */
}

/* Written and waited for: the device has no bit for "empty" that would be set before the first byte. */
static inline bool uart_has_room(void) { return true; }

static inline void uart_write(uint8_t byte) {
  REGISTER(WHYLITE_UART_NRF51, 0x11Cu) = 0u; /* TXDRDY */
  REGISTER(WHYLITE_UART_NRF51, 0x51Cu) = byte;
  while (REGISTER(WHYLITE_UART_NRF51, 0x11Cu) == 0) {
  }
}

static inline bool uart_has_byte(void) { return REGISTER(WHYLITE_UART_NRF51, 0x108u) != 0; }

static inline uint8_t uart_read(void) {
  REGISTER(WHYLITE_UART_NRF51, 0x108u) = 0u; /* RXDRDY, before the byte: the next one sets it again */
  return (uint8_t)REGISTER(WHYLITE_UART_NRF51, 0x518u);
}

#elif defined(WHYLITE_UART_PL011) /* Arm's PrimeCell: RP2040, LM3S */

static inline void uart_start(void) {
  REGISTER(WHYLITE_UART_PL011, 0x24u) = 1u;     /* IBRD */
  REGISTER(WHYLITE_UART_PL011, 0x2Cu) = 0x70u;  /* LCR_H: 8 bits, FIFOs on */
  REGISTER(WHYLITE_UART_PL011, 0x30u) = 0x301u; /* CR: UARTEN, TXE, RXE */
}

static inline bool uart_has_room(void) { return (REGISTER(WHYLITE_UART_PL011, 0x18u) & 0x20u) == 0; }

static inline void uart_write(uint8_t byte) { REGISTER(WHYLITE_UART_PL011, 0x00u) = byte; }

static inline bool uart_has_byte(void) { return (REGISTER(WHYLITE_UART_PL011, 0x18u) & 0x10u) == 0; }

static inline uint8_t uart_read(void) { return (uint8_t)REGISTER(WHYLITE_UART_PL011, 0x00u); }

#else
#error "define WHYLITE_UART_CMSDK, _STM32, _NRF51 or _PL011 as the base address of the board's serial port"
#endif

#endif
