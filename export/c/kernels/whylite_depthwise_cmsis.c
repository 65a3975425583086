/* Depthwise convolution by CMSIS-NN, which picks a kernel for the shape. */
#include "whylite_depthwise.h"

#if WHYLITE_CMSIS_NN

#include "arm_nnfunctions.h"

void whylite_depthwise_conv_2d(const whylite_conv *p, const int8_t *x, int8_t *y, int8_t *scratch) {
  const cmsis_nn_context context = {.buf = scratch};
  const cmsis_nn_dw_conv_params how = {.input_offset = -p->in_zero,
                                       .output_offset = p->out_zero,
                                       .ch_mult = p->out_channels / p->in_channels,
                                       .stride = {.w = p->stride_width, .h = p->stride_height},
                                       .padding = {.w = p->pad_left, .h = p->pad_top},
                                       .dilation = {.w = p->dilation_width, .h = p->dilation_height},
                                       .activation = {.min = p->lowest, .max = p->highest}};
  const cmsis_nn_per_channel_quant_params factors = {(int32_t *)p->multiplier, (int32_t *)p->shift}; /* only read */
  const cmsis_nn_dims in = {.n = 1, .h = p->in_height, .w = p->in_width, .c = p->in_channels};
  const cmsis_nn_dims window = {.n = 1, .h = p->kernel_height, .w = p->kernel_width, .c = p->out_channels};
  const cmsis_nn_dims bias = {.n = 1, .h = 1, .w = 1, .c = p->out_channels};
  const cmsis_nn_dims out = {.n = 1, .h = p->out_height, .w = p->out_width, .c = p->out_channels};
  if (arm_depthwise_conv_wrapper_s8(&context, &how, &factors, &in, x, &window, p->weights, &bias, p->bias, &out, y) !=
      ARM_CMSIS_NN_SUCCESS) {
    __builtin_trap(); /* better no answer than a wrong one */
  }
}

#endif
