/* What a model compiled by WhyLite offers to the program around it.
 *
 * A generated whylite_<name>.h declares one `whylite_model`. It keeps no state: all it writes lies in an arena that the
 * caller owns, of `arena_size` bytes, aligned to WHYLITE_ALIGNMENT, so that several models, or several copies of one,
 * can run beside each other or one after another in the same memory. Nothing is allocated and no libc is needed.
 *
 *     static int8_t arena[WHYLITE_BEATS_ARENA_SIZE] __attribute__((aligned(WHYLITE_ALIGNMENT)));
 *     ... write the window to arena + whylite_beats.input.offset ...
 *     whylite_beats.predict(arena);
 *     whylite_beats.explanations[0].run(arena, WHYLITE_PREDICTED);
 */
#ifndef WHYLITE_H
#define WHYLITE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of what this file declares: firmware that was written for another one does not compile. */
#define WHYLITE_INTERFACE 4

#define WHYLITE_ALIGNMENT 16
#define WHYLITE_DIMENSIONS 4

/* With -DWHYLITE_CMSIS_NN convolutions and matrix products are CMSIS-NN's, which has to be compiled or linked with the
 * model, under the same option: arenas are larger then, by what it asks for. */
#ifndef WHYLITE_CMSIS_NN
#define WHYLITE_CMSIS_NN 0
#endif

/* In place of a class index: explain the class that was predicted. */
#define WHYLITE_PREDICTED (-1)

typedef enum { WHYLITE_INT8, WHYLITE_UINT8, WHYLITE_INT32, WHYLITE_FLOAT32 } whylite_type;

/* A tensor in the arena; its real values are scale * (stored - zero_point). The shape is that of one input, without the
 * batch; `rank` may be 0. */
typedef struct {
  uint32_t offset; /* bytes from the start of the arena, a multiple of 4 */
  uint32_t size;   /* bytes */
  float scale;
  int32_t zero_point;
  whylite_type type;
  uint8_t rank;
  uint16_t shape[WHYLITE_DIMENSIONS];
} whylite_tensor;

/* One way to explain an answer. `run` wants the arena as `predict` left it, gives the map of a class, and may destroy
 * what other explanations need: predict again before the next one. It runs nothing but what the explanation adds.
 *
 * Where `steps` is 0 the map is the explanation. Else it is the gradient of the class's logit at the input, the one
 * step of Integrated Gradients: whylite_integrate (whylite_integrate.h) repeats it at `steps` points on the way from
 * `baseline`, `node` [Q15] of the way each, weighted with `weight` [Q15]. */
typedef struct {
  const char *method;
  const char *layer;
  whylite_tensor map;
  void (*run)(int8_t *arena, int32_t class_index);
  uint16_t flags; /* what a reader of any of its maps must know: docs/wire.md, MAP */
  uint16_t steps;
  const uint16_t *node;
  const uint16_t *weight;
  const int8_t *baseline;       /* as the input is stored */
  const float *baseline_logits; /* of all classes there; int8 may cut off its own */
  const float *units;           /* a real value of the map times its class's entry is in the method's unit, or NULL */
} whylite_explanation;

typedef struct {
  const char *name;
  const uint8_t *digest; /* SHA-256 of the .tflite that this was made of, 32 bytes */
  uint32_t arena_size;
  whylite_tensor input;  /* to be written before `predict`, which may destroy it */
  whylite_tensor scores; /* there after `predict`, until the next one */
  whylite_tensor logits; /* the same; the scores themselves where no softmax was found */
  void (*predict)(int8_t *arena);
  const whylite_explanation *explanations;
  const char *const *labels; /* as many as there are classes, or NULL */
  uint16_t label_count;
  uint16_t operations; /* calls of kernels, predicting and explaining: what WHYLITE_OPERATION counts */
  uint8_t explanation_count;
  uint8_t yes_no; /* 1: the one score, a sigmoid's, is that of class 1, and class 0 has what is left of 1; else 0 */
} whylite_model;

/* With -DWHYLITE_PROFILE generated code calls whylite_operation(i) after kernel call i of the table in the bundle, for
 * the program around it to read a counter; without it nothing is called. */
#ifdef WHYLITE_PROFILE
void whylite_operation(uint16_t index);
#define WHYLITE_OPERATION(index) whylite_operation(index)
#else
#define WHYLITE_OPERATION(index) ((void)0)
#endif

#ifdef __cplusplus
}
#endif

#endif
