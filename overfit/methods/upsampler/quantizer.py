"""What a bit is worth at a quantizer of the base codec."""

import math


def lmbda_of(qp: float) -> float:
    """What a bit is worth to a video encoder at that quantizer, in squared error of pixels in 0..1.

    0.85 * 2^((QP - 12) / 3) in 8-bit units: Wiegand et al., "Rate-constrained coder control and
    comparison of video coding standards", IEEE TCSVT 2003.
    """
    return 0.85 * 2 ** ((qp - 12) / 3) / 255**2


def qp_of(lmbda: float) -> int:
    """The quantizer to which that weight of the rate belongs, rounded.

    >>> qp_of(lmbda_of(27))
    27
    """
    return round(12 + 3 * math.log2(lmbda * 255**2 / 0.85))
