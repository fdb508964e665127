"""Searches the quantization steps of a network's arrays for the least rate-distortion cost.

C3 searches one step for all weights and one for all biases (Eq. 24). Here that search is followed
by one over the arrays, each of which may take a finer or coarser step of its own.
"""

from collections.abc import Callable

import numpy as np

_BATCH = 4  # candidates evaluated per call: one compiled shape


def _batches(candidates: list[dict]) -> list[dict]:
    """A list of {name: quantized array} as stacks of `_BATCH` values, filled up with the last."""
    filled = candidates + candidates[-1:] * (-len(candidates) % _BATCH)
    return [
        {name: np.stack([c[name].value() for c in filled[i : i + _BATCH]]) for name in filled[0]}
        for i in range(0, len(filled), _BATCH)
    ]


def search(
    arrays: dict[str, np.ndarray],
    is_bias: Callable[[str], bool],
    cost: Callable[[dict], np.ndarray],
    per_bit: float,
    quantize: Callable,
    bits: Callable,
    exponents: tuple[int, ...],
) -> dict:
    """{name: quantized array} of the least cost(arrays) + per_bit * bits.

    cost takes {name: stack of `_BATCH` arrays} and returns as many numbers; quantize(name, array,
    e) rounds to steps of 2^-e and bits(quantized) is the size of its code.
    """
    quantized = {
        (name, e): quantize(name, array, e) for name, array in arrays.items() for e in exponents
    }
    sizes = {key: bits(array) for key, array in quantized.items()}

    def best_of(choices: list[dict[str, int]]) -> tuple[float, dict[str, int]]:
        candidates = [{n: quantized[n, e] for n, e in choice.items()} for choice in choices]
        costs = np.concatenate([cost(batch) for batch in _batches(candidates)])[: len(choices)]
        rates = np.asarray([sum(sizes[n, e] for n, e in choice.items()) for choice in choices])
        # A network that quantization has broken may cost NaN.
        totals = np.where(np.isfinite(costs), costs + per_bit * rates, np.inf)
        best = int(np.argmin(totals))
        return float(totals[best]), choices[best]

    def joint(weights: int, biases: int) -> dict[str, int]:
        return {name: biases if is_bias(name) else weights for name in arrays}

    coarse = exponents[1::3]
    best, choice = best_of([joint(w, b) for w in coarse for b in coarse])
    improved = True
    while improved:
        improved = False
        for name in arrays:
            around = [choice[name] + d for d in (-2, -1, 1, 2) if choice[name] + d in exponents]
            total, candidate = best_of([choice | {name: e} for e in around])
            if total < best:
                best, choice, improved = total, candidate, True
    return {name: quantized[name, e] for name, e in choice.items()}
