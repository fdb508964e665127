"""Network parameters as integers times a power of two, and their code.

An array theta is sent as k = round(theta * 2^e): the exponent e, the scale of a zero-mean Laplace
model, and the integers k under that model.
"""

from typing import NamedTuple

import numpy as np

from overfit.coding import laplace

MAX_EXPONENT = 16
_SCALE_STEP = 2  # array scales are sent in quarter octaves: two scale indices
_SCALES = laplace.MAX_SCALE_INDEX // _SCALE_STEP + 1


class Quantized(NamedTuple):
    """theta = k * 2^-e."""

    k: np.ndarray  # int64, the array's shape
    e: int  # 0 .. MAX_EXPONENT

    def value(self) -> np.ndarray:
        """float32, exact while |k| < 2^24."""
        return (self.k * 2.0**-self.e).astype(np.float32)


def quantize(theta: np.ndarray, e: int) -> Quantized:
    return Quantized(np.rint(np.asarray(theta, np.float64) * 2.0**e).astype(np.int64), e)


def _model(k: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(k.size, np.int64), np.full(k.size, _SCALE_STEP * scale)


def best_scale(k: np.ndarray) -> tuple[int, float]:
    """(scale, bits) of the cheapest model for the integers of an array."""
    k = k.ravel()
    # The mean magnitude is the maximum-likelihood scale of unquantized Laplace samples.
    mean = np.abs(k).sum() / max(k.size, 1)
    guess = np.log2(max(mean, 1e-3)) - laplace.MIN_LOG2_SCALE
    guess = int(guess * laplace.SCALE_UNITS / _SCALE_STEP)
    candidates = sorted({min(max(guess + d, 0), _SCALES - 1) for d in range(-8, 7)})
    costs = [laplace.bits(k, *_model(k, scale)) for scale in candidates]
    best = int(np.argmin(costs))
    return candidates[best], costs[best]


def bits(array: Quantized) -> float:
    """Size of an array's code."""
    return best_scale(array.k)[1] + np.log2(_SCALES) + np.log2(MAX_EXPONENT + 1)


def code_array(coder, array: Quantized | None, shape: tuple[int, ...]) -> Quantized:
    """Writes the array with an encoder, or reads one of that shape with a decoder (array None)."""
    e = coder.uniform(None if array is None else array.e, MAX_EXPONENT + 1)
    scale = coder.uniform(None if array is None else best_scale(array.k)[0], _SCALES)
    values = np.zeros(shape, np.int64) if array is None else array.k
    k = coder.code(None if array is None else values.ravel(), *_model(values, scale))
    return Quantized(k.reshape(shape), e)
