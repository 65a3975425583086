#include "whylite_gate.h"

#include "whylite_arithmetic.h"

#if WHYLITE_DSP || WHYLITE_MVE

/* For each of four values its byte of `bits` if it is above -128, else 0. */
static inline uint32_t chosen(const int8_t *x, uint32_t bits) {
  uint32_t found;
  __asm("ssub8 %0, %1, %2\n\tsel %0, %3, %4"
        : "=&r"(found)
        : "r"(whylite_get_int32(x)), "r"(0x81818181u), "r"(bits), "r"(0)
        : "cc");
  return found;
}

/* Bits of eight values: four bytes, with two bits each, are summed. */
static inline uint32_t above_lowest(const int8_t *x) {
  uint32_t sum;
  __asm("usad8 %0, %1, %2" : "=r"(sum) : "r"(chosen(x, 0x08040201u) | chosen(x + 4, 0x80402010u)), "r"(0));
  return sum;
}

#else

/* Bits of four values that are above -128: a byte of 0x80 in a word is one that is not. */
static inline uint32_t four_above_lowest(const int8_t *x) {
  const uint32_t four = (uint32_t)whylite_get_int32(x) ^ 0x80808080u;
  const uint32_t above = (((four & 0x7F7F7F7Fu) + 0x7F7F7F7Fu) | four) & 0x80808080u;
  return ((above >> 7) * 0x01020408u >> 24) & 15u;
}

static inline uint32_t above_lowest(const int8_t *x) {
  return four_above_lowest(x) | four_above_lowest(x + 4) << 4;
}

#endif

/* A byte of ones for each of four bits that is set. */
static inline uint32_t spread(uint32_t bits) {
  return ((bits & 15u) * 0x00204081u & 0x01010101u) * 255u;
}

#define LITTLE_ENDIAN_WORDS (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)

void whylite_pack(const int8_t *x, int8_t *bits, int32_t count) {
  int32_t i = 0;
#if LITTLE_ENDIAN_WORDS
  for (; i + 8 <= count; i += 8) {
    *bits++ = (int8_t)(uint8_t)above_lowest(x + i);
  }
#endif
  while (i < count) {
    uint32_t eight = 0;
    for (int32_t place = 0; place < 8 && i < count; place++, i++) {
      eight |= (x[i] > INT8_MIN ? 1u : 0u) << place;
    }
    *bits++ = (int8_t)(uint8_t)eight;
  }
}

/* What passes of so many values, whose bits begin in a byte of their own. */
static void pass(const int8_t *table, const int8_t *x, const int8_t *bits, int8_t *y, int32_t count) {
  int32_t i = 0;
#if LITTLE_ENDIAN_WORDS
  for (; table == NULL && i + 8 <= count; i += 8) {
    const uint32_t eight = (uint8_t)bits[i / 8];
    whylite_put_int32(y + i, (int32_t)((uint32_t)whylite_get_int32(x + i) & spread(eight)));
    whylite_put_int32(y + i + 4, (int32_t)((uint32_t)whylite_get_int32(x + i + 4) & spread(eight >> 4)));
  }
#endif
  while (i < count) {
    for (uint32_t eight = (uint8_t)bits[i / 8], place = 0; place < 8 && i < count; place++, i++, eight >>= 1) {
      y[i] = (int8_t)((table == NULL ? x[i] : table[(uint8_t)x[i]]) & -(int32_t)(eight & 1u));
    }
  }
}

void whylite_gate(const int8_t *table, const int8_t *x, int32_t period, const int8_t *bits, int8_t *y, int32_t count) {
  for (int32_t begin = 0; begin < count; begin += period) {
    pass(table, x, bits + begin / 8, y + begin, period);
  }
}
