"""Gains of latents at a rate, relative to those of the middle of all rates, in exact integers.

An entropy model that sees latents in bins of the middle serves every rate: means in bins that it
predicts are multiplied by the relative gain of their channel, and the gain's logarithm is added to
those of scales. docs/stat_ssf.md specifies the arithmetic.
"""

from typing import NamedTuple

import numpy as np

from overfit.coding.fixed_point import ACTIVATION_BITS, clamp
from overfit.coding.integer_network import shift
from overfit.coding.parameters import Quantized
from overfit.nn.gains import MAX_RELATIVE, RATE_UNITS

FACTOR_BITS = 12  # fractional bits of a factor


class RelativeGains(NamedTuple):
    """Of each channel; float64 integers [channels, 1, 1]."""

    log2: np.ndarray  # 10 fractional bits
    factor: np.ndarray  # 2^log2, 12 fractional bits
    inverse: np.ndarray  # 2^-log2, 12 fractional bits

    def to_rate(self, x: np.ndarray) -> np.ndarray:
        """Of values in bins of the middle, those in bins of the rate; 10 fractional bits both."""
        return clamp(shift(clamp(x) * self.factor, FACTOR_BITS))

    def to_middle(self, x: np.ndarray) -> np.ndarray:
        return clamp(shift(clamp(x) * self.inverse, FACTOR_BITS))


def exp2(log2: np.ndarray) -> np.ndarray:
    """2^log2 of integers with 10 fractional bits, rounded to 12 of them.

    No power of two of up to `MAX_RELATIVE` is so close to a half that an error of its floats
    matters, see tests/coding/test_relative_gains.py.
    """
    return np.floor(np.exp2(log2 * 2.0**-ACTIVATION_BITS) * 2.0**FACTOR_BITS + 0.5)


def relative_gains(table: Quantized, position: int) -> RelativeGains:
    """table: logarithms to base 2 [rates, channels]; position: of the rate, in 1 / RATE_UNITS.

    In floats it is `nn.gains.relative_log2`.
    """
    k = table.k.astype(object)  # of any size: a base may come from anywhere
    rates = len(k)
    low, part = divmod(position, RATE_UNITS)
    at = (RATE_UNITS - part) * k[low] + part * k[min(low + 1, rates - 1)]
    # (at / RATE_UNITS - mean) * 2^(bits - e), rounded to the nearest integer, halves up.
    above = (rates * at - RATE_UNITS * k.sum(axis=0)) << (ACTIVATION_BITS + 1)
    below = (rates * RATE_UNITS) << table.e
    most = MAX_RELATIVE << ACTIVATION_BITS
    log2 = [min(max((int(x) + below) // (2 * below), -most), most) for x in above]
    found = np.array(log2, np.float64)[:, None, None]
    return RelativeGains(found, exp2(found), exp2(-found))
