/* NOT COMPILED in this project, whose tests have no Arduino core: written against the Arduino language reference.
 *
 * WhyLite as an Arduino sketch, for 32-bit boards such as the Nano 33 BLE: put the firmware's whylite_*.c and *.h and
 * the model's beside it. The core receives by interrupt (or USB) into a ring of its own, often of 64 bytes only: where
 * windows come from the host, enlarge that to 600. Nothing else may print to Serial; whylite_device_log tells people
 * something.
 */
#include "whylite_beats.h"
#include "whylite_device.h"

static int8_t memory[WHYLITE_MODEL_MEMORY(WHYLITE_BEATS)] __attribute__((aligned(WHYLITE_ALIGNMENT)));
static whylite_device device;
static whylite_port port;

static uint32_t writeBytes(void *, const uint8_t *data, uint32_t size) {
  const int room = Serial.availableForWrite();
  if (room <= 0) {
    return 0;
  }
  return Serial.write(data, size < (uint32_t)room ? size : (uint32_t)room);
}

static uint32_t readBytes(void *, uint8_t *data, uint32_t size) {
  uint32_t given = 0;
  while (given < size && Serial.available() > 0) {
    data[given++] = (uint8_t)Serial.read();
  }
  return given;
}

static uint32_t ticks(void *) { return micros(); }

/* An open analog pin picks up noise; where the board has a random number generator, take that. */
static void identify(void *, uint8_t session[8]) {
  for (int i = 0; i < 8; i++) {
    session[i] = (uint8_t)(analogRead(A0) * 31 + micros());
    delayMicroseconds(100 + analogRead(A0) % 100);
  }
}

void setup() {
  Serial.begin(921600);
  port.write = writeBytes;
  port.read = readBytes;
  port.ticks = ticks;
  port.identify = identify;
  port.clock_hz = 1000000;
  port.board = "Arduino Nano 33 BLE";
  port.clock = "micros";
  while (!whylite_device_start(&device, &whylite_beats, &port, memory, sizeof memory)) {
    delay(1000);
  }
}

void loop() { whylite_device_step(&device); }
