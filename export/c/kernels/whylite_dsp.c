#include "whylite_dsp.h"

#if WHYLITE_DSP

/* Assembly, as it wants every register there is: eight sums, two pointers, two words of weights and two of inputs. A
 * naked function has its arguments where the calling convention puts them; `used` keeps compilers from moving them. */
#define ASSEMBLY __attribute__((naked, noinline, used))
#define FOR_ASSEMBLY __attribute__((unused))
#define FROM_ASSEMBLY __attribute__((used))

/* Two taps of two windows and four channels: 16 multiply-accumulates in 12 instructions. */
#define PAIR_2X4 \
  "ldrd r2, r3, [r1], #8\n" \
  "ldrd r12, lr, [r0], #8\n" \
  "smlad r4, r2, r12, r4\n" \
  "smlad r5, r3, r12, r5\n" \
  "smlad r6, r2, lr, r6\n" \
  "smlad r7, r3, lr, r7\n" \
  "sxtb16 r2, r2\n" \
  "sxtb16 r3, r3\n" \
  "smlad r8, r2, r12, r8\n" \
  "smlad r9, r3, r12, r9\n" \
  "smlad r10, r2, lr, r10\n" \
  "smlad r11, r3, lr, r11\n"

ASSEMBLY void whylite_dot_2x4(FOR_ASSEMBLY const int8_t *x, FOR_ASSEMBLY const int8_t *weights,
                              FOR_ASSEMBLY int32_t count, FOR_ASSEMBLY int32_t sums[8]) {
  __asm volatile(
      "cmp r2, #512\n"
      "it gt\n"
      "bgt whylite_dot_long_2x4\n"
      "push {r2-r11, lr}\n"
      "lsls r4, r2, #29\n" /* an odd number of fours goes in halfway */
      "add r2, r0, r2, lsl #2\n"
      "str r2, [sp]\n"
      "mov r4, #0\n"
      "mov r5, r4\n"
      "mov r6, r4\n"
      "mov r7, r4\n"
      "mov r8, r4\n"
      "mov r9, r4\n"
      "mov r10, r4\n"
      "mov r11, r4\n"
      "bmi 2f\n"
      "1:\n" PAIR_2X4 PAIR_2X4 "2:\n" PAIR_2X4 PAIR_2X4
      "ldr r2, [sp]\n"
      "cmp r0, r2\n"
      "blo 1b\n"
      "ldr r0, [sp, #4]\n"
      "subs r4, r4, r8\n"
      "subs r5, r5, r9\n"
      "subs r6, r6, r10\n"
      "subs r7, r7, r11\n"
      "asrs r1, r4, #8\n"
      "asrs r3, r5, #8\n"
      "asrs r6, r6, #8\n"
      "asrs r7, r7, #8\n"
      "strd r8, r10, [r0]\n"
      "strd r1, r6, [r0, #8]\n"
      "strd r9, r11, [r0, #16]\n"
      "strd r3, r7, [r0, #24]\n"
      "pop {r2-r11, pc}\n");
}

#define PAIR_1X4 \
  "ldrd r2, r3, [r1], #8\n" \
  "ldr r12, [r0], #4\n" \
  "smlad r4, r2, r12, r4\n" \
  "smlad r5, r3, r12, r5\n" \
  "sxtb16 r2, r2\n" \
  "sxtb16 r3, r3\n" \
  "smlad r6, r2, r12, r6\n" \
  "smlad r7, r3, r12, r7\n"

ASSEMBLY void whylite_dot_1x4(FOR_ASSEMBLY const int8_t *x, FOR_ASSEMBLY const int8_t *weights,
                              FOR_ASSEMBLY int32_t count, FOR_ASSEMBLY int32_t sums[8]) {
  __asm volatile(
      "cmp r2, #512\n"
      "it gt\n"
      "bgt whylite_dot_long_1x4\n"
      "push {r3-r8, lr}\n"
      "add lr, r0, r2, lsl #1\n"
      "lsls r4, r2, #29\n"
      "mov r4, #0\n"
      "mov r5, r4\n"
      "mov r6, r4\n"
      "mov r7, r4\n"
      "bmi 2f\n"
      "1:\n" PAIR_1X4 PAIR_1X4 "2:\n" PAIR_1X4 PAIR_1X4
      "cmp r0, lr\n"
      "blo 1b\n"
      "ldr r0, [sp]\n"
      "subs r4, r4, r6\n"
      "subs r5, r5, r7\n"
      "asrs r4, r4, #8\n"
      "asrs r5, r5, #8\n"
      "str r6, [r0]\n"
      "str r4, [r0, #8]\n"
      "str r7, [r0, #16]\n"
      "str r5, [r0, #24]\n"
      "pop {r3-r8, pc}\n");
}

#define PAIR_COLUMNS \
  "ldm r0!, {r2-r5}\n" \
  "ldm r1!, {r6-r9}\n" \
  "smlad r10, r2, r6, r10\n" \
  "smlad r11, r3, r7, r11\n" \
  "smlad r12, r4, r8, r12\n" \
  "smlad lr, r5, r9, lr\n"

ASSEMBLY void whylite_dot_columns(FOR_ASSEMBLY const int8_t *x, FOR_ASSEMBLY const int8_t *weights,
                                  FOR_ASSEMBLY int32_t count, FOR_ASSEMBLY int32_t *sums) {
  __asm volatile(
      "push {r2-r11, lr}\n"
      "mov r10, #0\n"
      "mov r11, r10\n"
      "mov r12, r10\n"
      "mov lr, r10\n"
      "add r3, r0, r2, lsl #4\n"
      "str r3, [sp]\n"
      "lsls r2, r2, #31\n" /* an odd number goes in halfway */
      "bmi 2f\n"
      "1:\n" PAIR_COLUMNS "2:\n" PAIR_COLUMNS
      "ldr r2, [sp]\n"
      "cmp r0, r2\n"
      "blo 1b\n"
      "ldr r0, [sp, #4]\n"
      "str r10, [r0]\n"
      "str r11, [r0, #8]\n"
      "str r12, [r0, #16]\n"
      "str lr, [r0, #24]\n"
      "pop {r2-r11, pc}\n");
}

#define AT_ONCE 512

FROM_ASSEMBLY void whylite_dot_long_2x4(const int8_t *x, const int8_t *weights, int32_t count, int32_t sums[8]) {
  whylite_dot_2x4(x, weights, AT_ONCE, sums);
  while ((count -= AT_ONCE) > 0) {
    int32_t more[8];
    x += 4 * AT_ONCE;
    weights += 4 * AT_ONCE;
    whylite_dot_2x4(x, weights, count < AT_ONCE ? count : AT_ONCE, more);
    for (int32_t i = 0; i < 8; i++) {
      sums[i] += more[i];
    }
  }
}

FROM_ASSEMBLY void whylite_dot_long_1x4(const int8_t *x, const int8_t *weights, int32_t count, int32_t sums[8]) {
  whylite_dot_1x4(x, weights, AT_ONCE, sums);
  while ((count -= AT_ONCE) > 0) {
    int32_t more[8];
    x += 2 * AT_ONCE;
    weights += 4 * AT_ONCE;
    whylite_dot_1x4(x, weights, count < AT_ONCE ? count : AT_ONCE, more);
    for (int32_t i = 0; i < 8; i += 2) {
      sums[i] += more[i];
    }
  }
}

/* One output by whylite_scale, whichever way its channel is given. */
static uint32_t careful(const whylite_outputs *to, int32_t c, int32_t sum) {
  const int32_t apart = to->shift[c] < 0;
  const int32_t shift = apart ? to->shift[c] + WHYLITE_SHIFT_APART : -1 - to->shift[c];
  const int32_t bias = apart ? to->bias[c] : to->bias[c] / 2;
  const int32_t scaled = whylite_scale(sum + bias, to->multiplier[c], shift) + (to->zero >> 1);
  return (uint8_t)whylite_clamp(scaled, (int8_t)to->lowest, (int8_t)to->highest);
}

/* Four outputs of one window. */
static uint32_t careful_4(const whylite_outputs *to, int32_t first, const int32_t *sums) {
  uint32_t word = 0;
  for (int32_t i = 0; i < 4; i++) {
    word |= careful(to, first + i, sums[2 * i]) << (8 * i);
  }
  return word;
}

FROM_ASSEMBLY uint64_t whylite_careful_2x4(const int32_t sums[8], const whylite_outputs *to, int32_t first) {
  return (uint64_t)careful_4(to, first, sums + 1) << 32 | careful_4(to, first, sums);
}

/* Four shifts as r3, or on to the careful function if one of them is negative; then twice the zero point and 1 as
 * r4, the bias and the multipliers at r1 and r2. */
#define FIGURES(careful) \
  "ldr r3, [r1, #8]\n" \
  "ldr r3, [r3, r2]\n" \
  "tst r3, #0x80808080\n" \
  "it ne\n" \
  "bne " careful "\n" \
  "push {r1, r4-r11, lr}\n" \
  "ldr r4, [r1, #12]\n" \
  "ldrd r1, r5, [r1]\n" \
  "add r1, r1, r2, lsl #2\n" \
  "add r2, r5, r2, lsl #2\n"

/* The product of r8 with a multiplier: SMMLAR adds its upper half, rounded, to the zero point and the half in r5,
 * which are moved up as far as the shift in r10 brings all of it down again. A negative value is one less before, so
 * that halves go away from zero; the sum's own sign will do for that, as a product that rounds to 0 stays 0. */
#define SCALE(sum, multiplier, spare) \
  "add " spare ", r5, " sum ", asr #31\n" \
  "smmlar " sum ", " sum ", " multiplier ", " spare "\n" \
  "asr " sum ", " sum ", r10\n" \
  "ssat " sum ", #8, " sum ", asr #1\n"

/* One channel of two windows, as a byte of r12 and of lr. */
#define CHANNEL_2(multiplier, bit) \
  "ldrd r8, r9, [r0], #8\n" \
  "ldr r5, [r1], #4\n" \
  "ubfx r10, r3, #" bit ", #8\n" \
  "add r8, r5, r8, lsl #1\n" \
  "add r9, r5, r9, lsl #1\n" \
  "lsl r5, r4, r10\n" SCALE("r8", multiplier, "r11") SCALE("r9", multiplier, "r5") \
  "bfi r12, r8, #" bit ", #8\n" \
  "bfi lr, r9, #" bit ", #8\n"

/* No byte of a word less than that of r5, or more than that of r6. */
#define CLAMP(to, word) \
  "ssub8 r7, " word ", r5\n" \
  "sel " word ", " word ", r5\n" \
  "ssub8 r7, r6, " word "\n" \
  "sel " to ", " word ", r6\n"

ASSEMBLY uint64_t whylite_quantise_2x4(FOR_ASSEMBLY const int32_t sums[8], FOR_ASSEMBLY const whylite_outputs *to,
                                       FOR_ASSEMBLY int32_t first) {
  __asm volatile(FIGURES("whylite_careful_2x4")
                 "ldrd r6, r7, [r2]\n" CHANNEL_2("r6", "0") CHANNEL_2("r7", "8")
                 "ldrd r6, r7, [r2, #8]\n" CHANNEL_2("r6", "16") CHANNEL_2("r7", "24")
                 "ldr r4, [sp]\n"
                 "ldrd r5, r6, [r4, #16]\n" CLAMP("r0", "r12") CLAMP("r1", "lr")
                 "add sp, #4\n"
                 "pop {r4-r11, pc}\n");
}

#endif
