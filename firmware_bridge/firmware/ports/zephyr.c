/* NOT COMPILED in this project, whose tests have no Zephyr: written against the documentation of Zephyr 3.7 (uart.h,
 * ring_buffer.h, kernel.h, random.h).
 *
 * WhyLite as a Zephyr application: the serial port that the devicetree calls `whylite,link`, received by interrupt into
 * a ring, windows from your sensor. In prj.conf: CONFIG_SERIAL=y, CONFIG_UART_INTERRUPT_DRIVEN=y, CONFIG_RING_BUFFER=y,
 * CONFIG_ENTROPY_GENERATOR=y, CONFIG_MAIN_STACK_SIZE=2048; no console or log backend on that port. In CMakeLists.txt:
 * target_sources(app PRIVATE zephyr.c, the firmware's whylite_*.c, the model's).
 */
#include <zephyr/device.h>
#include <zephyr/drivers/uart.h>
#include <zephyr/kernel.h>
#include <zephyr/random/random.h>
#include <zephyr/sys/ring_buffer.h>

#include "whylite_beats.h"
#include "whylite_device.h"

static const struct device *const uart = DEVICE_DT_GET(DT_CHOSEN(whylite_link));
RING_BUF_DECLARE(received, 1024);
K_MSGQ_DEFINE(windows, WHYLITE_BEATS_INPUT_SIZE, 2, 4); /* your sensor's thread puts complete windows in */

static void on_uart(const struct device *from, void *context) {
  uint8_t piece[32];
  (void)context;
  while (uart_irq_update(from) && uart_irq_rx_ready(from)) {
    const int size = uart_fifo_read(from, piece, sizeof(piece));
    if (size <= 0) {
      break;
    }
    (void)ring_buf_put(&received, piece, (uint32_t)size); /* what has no room is lost: the host sends it again */
  }
}

static uint32_t write(void *context, const uint8_t *data, uint32_t size) {
  (void)context;
  for (uint32_t i = 0; i < size; i++) {
    uart_poll_out(uart, data[i]);
  }
  return size;
}

static uint32_t read(void *context, uint8_t *data, uint32_t size) {
  (void)context;
  return ring_buf_get(&received, data, size);
}

static uint32_t ticks(void *context) {
  (void)context;
  return k_cycle_get_32();
}

static void identify(void *context, uint8_t session[8]) {
  (void)context;
  sys_rand_get(session, 8);
}

static bool capture(void *context, int8_t *input) {
  (void)context;
  return k_msgq_get(&windows, input, K_NO_WAIT) == 0;
}

static void idle(void *context) {
  (void)context;
  k_msleep(1);
}

int main(void) {
  static whylite_port port = {
      .write = write,
      .read = read,
      .ticks = ticks,
      .identify = identify,
      .capture = capture,
      .idle = idle,
      .board = CONFIG_BOARD,
      .clock = "k_cycle",
  };
  static int8_t memory[WHYLITE_MODEL_MEMORY(WHYLITE_BEATS)] __aligned(WHYLITE_ALIGNMENT);
  static whylite_device device;
  port.clock_hz = (uint32_t)sys_clock_hw_cycles_per_sec();
  uart_irq_callback_set(uart, on_uart);
  uart_irq_rx_enable(uart);
  if (!whylite_device_start(&device, &whylite_beats, &port, memory, sizeof(memory))) {
    return 1;
  }
  for (;;) {
    (void)whylite_device_step(&device);
  }
}
