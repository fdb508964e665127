"""RGB to YCbCr and back: BT.601 and BT.709, full and limited range, 4:4:4 and 4:2:0, 8 bit.

Every sample is computed in float64, elementwise, and rounded once to the nearest integer (halves
up), so that the bytes do not depend on the machine; truncating instead would cost PSNR at high
rates.

4:2:0 chroma is sited as H.264, HEVC and AV1 assume by default (Rec. ITU-T H.273, chroma sample
location type 0): on every other column, halfway between two rows. Down: (1 2 1)/4 over columns,
(1 1)/2 over rows; up: linear interpolation at those positions. Edges are repeated.
"""

from typing import NamedTuple

import numpy as np


class Matrix(NamedTuple):
    """Weights of red and blue in luma; green has the rest."""

    name: str  # as FFmpeg calls it
    red: float
    blue: float


BT601 = Matrix("smpte170m", 0.299, 0.114)  # Rec. ITU-R BT.601-7, 2.5.1; also JFIF and BPG
BT709 = Matrix("bt709", 0.2126, 0.0722)  # Rec. ITU-R BT.709-6, 3.2


def rgb_to_ycbcr(rgb: np.ndarray, matrix: Matrix, full_range: bool) -> np.ndarray:
    """uint8 [..., 3] of R, G, B to uint8 [..., 3] of Y, Cb, Cr (4:4:4).

    Full range: Y in 0..255, chroma 128 +- 127.5 (JFIF). Limited: Y in 16..235, chroma in 16..240.

    >>> rgb_to_ycbcr(np.array([255, 0, 0], np.uint8), BT709, False).tolist()
    [63, 102, 240]
    """
    return np.stack([_round(plane) for plane in _ycbcr(rgb, matrix, full_range)], axis=-1)


def ycbcr_to_rgb(ycbcr: np.ndarray, matrix: Matrix, full_range: bool) -> np.ndarray:
    """The inverse of `rgb_to_ycbcr`, clipped to 0..255."""
    y, cb, cr = np.moveaxis(ycbcr.astype(np.float64), -1, 0)
    return _rgb(y, cb, cr, matrix, full_range)


def rgb_to_yuv420(
    rgb: np.ndarray, matrix: Matrix, full_range: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """uint8 [..., H, W, 3] to uint8 Y [..., H, W] and Cb, Cr [..., ceil(H/2), ceil(W/2)]."""
    y, cb, cr = _ycbcr(rgb, matrix, full_range)
    return _round(y), _round(_halve(cb)), _round(_halve(cr))


def yuv420_to_rgb(
    y: np.ndarray, cb: np.ndarray, cr: np.ndarray, matrix: Matrix, full_range: bool
) -> np.ndarray:
    """uint8 Y [..., H, W] and Cb, Cr [..., ceil(H/2), ceil(W/2)] to uint8 [..., H, W, 3]."""
    height, width = y.shape[-2:]
    cb, cr = (_double(plane.astype(np.float64))[..., :height, :width] for plane in (cb, cr))
    return _rgb(y.astype(np.float64), cb, cr, matrix, full_range)


def _ycbcr(rgb: np.ndarray, matrix: Matrix, full_range: bool) -> tuple[np.ndarray, ...]:
    """Y, Cb and Cr in 8-bit steps, float64, not yet rounded."""
    red, green, blue = np.moveaxis(rgb.astype(np.float64) / 255, -1, 0)
    luma = matrix.red * red + (1 - matrix.red - matrix.blue) * green + matrix.blue * blue
    offset, luma_steps, chroma_steps = _steps(full_range)
    return (
        offset + luma_steps * luma,
        128 + chroma_steps * ((blue - luma) / (2 - 2 * matrix.blue)),
        128 + chroma_steps * ((red - luma) / (2 - 2 * matrix.red)),
    )


def _rgb(
    y: np.ndarray, cb: np.ndarray, cr: np.ndarray, matrix: Matrix, full_range: bool
) -> np.ndarray:
    """uint8 [..., 3] from float64 Y, Cb and Cr in 8-bit steps."""
    offset, luma_steps, chroma_steps = _steps(full_range)
    luma = (y - offset) / luma_steps
    blue = luma + (2 - 2 * matrix.blue) * ((cb - 128) / chroma_steps)
    red = luma + (2 - 2 * matrix.red) * ((cr - 128) / chroma_steps)
    green = (luma - matrix.red * red - matrix.blue * blue) / (1 - matrix.red - matrix.blue)
    return np.stack([_round(255 * channel) for channel in (red, green, blue)], axis=-1)


def _steps(full_range: bool) -> tuple[int, int, int]:
    """Level of black, steps from black to white, steps from the least to the largest chroma."""
    return (0, 255, 255) if full_range else (16, 219, 224)


def _round(plane: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(plane + 0.5), 0, 255).astype(np.uint8)


def _halve(plane: np.ndarray) -> np.ndarray:
    """float64 [..., H, W] to [..., ceil(H/2), ceil(W/2)]."""
    height, width = plane.shape[-2:]
    around = _pad(plane, (0, height % 2), (1, 1))
    columns = (
        around[..., 0:width:2] + 2 * around[..., 1 : width + 1 : 2] + around[..., 2 : width + 2 : 2]
    ) / 4
    return (columns[..., 0::2, :] + columns[..., 1::2, :]) / 2


def _double(plane: np.ndarray) -> np.ndarray:
    """float64 [..., H, W] to [..., 2 H, 2 W]."""
    above = _pad(plane, (1, 0), (0, 0))[..., :-1, :]
    below = _pad(plane, (0, 1), (0, 0))[..., 1:, :]
    rows = _interleave((3 * plane + above) / 4, (3 * plane + below) / 4, axis=-2)
    right = _pad(rows, (0, 0), (0, 1))[..., 1:]
    return _interleave(rows, (rows + right) / 2, axis=-1)


def _pad(plane: np.ndarray, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
    return np.pad(plane, [(0, 0)] * (plane.ndim - 2) + [rows, columns], mode="edge")


def _interleave(even: np.ndarray, odd: np.ndarray, axis: int) -> np.ndarray:
    """Two arrays of one shape as the even and the odd positions of an array twice as long."""
    shape = list(even.shape)
    shape[axis] *= 2
    return np.stack([even, odd], axis=even.ndim + axis + 1).reshape(shape)
