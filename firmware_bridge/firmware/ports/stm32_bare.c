/* WhyLite on an STM32F4 without a HAL: USART2 (PA2, PA3: the virtual COM port of a Nucleo-F446RE) at 921600 baud,
 * received by DMA into a ring, windows from the host. Compiled in the project's tests; not run on a board there.
 *
 * Add whylite_*.c of the firmware and of the model, your start-up code and linker script, and say which model it is:
 *   -DWHYLITE_MODEL=whylite_beats
 *   -DWHYLITE_MODEL_HEADER='"whylite_beats.h"'  its header
 *   -DWHYLITE_MODEL_PREFIX=WHYLITE_BEATS        what the macros in it begin with
 *
 * At reset an STM32F4 runs at 16 MHz from its own oscillator, which is taken here as it is: set CLOCK_HZ if you have
 * started a PLL.
 */
#include "whylite_device.h"
#include WHYLITE_MODEL_HEADER

#define CLOCK_HZ 16000000u
#define BAUD 921600u

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define RCC_AHB1ENR REGISTER(0x40023830u)
#define RCC_APB1ENR REGISTER(0x40023840u)
#define GPIOA_MODER REGISTER(0x40020000u)
#define GPIOA_AFRL REGISTER(0x40020020u)
#define USART2_SR REGISTER(0x40004400u)
#define USART2_DR REGISTER(0x40004404u)
#define USART2_BRR REGISTER(0x40004408u)
#define USART2_CR1 REGISTER(0x4000440Cu)
#define USART2_CR3 REGISTER(0x40004414u)
#define DMA1_S5CR REGISTER(0x40026088u) /* stream 5, channel 4: what USART2 receives */
#define DMA1_S5NDTR REGISTER(0x4002608Cu)
#define DMA1_S5PAR REGISTER(0x40026090u)
#define DMA1_S5M0AR REGISTER(0x40026094u)
#define DEMCR REGISTER(0xE000EDFCu)
#define DWT_CTRL REGISTER(0xE0001000u)
#define DWT_CYCCNT REGISTER(0xE0001004u)
#define UNIQUE_ID REGISTER(0x1FFF7A10u)

#define RING 1024u /* a power of two: what may arrive while the model computes */

typedef struct {
  uint8_t ring[RING]; /* written by the DMA, round and round */
  uint32_t taken;     /* bytes of it, ever */
} serial;

static serial usart2;

static void start(void) {
  RCC_AHB1ENR |= 1u << 0 | 1u << 21; /* GPIOA, DMA1 */
  RCC_APB1ENR |= 1u << 17;           /* USART2 */
  GPIOA_MODER = (GPIOA_MODER & ~0xF0u) | 0xA0u;
  GPIOA_AFRL = (GPIOA_AFRL & ~0xFF00u) | 0x7700u;
  USART2_BRR = (CLOCK_HZ + BAUD / 2u) / BAUD;
  DMA1_S5PAR = (uint32_t)(uintptr_t)&USART2_DR;
  DMA1_S5M0AR = (uint32_t)(uintptr_t)usart2.ring;
  DMA1_S5NDTR = RING;
  DMA1_S5CR = 4u << 25 | 1u << 10 | 1u << 8 | 1u; /* channel 4, memory counts up, circular, on */
  USART2_CR3 = 1u << 6;                           /* the DMA receives */
  USART2_CR1 = 0x200Cu;                           /* UE, TE, RE */
  DEMCR |= 1u << 24;
  DWT_CTRL |= 1u; /* the cycle counter */
}

static uint32_t write(void *context, const uint8_t *data, uint32_t size) {
  (void)context;
  for (uint32_t i = 0; i < size; i++) {
    while ((USART2_SR & 0x80u) == 0) {
    }
    USART2_DR = data[i];
  }
  return size; /* without flow control a UART always has room */
}

static uint32_t read(void *context, uint8_t *data, uint32_t size) {
  serial *port = context;
  const uint32_t arrived = RING - DMA1_S5NDTR; /* where the DMA writes next */
  uint32_t given = 0;
  while (given < size && (port->taken & (RING - 1u)) != (arrived & (RING - 1u))) {
    data[given++] = port->ring[port->taken++ & (RING - 1u)];
  }
  return given;
}

static uint32_t cycles(void *context) {
  (void)context;
  return DWT_CYCCNT;
}

/* The chip's own number tells it from others; its RAM as it was at power-on, which no start-up code clears, one start
 * from the next. A board with a random number generator uses that. */
__attribute__((section(".noinit"))) static uint32_t starts;

static void identify(void *context, uint8_t session[8]) {
  (void)context;
  starts++;
  const uint32_t chip = UNIQUE_ID ^ DWT_CYCCNT;
  for (uint32_t i = 0; i < 4u; i++) {
    session[i] = (uint8_t)(starts >> (8u * i));
    session[4u + i] = (uint8_t)(chip >> (8u * i));
  }
}

int main(void) {
  static const whylite_port port = {
      .context = &usart2,
      .write = write,
      .read = read,
      .ticks = cycles,
      .identify = identify,
      .clock_hz = CLOCK_HZ,
      .bytes_per_second = BAUD / 10u,
      .board = "Nucleo-F446RE",
      .clock = "DWT",
  };
  static int8_t memory[WHYLITE_MODEL_MEMORY(WHYLITE_MODEL_PREFIX)] __attribute__((aligned(WHYLITE_ALIGNMENT)));
  static whylite_device device;
  start();
  if (whylite_device_start(&device, &WHYLITE_MODEL, &port, memory, sizeof memory)) {
    for (;;) {
      (void)whylite_device_step(&device);
    }
  }
  return 1;
}
