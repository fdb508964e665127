"""MSE and PSNR of 8-bit images and clips, and means of PSNR."""

import math
from collections.abc import Sequence

import numpy as np

_CHUNK = 1 << 20  # samples; keeps the working memory at some 16 MB whatever the image
_MAX_PSNR = 100.0  # dB, of one among several


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
    return psnr_of_mse(mse(a, b))


def psnr_of_mse(error: float) -> float:
    """PSNR in dB of a mean squared error in squared 8-bit steps; infinite for 0."""
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def mean_psnr(values: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """Mean of PSNRs in dB, as over the images of a set, the frames of a clip or the planes of YUV.

    One exact image among others must not hide them, so that a PSNR counts as 100 dB at most, as in
    x264. Only where all are infinite is the mean: nothing was lost.

    >>> mean_psnr([30.0, math.inf])
    65.0
    """
    if not values:
        raise ValueError("expected at least one PSNR")
    if all(value == math.inf for value in values):
        return math.inf
    weights = [1] * len(values) if weights is None else weights
    total = sum(w * min(v, _MAX_PSNR) for v, w in zip(values, weights, strict=True))
    return total / sum(weights)


def pooled_psnr(errors: Sequence[float], pixels: Sequence[int]) -> float:
    """PSNR in dB of the mean squared error over several images; infinite where all are exact.

    Some papers pool the error of a data set like this, others take the mean of the PSNR of each
    image (`mean_psnr`), which is higher: the two do not compare.

    Args:
      errors: mean squared error of each image, in squared 8-bit steps.
      pixels: size of each image, its weight.
    """
    total = sum(e * n for e, n in zip(errors, pixels, strict=True))
    return psnr_of_mse(total / sum(pixels))


def yuv_psnr(y: float, u: float, v: float) -> float:
    """PSNR in dB of YUV 4:2:0: mean of those of the planes weighted 6:1:1 (J.-R. Ohm et al.,
    "Comparison of the coding efficiency of video coding standards", IEEE TCSVT 2012)."""
    return mean_psnr((y, u, v), (6, 1, 1))


def planes_psnr(original: Sequence[np.ndarray], decoded: Sequence[np.ndarray]) -> dict[str, float]:
    """psnr_y, psnr_u, psnr_v and psnr_yuv in dB of a 4:2:0 clip, see `clip_psnr` and `yuv_psnr`."""
    y, u, v = (clip_psnr(a, b) for a, b in zip(original, decoded, strict=True))
    return {"psnr_y": y, "psnr_u": u, "psnr_v": v, "psnr_yuv": yuv_psnr(y, u, v)}


def clip_psnr(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR of a clip in dB: mean over its frames of the PSNR of each.

    Args:
      a, b: uint8 of one shape, frames [T, H, W, 3] or planes [T, H, W].
    """
    if a.ndim not in (3, 4) or a.shape != b.shape or a.shape[0] == 0:
        raise ValueError(f"expected two clips of one shape, got {a.shape} and {b.shape}")
    return mean_psnr([psnr(x, y) for x, y in zip(a, b, strict=True)])
