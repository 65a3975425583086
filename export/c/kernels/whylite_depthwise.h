/* Depthwise convolution. */
#ifndef WHYLITE_DEPTHWISE_H
#define WHYLITE_DEPTHWISE_H

#include "whylite_conv.h"

/* Each input channel by itself gives out_channels / in_channels output channels that follow each other. */
void whylite_depthwise_conv_2d(const whylite_conv *p, const int8_t *x, int8_t *y);

#endif
