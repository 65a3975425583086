/* Transposed convolution. */
#ifndef WHYLITE_DECONV_H
#define WHYLITE_DECONV_H

#include "whylite_conv.h"

/* As a convolution is described, but its stride is the output's: each input value adds the kernel, times it, to a
 * window of the output. `bias` is as it is: what lies beyond the edge adds nothing. */
void whylite_transpose_conv(const whylite_conv *p, const int8_t *x, int8_t *y);

#endif
