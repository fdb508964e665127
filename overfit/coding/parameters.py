"""Network parameters as integers times a power of two, and their code.

An array theta is sent as k = round(theta * 2^e): the exponent e, the scale of a zero-mean Laplace
model, and the integers k under that model. Where both sides know a base, theta's change against it
is sent likewise, after a bit that says whether there is any; the scale is then relative to that of
the changes that the base has seen.
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

    def absolute(self) -> "Quantized":
        return self


class Prior(NamedTuple):
    """What a base knows of an array."""

    center: Quantized
    spread: int  # of changes: a Laplace scale of 2^(spread / 4 - 16)


class Change(NamedTuple):
    """theta = k * 2^-e more than the center of its prior."""

    k: np.ndarray  # int64, the array's shape
    e: int  # 0 .. MAX_EXPONENT
    prior: Prior

    def value(self) -> np.ndarray:
        """float32 theta, exact while it has no more than 24 bits."""
        return self.absolute().value()

    def absolute(self) -> Quantized:
        """theta itself."""
        center = self.prior.center
        e = max(self.e, center.e)
        return Quantized((self.k << (e - self.e)) + (center.k << (e - center.e)), e)


_CORRECTIONS = 8  # scales of a change that can be chosen: half octaves, -4 .. 3 from the prior's


def quantize(theta: np.ndarray, e: int, prior: Prior | None = None) -> Quantized | Change:
    """theta, or its change, rounded to multiples of 2^-e."""
    theta = np.asarray(theta, np.float64)
    if prior is None:
        return Quantized(np.rint(theta * 2.0**e).astype(np.int64), e)
    change = theta - prior.center.k * 2.0**-prior.center.e
    return Change(np.rint(change * 2.0**e).astype(np.int64), e, prior)


def _model(k: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(k.size, np.int64), np.full(k.size, _SCALE_STEP * scale)


def _cheapest(k: np.ndarray, candidates: list[int]) -> tuple[int, float]:
    costs = [laplace.bits(k.ravel(), *_model(k, scale)) for scale in candidates]
    best = int(np.argmin(costs))
    return candidates[best], costs[best]


def best_scale(k: np.ndarray) -> tuple[int, float]:
    """(scale, bits) of the cheapest model for the integers of an array."""
    # The mean magnitude is the maximum-likelihood scale of unquantized Laplace samples.
    mean = np.abs(k).sum() / max(k.size, 1)
    guess = np.log2(max(mean, 1e-3)) - laplace.MIN_LOG2_SCALE
    guess = int(guess * laplace.SCALE_UNITS / _SCALE_STEP)
    return _cheapest(k, sorted({min(max(guess + d, 0), _SCALES - 1) for d in range(-8, 7)}))


def _known_scale(prior: Prior, e: int, correction: int) -> int:
    """The scale of a change in steps of 2^-e, in quarter octaves above the table's least."""
    scale = prior.spread + 4 * (e - 16 - laplace.MIN_LOG2_SCALE) + 2 * (correction - 4)
    return min(max(scale, 0), _SCALES - 1)


def _best_correction(array: Change) -> tuple[int, float]:
    """(correction, bits) of the cheapest model for a change."""
    scales = [_known_scale(array.prior, array.e, c) for c in range(_CORRECTIONS)]
    scale, cost = _cheapest(array.k, scales)
    return scales.index(scale), cost


def bits(array: Quantized | Change) -> float:
    """Size of an array's code."""
    exponent = np.log2(MAX_EXPONENT + 1)
    if isinstance(array, Quantized):
        return best_scale(array.k)[1] + np.log2(_SCALES) + exponent
    if not array.k.any():
        return 1.0
    return 1 + exponent + np.log2(_CORRECTIONS) + _best_correction(array)[1]


def code_array(coder, array: Quantized | None, shape: tuple[int, ...]) -> Quantized:
    """Writes the array with an encoder, or reads one of that shape with a decoder (array None)."""
    e = coder.uniform(None if array is None else array.e, MAX_EXPONENT + 1)
    scale = coder.uniform(None if array is None else best_scale(array.k)[0], _SCALES)
    return Quantized(_code(coder, None if array is None else array.k, shape, scale), e)


def code_change(coder, array: Change | None, prior: Prior) -> Change:
    """Likewise a change against a prior that both sides know."""
    shape = prior.center.k.shape
    if not coder.uniform(None if array is None else int(array.k.any()), 2):
        return Change(np.zeros(shape, np.int64), 0, prior)
    e = coder.uniform(None if array is None else array.e, MAX_EXPONENT + 1)
    correction = coder.uniform(None if array is None else _best_correction(array)[0], _CORRECTIONS)
    scale = _known_scale(prior, e, correction)
    return Change(_code(coder, None if array is None else array.k, shape, scale), e, prior)


def _code(coder, k: np.ndarray | None, shape: tuple[int, ...], scale: int) -> np.ndarray:
    model = _model(np.zeros(shape, np.int64), scale)
    return coder.code(None if k is None else k.ravel(), *model).reshape(shape)
