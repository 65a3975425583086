/* Matrix products by CMSIS-NN. They are convolutions of single values there: what it calls fully connected has one
 * factor for all outputs. `bias` has the zero point of the input in it already, as nothing lies beyond an edge. */
#include "whylite_dense.h"

#if WHYLITE_CMSIS_NN

#include "arm_nnfunctions.h"

void whylite_fully_connected(const whylite_dense *p, const int8_t *x, int8_t *y, int8_t *scratch) {
  const cmsis_nn_context context = {.buf = scratch};
  const cmsis_nn_conv_params how = {.output_offset = p->out_zero,
                                    .stride = {.w = 1, .h = 1},
                                    .dilation = {.w = 1, .h = 1},
                                    .activation = {.min = p->lowest, .max = p->highest}};
  const cmsis_nn_per_channel_quant_params factors = {(int32_t *)p->multiplier, (int32_t *)p->shift}; /* only read */
  const cmsis_nn_dims in = {.n = 1, .h = 1, .w = p->rows, .c = p->depth};
  const cmsis_nn_dims window = {.n = p->outputs, .h = 1, .w = 1, .c = p->depth};
  const cmsis_nn_dims bias = {.n = 1, .h = 1, .w = 1, .c = p->outputs};
  const cmsis_nn_dims out = {.n = 1, .h = 1, .w = p->rows, .c = p->outputs};
  if (arm_convolve_1x1_s8_fast(&context, &how, &factors, &in, x, &window, p->weights, &bias, p->bias, &out, y) !=
      ARM_CMSIS_NN_SUCCESS) {
    __builtin_trap(); /* better no answer than a wrong one */
  }
}

#endif
