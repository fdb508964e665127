"""MS-SSIM as a loss; `metrics.ms_ssim` is the measure, which says what is followed and why."""

import jax
import jax.numpy as jnp
import numpy as np

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # from fine to coarse
_C1, _C2 = 0.01**2, 0.03**2  # of values in 0..1
_TAPS, _SIGMA = 11, 1.5
_LEAST = 1e-4  # of a scale's mean: its power has a finite gradient above zero only


def _window(side: int) -> np.ndarray:
    """float32 [side - 10, side]: Gaussian means of all windows along one side."""
    kernel = np.exp(-((np.arange(_TAPS) - _TAPS // 2) ** 2) / (2 * _SIGMA**2))
    matrix = np.zeros((side - _TAPS + 1, side))
    for i, row in enumerate(matrix):
        row[i : i + _TAPS] = kernel / kernel.sum()
    return matrix.astype(np.float32)


def _blur(x: jax.Array) -> jax.Array:
    """Gaussian means of all windows: [C, H, W] -> [C, H - 10, W - 10]."""
    rows, columns = (jnp.asarray(_window(side)) for side in x.shape[1:])
    return rows @ x @ columns.T


def _terms(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Means per channel of SSIM and of its contrast-structure term."""
    mean_x, mean_y = _blur(x), _blur(y)
    covariance = _blur(x * y) - mean_x * mean_y
    variances = _blur(x * x + y * y) - mean_x**2 - mean_y**2
    contrast = (2 * covariance + _C2) / (variances + _C2)
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return jnp.mean(luminance * contrast, axis=(1, 2)), jnp.mean(contrast, axis=(1, 2))


def _pool(x: jax.Array) -> jax.Array:
    x = jnp.pad(x, ((0, 0), (x.shape[1] % 2, 0), (x.shape[2] % 2, 0)))
    rows = x[:, ::2] + x[:, 1::2]
    return (rows[:, :, ::2] + rows[:, :, 1::2]) / 4


def ms_ssim(x: jax.Array, y: jax.Array) -> jax.Array:
    """Of two images [C, H, W], values in 0..1, sides of 161 or more: a scalar, 1 for equal ones."""
    result = jnp.ones(len(x))
    for scale, weight in enumerate(_WEIGHTS):
        full, contrast = _terms(x, y)
        term = full if scale == len(_WEIGHTS) - 1 else contrast
        result = result * jnp.maximum(term, _LEAST) ** weight
        if scale < len(_WEIGHTS) - 1:
            x, y = _pool(x), _pool(y)
    return jnp.mean(result)
