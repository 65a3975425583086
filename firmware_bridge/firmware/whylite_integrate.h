/* Integrated Gradients on the board: the gradient at points on the way from a baseline to the window, one at a time.
 *
 *     attribution = (x - baseline) * sum over steps of weight * gradient(baseline + node * (x - baseline))
 *
 * (Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365), with nodes and weights in 1/32768 and sums in int32, so
 * that nothing but the end result needs floats. Call start, then step until it returns false, then finish.
 */
#ifndef WHYLITE_INTEGRATE_H
#define WHYLITE_INTEGRATE_H

#include <stdbool.h>

#include "whylite.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of `sums` for an input of so many bytes. */
#define WHYLITE_SUMS_SIZE(input_size) (4u * (input_size))

typedef struct {
  const whylite_model *model;
  const whylite_explanation *explanation;
  int8_t *arena;
  const int8_t *window;
  int32_t *sums;
  int32_t class_index;
  uint32_t steps; /* taken */
  float logit;    /* of the class, at the window */
  bool cut_off;   /* it is at an end of its int8 range, beyond which it cannot be */
} whylite_integral;

/* An attribution: `tensor` says how `values`, which take the place of the sums, are stored, in logits. `residual` is
 * f(x) - f(baseline) - sum, and `change` f(x) - f(baseline): of neither is anything known where f(x) is `cut_off`. */
typedef struct {
  whylite_tensor tensor;
  const int8_t *values;
  float residual;
  float change;
  bool cut_off;
} whylite_attribution;

/* Begin with the arena as `predict` left it for the window. */
void whylite_integrate_start(whylite_integral *integral, const whylite_model *model,
                             const whylite_explanation *explanation, int8_t *arena, const int8_t *window, int32_t *sums,
                             int32_t class_index);

/* Take one step, a prediction and its gradient; return whether there is another one. */
bool whylite_integrate_step(whylite_integral *integral);

/* Give the attribution. */
void whylite_integrate_finish(whylite_integral *integral, whylite_attribution *attribution);

#ifdef __cplusplus
}
#endif

#endif
