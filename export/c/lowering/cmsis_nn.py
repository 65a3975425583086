"""What CMSIS-NN's kernels work in (``-DWHYLITE_CMSIS_NN``).

Source: the ``_get_buffer_size`` functions of CMSIS-NN; sizes are the largest of its releases from 4.0 on, and of all
instruction sets.
"""

from __future__ import annotations

_WINDOWS, _VECTOR = 4, 16
"""Windows that are gathered as int8 at once, or half as many as int16; values of a vector."""
_BLOCK = 124
"""CH_IN_BLOCK_MVE: channels of a depthwise convolution that are gathered with Helium, whether they are there or not."""


def window_bytes(taps: int) -> int:
    """Return the bytes that a convolution or a matrix product works in."""
    return _WINDOWS * -(-taps // _VECTOR) * _VECTOR


def depthwise_bytes(taps: int, channels: int) -> int:
    """Return the bytes that a depthwise convolution works in."""
    return taps * max(2 * channels, _WINDOWS * _BLOCK)
