"""Layers of large networks in exact integer arithmetic: the same symbols on every machine.

Weights have 12 fractional bits, activations 10, biases 22. NumPy holds all of them in float64,
where every sum below 2^53 is exact in any order, so BLAS may use any number of threads and any
instruction set. That bound needs no trust in the parameters: weights are at most 2^16, activations
at most 2^22, and a sum has at most 2^14 terms, so that it is at most 2^52 and the bias, at most
2^26, cannot take it to 2^53. Whatever would exceed these limits is refused (parameters) or clamped
(activations).
"""

import numpy as np

from overfit.coding.integer_network import shift
from overfit.coding.parameters import Quantized
from overfit.errors import UserError

WEIGHT_BITS = 12  # fractional bits of a weight: exponents of parameters are 0 .. 12
ACTIVATION_BITS = 10
MAX_WEIGHT = 1 << 16  # parameters stay below 16 in magnitude
MAX_ACTIVATION = 1 << 22  # and activations below 4096
MAX_TERMS = 1 << 14  # of a sum
LEAK = 205  # slope of the leaky ReLU, 10 fractional bits


def _fixed(array: Quantized) -> np.ndarray:
    """float64 integers with WEIGHT_BITS fractional bits; UserError for those out of bounds."""
    if array.e > WEIGHT_BITS:
        raise UserError("the entropy model has parameters finer than 2^-12: it is damaged")
    k = np.abs(array.k).max(initial=0)
    if int(k) << (WEIGHT_BITS - array.e) > MAX_WEIGHT:
        raise UserError("a parameter of the entropy model is larger than 16: it is damaged")
    return array.k.astype(np.float64) * 2.0 ** (WEIGHT_BITS - array.e)


def layer(w: Quantized, b: Quantized) -> tuple[np.ndarray, np.ndarray]:
    """What `dense` takes, of parameters w [out, in] and b [out].

    Raises:
      UserError: parameters that are not what exact arithmetic allows.
    """
    if w.k.shape[1] > MAX_TERMS:
        raise UserError(f"a layer of the entropy model has more than {MAX_TERMS} inputs")
    return _fixed(w), _fixed(b) * 2.0**ACTIVATION_BITS


def clamp(x: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(x, -MAX_ACTIVATION), MAX_ACTIVATION)


def dense(w: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """w @ x + b, rounded to ACTIVATION_BITS and clamped: x [in, n] -> [out, n]."""
    return clamp(shift(w @ x + b[:, None], WEIGHT_BITS))


def leaky(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, shift(LEAK * x, 10))


def add(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return clamp(x + y)


def scale(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """x [channels, n] times gain [n], 0 .. 2^10 for 0 .. 1."""
    return shift(x * gain[None], 10)
