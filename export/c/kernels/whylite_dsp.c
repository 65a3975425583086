#include "whylite_dsp.h"

#if WHYLITE_DSP

/* Assembly, as it wants every register there is: eight sums, two pointers, two words of weights and two of inputs. A
 * naked function has its arguments where the calling convention puts them; `used` keeps compilers from moving them. */
#define ASSEMBLY __attribute__((naked, noinline, used))
#define FOR_ASSEMBLY __attribute__((unused))

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

ASSEMBLY static void dot_2x4(FOR_ASSEMBLY const int8_t *x, FOR_ASSEMBLY const int8_t *weights,
                             FOR_ASSEMBLY const int8_t *end, FOR_ASSEMBLY int32_t *sums) {
  __asm volatile(
      "push {r2-r11, lr}\n"
      "movs r4, #0\n"
      "movs r5, #0\n"
      "movs r6, #0\n"
      "movs r7, #0\n"
      "mov r8, r4\n"
      "mov r9, r4\n"
      "mov r10, r4\n"
      "mov r11, r4\n"
      "subs r2, r2, r0\n"
      "lsls r2, r2, #27\n" /* an odd number of fours: 16 bytes each */
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
      "mov r2, r9\n"
      "strd r8, r1, [r0]\n"
      "strd r2, r3, [r0, #8]\n"
      "asrs r1, r6, #8\n"
      "asrs r3, r7, #8\n"
      "strd r10, r1, [r0, #16]\n"
      "strd r11, r3, [r0, #24]\n"
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

ASSEMBLY static void dot_1x4(FOR_ASSEMBLY const int8_t *x, FOR_ASSEMBLY const int8_t *weights,
                             FOR_ASSEMBLY const int8_t *end, FOR_ASSEMBLY int32_t *sums) {
  __asm volatile(
      "push {r3-r8, lr}\n"
      "mov lr, r2\n"
      "movs r4, #0\n"
      "movs r5, #0\n"
      "movs r6, #0\n"
      "movs r7, #0\n"
      "subs r2, r2, r0\n"
      "lsls r2, r2, #28\n" /* an odd number of fours: 8 bytes each */
      "bmi 2f\n"
      "1:\n" PAIR_1X4 PAIR_1X4 "2:\n" PAIR_1X4 PAIR_1X4
      "cmp r0, lr\n"
      "blo 1b\n"
      "ldr r0, [sp]\n"
      "subs r4, r4, r6\n"
      "subs r5, r5, r7\n"
      "asrs r4, r4, #8\n"
      "asrs r5, r5, #8\n"
      "strd r6, r4, [r0]\n"
      "strd r7, r5, [r0, #8]\n"
      "pop {r3-r8, pc}\n");
}

#define AT_ONCE 512

void whylite_dot_2x4(const int8_t *x, const int8_t *weights, int32_t count, int32_t sums[8]) {
  int32_t taps = count > AT_ONCE ? AT_ONCE : count;
  dot_2x4(x, weights, x + 4 * taps, sums);
  while ((count -= taps) > 0) {
    int32_t more[8];
    x += 4 * taps;
    weights += 4 * taps;
    taps = count > AT_ONCE ? AT_ONCE : count;
    dot_2x4(x, weights, x + 4 * taps, more);
    for (int32_t i = 0; i < 8; i++) {
      sums[i] += more[i];
    }
  }
}

void whylite_dot_1x4(const int8_t *x, const int8_t *weights, int32_t count, int32_t sums[4]) {
  int32_t taps = count > AT_ONCE ? AT_ONCE : count;
  dot_1x4(x, weights, x + 2 * taps, sums);
  while ((count -= taps) > 0) {
    int32_t more[4];
    x += 2 * taps;
    weights += 4 * taps;
    taps = count > AT_ONCE ? AT_ONCE : count;
    dot_1x4(x, weights, x + 2 * taps, more);
    for (int32_t i = 0; i < 4; i++) {
      sums[i] += more[i];
    }
  }
}

#endif
