/* NOT COMPILED in this project, whose tests have no ESP-IDF: written against the documentation of ESP-IDF 5.3 (uart.h,
 * esp_timer.h, esp_random.h).
 *
 * WhyLite as an ESP-IDF application: UART1 at 921600 baud on two free pins, whose driver receives by interrupt into a
 * ring of 2 KiB; windows from the host. The console stays on UART0: log lines must not come out of this port. In
 * main/CMakeLists.txt: idf_component_register(SRCS esp_idf.c, the firmware's whylite_*.c, the model's; REQUIRES driver
 * esp_timer).
 */
#include "driver/uart.h"
#include "esp_random.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

#include "whylite_beats.h"
#include "whylite_device.h"

#define LINK UART_NUM_1
#define BAUD 921600
#define TX_PIN 17
#define RX_PIN 18
#define RECEIVED 2048
#define TO_SEND 2048

static uint32_t write(void *context, const uint8_t *data, uint32_t size) {
  (void)context;
  const int sent = uart_write_bytes(LINK, data, size); /* waits for room in the driver's ring */
  return sent > 0 ? (uint32_t)sent : 0;
}

static uint32_t read(void *context, uint8_t *data, uint32_t size) {
  (void)context;
  const int given = uart_read_bytes(LINK, data, size, 0);
  return given > 0 ? (uint32_t)given : 0;
}

static uint32_t ticks(void *context) {
  (void)context;
  return (uint32_t)esp_timer_get_time();
}

static void identify(void *context, uint8_t session[8]) {
  (void)context;
  esp_fill_random(session, 8);
}

static void idle(void *context) {
  (void)context;
  vTaskDelay(1); /* also lets the idle task feed its watchdog */
}

void app_main(void) {
  static const whylite_port port = {
      .write = write,
      .read = read,
      .ticks = ticks,
      .identify = identify,
      .idle = idle,
      .clock_hz = 1000000,
      .bytes_per_second = BAUD / 10,
      .board = "ESP32-S3",
      .clock = "esp_timer",
  };
  static int8_t memory[WHYLITE_MODEL_MEMORY(WHYLITE_BEATS)] __attribute__((aligned(WHYLITE_ALIGNMENT)));
  static whylite_device device;
  const uart_config_t settings = {.baud_rate = BAUD,
                                  .data_bits = UART_DATA_8_BITS,
                                  .parity = UART_PARITY_DISABLE,
                                  .stop_bits = UART_STOP_BITS_1,
                                  .flow_ctrl = UART_HW_FLOWCTRL_DISABLE,
                                  .source_clk = UART_SCLK_DEFAULT};
  ESP_ERROR_CHECK(uart_driver_install(LINK, RECEIVED, TO_SEND, 0, NULL, 0));
  ESP_ERROR_CHECK(uart_param_config(LINK, &settings));
  ESP_ERROR_CHECK(uart_set_pin(LINK, TX_PIN, RX_PIN, UART_PIN_NO_CHANGE, UART_PIN_NO_CHANGE));
  if (!whylite_device_start(&device, &whylite_beats, &port, memory, sizeof(memory))) {
    return;
  }
  for (;;) {
    (void)whylite_device_step(&device);
  }
}
