"""MS-SSIM of 8-bit images.

Z. Wang, E. P. Simoncelli, A. C. Bovik, "Multi-scale structural similarity for image quality
assessment", Asilomar 2003. What the paper leaves open follows pytorch-msssim, the implementation
that CompressAI and most publications on learned compression report, so that values compare:

- the Gaussian windows are "valid" (no padding): an 11 x 11 window has to fit at the coarsest scale;
- scales are made by 2 x 2 average pooling; an odd side gets one line of zeros in front, which
  counts in the averages;
- contrast and structure are one term, (2 s_xy + C2) / (s_x^2 + s_y^2 + C2); a negative mean of a
  scale counts as 0;
- every channel is rated on its own, and the channels are averaged at the end.
"""

import math

import numpy as np

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # from fine to coarse; table in section 3.2
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2
_TAPS = 11
_SIGMA = 1.5  # px
_MIN_SIDE = (_TAPS - 1) * 2 ** (len(_WEIGHTS) - 1) + 1  # px: 161
_TILE = (64, 256)  # windows rated at a time: what is worked on stays in the cache (2 x faster)


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float | None:
    """Multi-scale structural similarity: 1 for equal images, computed in float64.

    Args:
      a, b: uint8 [H, W, C] of one shape, 0..255.

    Returns:
      0..1, or None where the smaller side is below 161 px: the measure is not defined there.
    """
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(f"expected uint8 images, got {a.dtype} and {b.dtype}")
    if a.shape != b.shape or a.ndim != 3:
        raise ValueError(f"expected two images [H, W, C] of one shape, got {a.shape}, {b.shape}")
    if min(a.shape[:2]) < _MIN_SIDE:
        return None
    channels = range(a.shape[2])
    return sum(_ms_ssim_plane(a[:, :, c], b[:, :, c]) for c in channels) / a.shape[2]


def ms_ssim_db(value: float) -> float:
    """MS-SSIM in dB, -10 log10(1 - value): how the high end is plotted; infinite for 1.

    >>> round(ms_ssim_db(0.99), 6)
    20.0
    """
    return math.inf if value >= 1 else -10 * math.log10(1 - value)


def _ms_ssim_plane(x: np.ndarray, y: np.ndarray) -> float:
    """MS-SSIM of one channel [H, W] (Wang 2003, eq. 7)."""
    result = 1.0
    for weight in _WEIGHTS[:-1]:
        _, contrast = _ssim(x, y)
        result *= max(contrast, 0.0) ** weight
        x, y = _pool(x), _pool(y)
    full, _ = _ssim(x, y)  # luminance counts at the coarsest scale only
    return result * max(full, 0.0) ** _WEIGHTS[-1]


def _ssim(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Means over all windows of SSIM and of its contrast-structure term, for planes [H, W]."""
    full = contrast = 0.0
    rows, columns = x.shape[0] - (_TAPS - 1), x.shape[1] - (_TAPS - 1)  # of windows
    for top in range(0, rows, _TILE[0]):
        for left in range(0, columns, _TILE[1]):
            tile = (
                slice(top, min(top + _TILE[0], rows) + _TAPS - 1),
                slice(left, min(left + _TILE[1], columns) + _TAPS - 1),
            )
            sums = _ssim_sums(x[tile].astype(np.float64), y[tile].astype(np.float64))
            full += sums[0]
            contrast += sums[1]
    return full / (rows * columns), contrast / (rows * columns)


def _ssim_sums(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Sums over the windows of one tile, float64 [h, w], of SSIM and contrast-structure."""
    mean_x, mean_y = _blur(x), _blur(y)
    mean_xy = mean_x * mean_y
    mean_squares = mean_x * mean_x + mean_y * mean_y
    covariance = _blur(x * y) - mean_xy
    variances = _blur(x * x + y * y) - mean_squares  # only the sum s_x^2 + s_y^2 is needed
    contrast = (2 * covariance + _C2) / (variances + _C2)
    luminance = (2 * mean_xy + _C1) / (mean_squares + _C1)
    return float(np.sum(luminance * contrast)), float(np.sum(contrast))


def _gaussian() -> tuple[float, ...]:
    """The 11 taps of the window along one side, with sum 1."""
    taps = [math.exp(-((i - _TAPS // 2) ** 2) / (2 * _SIGMA**2)) for i in range(_TAPS)]
    return tuple(tap / sum(taps) for tap in taps)


_KERNEL = _gaussian()


def _blur(plane: np.ndarray) -> np.ndarray:
    """Gaussian means of all 11 x 11 windows: [H, W] -> [H - 10, W - 10]."""
    height, width = plane.shape[0] - (_TAPS - 1), plane.shape[1] - (_TAPS - 1)
    columns = _weighted_sum([plane[i : i + height] for i in range(_TAPS)])  # (H - 10, W)
    return _weighted_sum([columns[:, i : i + width] for i in range(_TAPS)])


def _weighted_sum(shifted: list[np.ndarray]) -> np.ndarray:
    """Sum of 11 shifted planes weighted by the window, which is symmetric: one product a pair."""
    middle = _TAPS // 2
    total = _KERNEL[middle] * shifted[middle]
    for i in range(middle):
        pair = shifted[i] + shifted[_TAPS - 1 - i]
        pair *= _KERNEL[i]
        total += pair
    return total


def _pool(plane: np.ndarray) -> np.ndarray:
    """2 x 2 averages: [H, W] -> float64 [ceil(H / 2), ceil(W / 2)]; odd sides: zeros in front."""
    height, width = plane.shape
    padded = np.pad(plane, ((height % 2, 0), (width % 2, 0)))
    # Two float64 sums instead of one mean: uint8 planes must not overflow.
    rows = np.add(padded[0::2], padded[1::2], dtype=np.float64)
    return (rows[:, 0::2] + rows[:, 1::2]) / 4
