"""MSE and PSNR of 8-bit images and clips."""

import math

import numpy as np

_CHUNK = 1 << 20  # samples; keeps the working memory at some 16 MB whatever the image


def mse(a: np.ndarray, b: np.ndarray) -> float:
    """Mean squared error over all samples, in squared 8-bit steps; exact up to the final division.

    Args:
      a, b: uint8 arrays of one shape, for example [H, W, 3] or [T, H, W, 3].
    """
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(f"expected uint8 arrays, got {a.dtype} and {b.dtype}")
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"expected two arrays of one shape, got {a.shape} and {b.shape}")
    flat_a, flat_b = a.reshape(-1), b.reshape(-1)
    total = 0
    for start in range(0, flat_a.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        difference = flat_a[part].astype(np.float64) - flat_b[part]
        total += int(np.dot(difference, difference))  # at most 2**36: exact in float64
    return total / flat_a.size


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB for a peak of 255; infinite for equal arrays.

    Args:
      a, b: uint8 arrays of one shape.

    >>> round(psnr(np.zeros((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8)), 2)
    48.13
    """
    error = mse(a, b)
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)
