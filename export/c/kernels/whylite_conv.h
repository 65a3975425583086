/* Convolution. */
#ifndef WHYLITE_CONV_H
#define WHYLITE_CONV_H

#include "whylite_arithmetic.h"

/* A convolution of [in_height, in_width, in_channels], stored channels last, with `weights` [out_channels,
 * kernel_height, kernel_width, in_channels] ([kernel_height, kernel_width, out_channels] where it is depthwise).
 * `bias` has the input's zero point in it, but for CMSIS-NN: what lies beyond the edge is read as `in_zero`. `bias`,
 * `multiplier` and `shift` are per output channel, and filled up with zeros to a multiple of four. */
typedef struct {
  const int8_t *weights;
  const int32_t *bias;
  const int32_t *multiplier;
  const whylite_shift *shift;
  uint16_t in_height, in_width, in_channels;
  uint16_t out_height, out_width, out_channels;
  uint16_t kernel_height, kernel_width;
  uint16_t stride_height, stride_width;
  uint16_t dilation_height, dilation_width;
  uint16_t pad_top, pad_left;
  int16_t in_zero, out_zero, lowest, highest;
} whylite_conv;

/* `scratch` has room for two windows as int16; CMSIS-NN's is what lowering/cmsis_nn.py says. */
void whylite_conv_2d(const whylite_conv *p, const int8_t *x, int8_t *y, int8_t *scratch);

/* The same for weights of -127 to 127; all figures are packed where WHYLITE_PACKED is set (whylite_dsp.h). In
 * `scratch` rows of a window are filled up to a multiple of four. */
#if WHYLITE_PACKED
void whylite_conv_2d_fast(const whylite_conv *p, const int8_t *x, int8_t *y, int8_t *scratch);
#else
#define whylite_conv_2d_fast whylite_conv_2d
#endif

#endif
