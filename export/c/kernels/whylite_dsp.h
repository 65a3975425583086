/* What the kernels for the DSP instructions of Armv7E-M and Armv8-M share.
 *
 * SMLAD adds two products of 16 bits, so two multiply-accumulates take one instruction; what costs is to make 16
 * bits of 8. Weights therefore lie in flash as export/c/lowering/packing.py packs them, two output channels in one:
 *
 *     half word = 256 * odd channel's weight + even channel's weight        (a pair of taps is a word)
 *
 * Multiplied as it is, it gives 256 * odd sum + even sum; its low bytes alone, which one SXTB16 cuts out of both
 * halves, give the even sum; the difference is the odd one. It wraps at 2^32 without harm as long as an odd sum is
 * within 2^23: 512 taps at the most are summed at once.
 *
 * Inputs are spread to int16 once, into scratch, and then used for all output channels. Four taps in a row lie in
 * the order in which SXTB16 takes them from a word, 0 2 1 3.
 */
#ifndef WHYLITE_DSP_H
#define WHYLITE_DSP_H

#include "whylite_arithmetic.h"

#if WHYLITE_DSP

/* Sums of four output channels over `count` taps, a multiple of 4: of two windows that lie word by word in turn, and
 * whose sums do so too. `x` and `weights` are aligned to 4 bytes. */
void whylite_dot_2x4(const int8_t *x, const int8_t *weights, int32_t count, int32_t sums[8]);

/* The same of one window. Its sums are put into every other place. */
void whylite_dot_1x4(const int8_t *x, const int8_t *weights, int32_t count, int32_t sums[8]);

/* The same over more than 512 taps, to which these two come by themselves. */
void whylite_dot_long_2x4(const int8_t *x, const int8_t *weights, int32_t count, int32_t sums[8]);
void whylite_dot_long_1x4(const int8_t *x, const int8_t *weights, int32_t count, int32_t sums[8]);

/* Bytes 0 and 2 of a word as int16. */
static inline uint32_t whylite_even(uint32_t word) {
  uint32_t spread;
  __asm("sxtb16 %0, %1" : "=r"(spread) : "r"(word));
  return spread;
}

/* Bytes 1 and 3 of a word as int16. */
static inline uint32_t whylite_odd(uint32_t word) {
  uint32_t spread;
  __asm("sxtb16 %0, %1, ror #8" : "=r"(spread) : "r"(word));
  return spread;
}

/* The lower halves of two words, and their upper halves. */
static inline uint32_t whylite_lower(uint32_t a, uint32_t b) {
  uint32_t halves;
  __asm("pkhbt %0, %1, %2, lsl #16" : "=r"(halves) : "r"(a), "r"(b));
  return halves;
}

static inline uint32_t whylite_upper(uint32_t a, uint32_t b) {
  uint32_t halves;
  __asm("pkhtb %0, %1, %2, asr #16" : "=r"(halves) : "r"(b), "r"(a));
  return halves;
}

/* Sums of four channels over `count` pairs of taps, for which `x` and `weights` have a word for each channel in
 * turn. The sums are put into every other place. */
void whylite_dot_columns(const int8_t *x, const int8_t *weights, int32_t count, int32_t *sums);

/* What sums become, for output channels in figures of their own (packing.py): the bias is doubled, and for the shift
 * there is how often a result is halved before the last time, which rounds, from 0 to 21. A channel that this does
 * not fit, be it that twice its sum may be more than 32 bits, has its bias as it is and its shift less
 * WHYLITE_SHIFT_APART, negative. */
typedef struct {
  const int32_t *bias, *multiplier;
  const int8_t *shift;
  int32_t zero;             /* twice the output's zero point, and 1: half of what the last halving cuts off */
  uint32_t lowest, highest; /* four times the same byte */
} whylite_outputs;

#define WHYLITE_SHIFT_APART 64

static inline whylite_outputs whylite_outputs_of(const int32_t *bias, const int32_t *multiplier, const int8_t *shift,
                                                 int16_t zero, int16_t lowest, int16_t highest) {
  const whylite_outputs outputs = {bias, multiplier, shift, 2 * zero + 1, (uint8_t)lowest * 0x01010101u,
                                   (uint8_t)highest * 0x01010101u};
  return outputs;
}

/* Sums as outputs, scaled, shifted and clamped: four channels from `first` on. For two windows, with both sums of a
 * channel next to each other; the second window's outputs are the upper word. */
uint64_t whylite_quantise_2x4(const int32_t sums[8], const whylite_outputs *to, int32_t first);

/* The same for channels that the figures do not fit. */
uint64_t whylite_careful_2x4(const int32_t sums[8], const whylite_outputs *to, int32_t first);

static inline uint32_t whylite_get_word(const int8_t *from) {
  uint32_t word;
  __builtin_memcpy(&word, from, sizeof word);
  return word;
}

static inline void whylite_put_word(int8_t *to, uint32_t word) {
  __builtin_memcpy(to, &word, sizeof word);
}

/* The first `count` bytes, or four if there are more, and zeros. */
static inline uint32_t whylite_get_bytes(const int8_t *from, int32_t count) {
  if (count >= 4) {
    return whylite_get_word(from);
  }
  uint32_t word = (uint8_t)from[0];
  if (count > 1) {
    word |= (uint32_t)(uint8_t)from[1] << 8;
  }
  if (count > 2) {
    word |= (uint32_t)(uint8_t)from[2] << 16;
  }
  return word;
}

/* Write the first `count` bytes of a word, 1 to 4. */
static inline void whylite_put_bytes(int8_t *to, uint32_t word, int32_t count) {
  if (count >= 4) {
    whylite_put_word(to, word);
    return;
  }
  for (; count > 0; count--, word >>= 8) {
    *to++ = (int8_t)word;
  }
}

#endif
#endif
