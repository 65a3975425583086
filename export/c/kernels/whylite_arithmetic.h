/* Fixed-point arithmetic of TensorFlow Lite's int8 kernels, bit for bit.
 *
 * Shifting a negative number to the right is left to compilers by C11; all that build for Arm, x86 and RISC-V shift in
 * the sign, which is relied on here.
 */
#ifndef WHYLITE_ARITHMETIC_H
#define WHYLITE_ARITHMETIC_H

#include <stddef.h>
#include <stdint.h>

#include "whylite.h"

/* Constants and buffers are read a word at a time where a processor can do so. */
#define WHYLITE_ALIGNED __attribute__((aligned(4)))

/* For inner loops: as functions of their own they have all registers, and are there once. */
#define WHYLITE_APART __attribute__((noinline))

/* Which instruction set kernels are written for: chosen by the compiler's target, portable C on request. */
#if !defined(WHYLITE_PORTABLE)
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#define WHYLITE_MVE 1
#elif defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_SIMD32)
#define WHYLITE_DSP 1
#endif
#endif
#ifndef WHYLITE_MVE
#define WHYLITE_MVE 0
#endif
#ifndef WHYLITE_DSP
#define WHYLITE_DSP 0
#endif

/* Whether weights, biases and shifts are packed for DSP instructions; what CMSIS-NN reads is not. */
#define WHYLITE_PACKED (WHYLITE_DSP && !WHYLITE_CMSIS_NN)

/* What CMSIS-NN wants shifts as, for it is given the figures where they are. */
#if WHYLITE_CMSIS_NN
typedef int32_t whylite_shift;
#else
typedef int8_t whylite_shift;
#endif

/* a * b / 2^31, rounded to nearest, halves up (gemmlowp's SaturatingRoundingDoublingHighMul; b is not INT32_MIN). */
static inline int32_t whylite_high_product(int32_t a, int32_t b) {
#if defined(__ARM_ARCH_6M__)
  /* Armv6-M multiplies 32 bits to 32, and calls a function for 64: halves are half as long. */
  const uint32_t a_low = (uint32_t)a & 0xFFFFu, b_low = (uint32_t)b & 0xFFFFu;
  const int32_t a_high = a >> 16, b_high = b >> 16;
  const uint32_t low = a_low * b_low;
  const int32_t left = a_high * (int32_t)b_low, right = (int32_t)a_low * b_high;
  const uint32_t middle = (low >> 16) + ((uint32_t)left & 0xFFFFu) + ((uint32_t)right & 0xFFFFu) + (1u << 14);
  const int32_t high = a_high * b_high + (left >> 16) + (right >> 16) + (int32_t)(middle >> 16);
  return (int32_t)((uint32_t)high << 1 | (middle >> 15 & 1u));
#else
  return (int32_t)(((int64_t)a * b + (INT64_C(1) << 30)) >> 31);
#endif
}

/* x / 2^exponent for an exponent of 0 to 31, rounded to nearest, halves away from zero (gemmlowp's
 * RoundingDivideByPOT). */
static inline int32_t whylite_halve(int32_t x, int32_t exponent) {
  const int32_t mask = (int32_t)((UINT32_C(1) << exponent) - 1U);
  const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
  return (x >> exponent) + ((x & mask) > threshold ? 1 : 0);
}

/* x * multiplier * 2^(shift - 31), rounded twice (TensorFlow Lite's MultiplyByQuantizedMultiplier). */
static inline int32_t whylite_scale(int32_t x, int32_t multiplier, int32_t shift) {
  const int32_t left = shift > 0 ? shift : 0;
  const int32_t right = shift > 0 ? 0 : -shift;
  return whylite_halve(whylite_high_product((int32_t)((uint32_t)x << left), multiplier), right);
}

static inline int8_t whylite_clamp(int32_t x, int32_t lowest, int32_t highest) {
  return (int8_t)(x < lowest ? lowest : (x > highest ? highest : x));
}

/* int32 in the arena, which is made of bytes; tensors are aligned in it, so that this is one instruction. */
static inline int32_t whylite_get_int32(const int8_t *from) {
  int32_t value;
  __builtin_memcpy(&value, __builtin_assume_aligned(from, 4), sizeof value);
  return value;
}

static inline void whylite_put_int32(int8_t *to, int32_t value) {
  __builtin_memcpy(__builtin_assume_aligned(to, 4), &value, sizeof value);
}

#endif
