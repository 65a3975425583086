#include "whylite_dense.h"
#include "whylite_mve.h"

#if WHYLITE_MVE && !WHYLITE_CMSIS_NN

/* Sums of products of two rows, x and y, with the weights of two outputs, v and w: four times 16 on four loads. */
typedef struct {
  int32_t xv, xw, yv, yw;
} sums;

static inline sums dot_2x2(const int8_t *x, const int8_t *y, const int8_t *v, const int8_t *w, int32_t depth) {
  sums s = {0, 0, 0, 0};
  __asm volatile(
      "dlstp.8 lr, %[depth]\n"
      "1:\n"
      "vldrb.8 q0, [%[x]], #16\n"
      "vldrb.8 q1, [%[v]], #16\n"
      "vmladava.s8 %[xv], q0, q1\n"
      "vldrb.8 q2, [%[w]], #16\n"
      "vmladava.s8 %[xw], q0, q2\n"
      "vldrb.8 q3, [%[y]], #16\n"
      "vmladava.s8 %[yv], q3, q1\n"
      "vmladava.s8 %[yw], q3, q2\n"
      "letp lr, 1b\n"
      : [x] "+r"(x), [y] "+r"(y), [v] "+r"(v), [w] "+r"(w), [xv] "+Te"(s.xv), [xw] "+Te"(s.xw), [yv] "+Te"(s.yv),
        [yw] "+Te"(s.yw)
      : [depth] "r"(depth)
      : "q0", "q1", "q2", "q3", "lr", "memory");
  return s;
}

/* How four outputs are scaled, and which of them there are. */
typedef struct {
  int32x4_t bias, multiplier, shift;
  mve_pred16_t there;
} scaling;

static inline void put(const whylite_dense *p, const scaling *s, int32x4_t sum, int8_t *y) {
  const int32x4_t scaled = whylite_scale_4(vaddq_s32(sum, s->bias), s->multiplier, s->shift);
  vstrbq_p_s32(y, whylite_clamp_4(vaddq_n_s32(scaled, p->out_zero), p->lowest, p->highest), s->there);
}

/* All rows of four outputs, or of the last ones: what is beyond them has the last one's weights then, not kept. */
static void four(const whylite_dense *p, int32_t first, const int8_t *x, int8_t *y) {
  const int32_t depth = p->depth;
  const int32_t left = p->outputs - first;
  const mve_pred16_t there = vctp32q((uint32_t)left);
  const scaling s = {vldrwq_s32(p->bias + first), vldrwq_s32(p->multiplier + first), vldrbq_s32(p->shift + first),
                     there};
  const int8_t *w0 = p->weights + first * depth;
  const int8_t *w1 = left > 1 ? w0 + depth : w0;
  const int8_t *w2 = left > 2 ? w1 + depth : w1;
  const int8_t *w3 = left > 3 ? w2 + depth : w2;
  int32_t rows = p->rows;
  for (; rows > 1; rows -= 2, x += 2 * depth, y += 2 * p->outputs) {
    const sums even = dot_2x2(x, x + depth, w0, w2, depth);
    const sums odd = dot_2x2(x, x + depth, w1, w3, depth);
    put(p, &s, whylite_lanes(even.xv, even.xw, odd.xv, odd.xw), y);
    put(p, &s, whylite_lanes(even.yv, even.yw, odd.yv, odd.yw), y + p->outputs);
  }
  if (rows > 0) {
    put(p, &s, whylite_dot_1x4_mve(x, w0, w1, w2, w3, depth), y);
  }
}

void whylite_fully_connected(const whylite_dense *p, const int8_t *x, int8_t *y, int8_t *scratch) {
  (void)scratch;
  for (int32_t first = 0; first < p->outputs; first += 4) {
    four(p, first, x, y + first);
  }
}

#endif
