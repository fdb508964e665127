"""Interpolation as matrices, shared by the fit (JAX) and the decoder (NumPy).

A resize of a plane is `rows @ plane @ columns.T`: two small matrix products, the fastest form on
CPU and accelerators alike, and one definition for everybody. Frames take a third one, along time.
"""

import functools

import numpy as np


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, 1.0 - np.abs(x))


def _box(x: np.ndarray) -> np.ndarray:
    return ((x > -0.5) & (x <= 0.5)).astype(np.float64)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic with a = -3/4, the "bicubic" of PyTorch and of Cool-chic."""
    x, a = np.abs(x), -0.75
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    outer = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x < 1, inner, np.where(x < 2, outer, 0.0))


def _lanczos3(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


KERNELS = {
    "nearest": (_box, 1),
    "bilinear": (_triangle, 1),
    "bicubic": (_cubic, 2),
    "lanczos3": (_lanczos3, 3),
}  # name -> (kernel, radius in input samples)


@functools.lru_cache(maxsize=256)
def resize_matrix(size_in: int, size_out: int, method: str = "bilinear") -> np.ndarray:
    """Float64 [size_out, size_in]; half-pixel centers.

    Downscaling widens the kernel by the ratio (antialiasing), and weights that fall outside the
    signal are dropped and the rest renormalized: the conventions of `jax.image.resize`.
    """
    kernel, radius = KERNELS[method]
    ratio = size_in / size_out
    stretch = max(ratio, 1.0)
    # As one quotient of integers, so that ties of "nearest" are exact.
    centers = ((2 * np.arange(size_out) + 1) * size_in - size_out) / (2 * size_out)
    reach = int(np.ceil(radius * stretch)) + 1
    taps = np.floor(centers)[:, None] + np.arange(-reach + 1, reach + 1)[None, :]
    inside = (taps >= 0) & (taps < size_in)
    weights = kernel((taps - centers[:, None]) / stretch) * inside
    weights /= weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((size_out, size_in))
    rows = np.broadcast_to(np.arange(size_out)[:, None], taps.shape)
    matrix[rows[inside], taps[inside].astype(np.int64)] += weights[inside]
    return matrix


def resized(x, size: tuple[int, ...], method: str = "bilinear"):
    """x [rows, columns] or [frames, rows, columns] at another size, NumPy or JAX, its dtype.

    Frames are interpolated last: by then all work along rows and columns is done, for the fewer
    frames.
    """
    if x.shape == size:
        return x
    *frames, rows, columns = (
        resize_matrix(a, b, method).astype(x.dtype) for a, b in zip(x.shape, size, strict=True)
    )
    x = rows @ (x @ columns.T)
    return (frames[0] @ x.reshape(len(x), -1)).reshape(size) if frames else x


# -- Pictures, by a factor of two ------------------------------------------------------------------

# Only a few samples bear on each, so that a sum of these is much less work than a matrix product.
_SIZE = 32  # of a signal that is long enough to have samples that no edge bears on


def halved(planes: np.ndarray, method: str = "bicubic") -> np.ndarray:
    """[.., 2 h, 2 w] at half the resolution: float32 [.., h, w]. Edges are repeated."""
    row = resize_matrix(2 * _SIZE, _SIZE, method)[_SIZE // 2]
    for axis in (-2, -1):
        planes = _weighted(planes, axis, row, np.arange(0, planes.shape[axis], 2) - _SIZE)
    return planes


def doubled(planes: np.ndarray, method: str = "bilinear") -> np.ndarray:
    """[.., h, w] at twice the resolution: float32 [.., 2 h, 2 w]. Edges are repeated."""
    rows = resize_matrix(_SIZE, 2 * _SIZE, method)[_SIZE : _SIZE + 2]
    for axis in (-2, -1):
        starts = np.arange(planes.shape[axis]) - _SIZE // 2
        phases = [_weighted(planes, axis, row, starts) for row in rows]
        shape = list(planes.shape)
        shape[axis] *= 2
        planes = np.stack(phases, axis=axis % planes.ndim + 1).reshape(shape)
    return planes


def _weighted(planes: np.ndarray, axis: int, weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """At each start along the axis, the sum of weights[k] * planes[start + k]."""
    last = planes.shape[axis] - 1
    taps = (
        np.float32(weights[k]) * planes.take((starts + k).clip(0, last), axis)
        for k in np.flatnonzero(weights)
    )
    return np.asarray(sum(taps), np.float32)
