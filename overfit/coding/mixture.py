"""Range coding of integers under mixtures of Gaussians, whose frequencies are exact integers.

A component is named as a model of laplace.py is, by a location and a scale index, and has a share.
A mixture's frequencies are rows of the Gaussian table, each moved by whole bins to where its
component lies, times integer shares. As there, low bits are apart where a component is wider than
the table's; but a narrower one knows more about them, so that they have frequencies of their own.
docs/reference.md specifies all of it.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from overfit.coding import laplace
from overfit.coding.laplace import LOCATION_UNITS, REACH, SCALE_UNITS, SYMBOLS, TABLE_SCALES, TOTAL
from overfit.errors import UserError

SHARE_BITS = 16  # shares sum to 2^16
LOG_UNITS = 32  # logarithms of shares are in 1/32 of an octave,
MAX_LOG = 7 * LOG_UNITS  # between -7 and 7 octaves
GAIN_BITS = 10  # of what a share is multiplied by
_WINDOW = SYMBOLS - 1  # values with a frequency of their own


class Mixture(NamedTuple):
    """int64 [components, n] each, of n values."""

    location: np.ndarray  # in 1/32 of a bin
    scale: np.ndarray  # index
    share: np.ndarray  # 0 or more; they sum to 2^SHARE_BITS

    def at(self, places: np.ndarray) -> "Mixture":
        return Mixture(*(array[:, places] for array in self))


def single(location: np.ndarray, scale: np.ndarray) -> Mixture:
    """Of one component: coded as laplace.py does."""
    return Mixture(location[None], scale[None], np.full((1, len(scale)), 1 << SHARE_BITS))


@functools.cache
def _powers() -> np.ndarray:
    """int64 [2 * MAX_LOG + 1]: floor(2^(9 + i / 32)).

    A 32nd root is five square roots, and rounding each down rounds the whole down.
    """
    table = []
    for i in range(2 * MAX_LOG + 1):
        power = 1 << (9 * LOG_UNITS + i)
        for _ in range(5):
            power = math.isqrt(power)
        table.append(power)
    return np.array(table)


def shares(logs: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Shares in proportion to gain * 2^(log / 32): int64 [components, n], as both arguments.

    gains: 0 to 2^GAIN_BITS, and 2^GAIN_BITS for the first component.
    """
    raw = _powers()[np.clip(logs, -MAX_LOG, MAX_LOG) + MAX_LOG] * gains >> GAIN_BITS
    found = (raw << SHARE_BITS) // raw.sum(axis=0)
    found[found.argmax(axis=0), np.arange(found.shape[1])] += (1 << SHARE_BITS) - found.sum(axis=0)
    return found


@functools.cache
def _windows() -> np.ndarray:
    """float32 [rows, 2 * _WINDOW + 1, _WINDOW]: a row's frequencies as its component moves.

    Entry d + _WINDOW is the row moved d bins to the left, with zeros from beyond its ends.
    """
    table = np.pad(laplace.frequencies("gaussian")[:, :_WINDOW], ((0, 0), (_WINDOW, _WINDOW)))
    return np.lib.stride_tricks.sliding_window_view(table, _WINDOW, axis=1)


def _coarse(mixture: Mixture) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(middle of the window, number of low bits, frequencies float32 [n, SYMBOLS]) per value."""
    location, scale, share = mixture
    heaviest = share.argmax(axis=0)
    base = (location[heaviest, np.arange(len(heaviest))] + LOCATION_UNITS // 2) >> 5
    widest = np.where(share > 0, scale, 0).max(axis=0)
    low_bits = np.maximum(widest - (TABLE_SCALES - SCALE_UNITS), 0) >> 3
    total = np.zeros((len(base), _WINDOW))
    for i in range(len(location)):
        # In 1/32 of a coarse bin from the middle of bin 0; see laplace._split.
        place = location[i] - (base << 5)
        place = np.where(low_bits > 0, (place + LOCATION_UNITS // 2) >> low_bits, place)
        bins = (place + LOCATION_UNITS // 2) >> 5
        row = np.clip(scale[i] - SCALE_UNITS * low_bits, 0, TABLE_SCALES - 1) << 5
        row += place - (bins << 5) + LOCATION_UNITS // 2
        total += share[i][:, None] * _windows()[row, _WINDOW - np.clip(bins, -_WINDOW, _WINDOW)]
    rows = np.zeros((len(base), SYMBOLS), np.float32)
    rows[:, :_WINDOW] = np.floor(total * 2.0**-SHARE_BITS)
    rows[:, _WINDOW] = TOTAL - SYMBOLS - rows[:, :_WINDOW].sum(axis=1, dtype=np.float64)
    return base, low_bits, rows


def _low(mixture: Mixture, start: np.ndarray, low_bits: np.ndarray) -> np.ndarray:
    """Frequencies of low parts, float32 [n, SYMBOLS]: of the values start .. start + 2^low_bits."""
    low = np.arange(SYMBOLS)
    values = start[:, None] + low
    total = np.zeros(values.shape, np.int64)
    for location, scale, share in zip(*mixture, strict=True):
        mass = laplace.masses(values, location[:, None], scale[:, None], "gaussian")
        total += share[:, None] * mass
    total = np.where(low < 1 << low_bits[:, None], (total >> SHARE_BITS) + 1, 0)
    rows = total * (TOTAL - SYMBOLS) // total.sum(axis=1, keepdims=True)
    rows[np.arange(len(rows)), rows.argmax(axis=1)] += TOTAL - SYMBOLS - rows.sum(axis=1)
    return rows.astype(np.float32)


def code(coder, values: np.ndarray | None, mixture: Mixture) -> np.ndarray:
    """int64 [n], written with an encoder, or read where values is None."""
    if len(mixture.location) == 1:
        return coder.code(values, mixture.location[0], mixture.scale[0], "gaussian")
    base, low_bits, rows = _coarse(mixture)
    base = base - (1 << low_bits >> 1)
    coarse = coder.code_rows(None if values is None else (values - base) >> low_bits, rows)
    start = base + (coarse << low_bits)
    wide = np.flatnonzero(low_bits)
    if not wide.size:
        return start
    given = None if values is None else (values - start)[wide]
    low = coder.symbols(given, _low(mixture.at(wide), start[wide], low_bits[wide]))
    if (low >> low_bits[wide]).any():
        raise UserError(laplace.CORRUPT)
    start[wide] += low
    return start


class _Meter:
    """A coder that counts: bits of each value of the last calls."""

    def __init__(self):
        self.calls: list[np.ndarray] = []

    def symbols(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        taken = np.take_along_axis(rows, values[:, None], 1)[:, 0]
        self.calls.append(-np.log2((taken.astype(np.float64) + 1) / TOTAL))
        return values

    def code_rows(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        escaped = np.abs(values) > REACH
        self.symbols(np.where(escaped, SYMBOLS - 1, values + REACH), rows)
        self.calls[-1][escaped] += laplace.escape_bits(values[escaped])
        return values

    def code(self, values: np.ndarray, location, scale, family: str) -> np.ndarray:
        self.calls.append(laplace.costs(values, location, scale, family))
        return values


def costs(values: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Bits that `code` spends on each of int64 values [n]: float64 [n]."""
    meter = _Meter()
    code(meter, values, mixture)
    spent, *low = meter.calls
    if low:
        spent[np.flatnonzero(_coarse(mixture)[1])] += low[0]
    return spent
