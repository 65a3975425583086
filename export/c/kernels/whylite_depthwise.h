/* Depthwise convolution. */
#ifndef WHYLITE_DEPTHWISE_H
#define WHYLITE_DEPTHWISE_H

#include "whylite_conv.h"

/* Each input channel by itself gives out_channels / in_channels output channels that follow each other. `bias`,
 * `multiplier` and `shift` go on with zeros to a multiple of eight channels. `scratch` has room for a window of
 * [kernel_height, kernel_width, out_channels]; it may be NULL where no window reaches over the edge and each input
 * channel gives one output channel. */
void whylite_depthwise_conv_2d(const whylite_conv *p, const int8_t *x, int8_t *y, int8_t *scratch);

/* The same for as many output channels as input channels, four or more of them, and a dilation_width of 1; bias and
 * shift are packed where WHYLITE_PACKED is set (whylite_dsp.h). `scratch` has room for a window, rows filled up
 * to an even number, of four channels as int16, and for all windows of WHYLITE_COLUMNS outputs in a row, too. */
#define WHYLITE_COLUMNS 16
#if WHYLITE_PACKED
void whylite_depthwise_conv_2d_fast(const whylite_conv *p, const int8_t *x, int8_t *y, int8_t *scratch);
#else
#define whylite_depthwise_conv_2d_fast whylite_depthwise_conv_2d
#endif

#endif
