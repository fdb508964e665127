"""Range coding of integers under Laplace, or Gaussian, models: rows of integer frequency tables.

A model is named by two integers, a location in 1/32 of a bin and a scale index i, which stands for
the scale 2^(i/8 - 6) bins. The frequencies of its 64 symbols (31 values on each side of the nearest
integer to the location, and an escape) are integers that sum to 2^24, so that coding depends on no
floating-point function of the machine. The table holds scales up to 4 bins: for larger ones the low
bits of the value, which are almost uniform, are sent apart. docs/format.md specifies all of it.

The range coder is constriction's (32-bit words, 64-bit state, 24-bit frequencies).
"""

import functools
import math
import zlib
from collections.abc import Callable
from typing import Any

import constriction
import numpy as np

from overfit.errors import UserError

LOCATION_UNITS = 1 << 5  # per bin
SCALE_UNITS = 1 << 3  # per octave
TABLE_SCALES = 64  # scale indices with a row of their own; above, the low bits are split off
MIN_LOG2_SCALE = -6  # of scale index 0
MAX_SCALE_INDEX = 207  # 2^19.9 bins
REACH = 31  # values on each side of the center that are symbols of their own
SYMBOLS = 2 * REACH + 2  # the last one is the escape
TOTAL = 1 << 24
# A little of a wide Laplace distribution is mixed in: an unexpected value costs about 16 bits, as
# the loss of the fit assumes, and an expected one 0.0002 bits more.
OUTLIER_SHARE, OUTLIER_SCALE = 2.0**-13, 3.0
_MAX_ESCAPE_BITS = 24
_TABLE_CRC = {"laplace": 0x8F976282, "gaussian": 0xC99BA5B0}
_stream: Any = getattr(constriction, "stream")  # noqa: B009  (the extension has no type stubs)
_CATEGORICAL = _stream.model.Categorical(perfect=False)
_BIT = _stream.model.Uniform(2)

CORRUPT = "the coded data are damaged: they do not decode to a valid signal"


def laplace_mass(edges: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Mass of a zero-mean Laplace distribution between consecutive edges (last axis)."""
    tail = 0.5 * np.exp(-np.abs(edges) / scale)
    cdf = np.where(edges < 0, tail, 1.0 - tail)
    mass = np.diff(cdf, axis=-1)
    # On the right-hand side the difference of tails keeps the digits that 1 - tail loses.
    return np.where(edges[..., :-1] > 0, tail[..., :-1] - tail[..., 1:], mass)


def _gaussian_mass(edges: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Likewise of a Gaussian of that standard deviation."""
    tail = 0.5 * np.vectorize(math.erfc)(np.abs(edges) / (scale * math.sqrt(2)))
    mass = np.diff(np.where(edges < 0, tail, 1.0 - tail), axis=-1)
    return np.where(edges[..., :-1] > 0, tail[..., :-1] - tail[..., 1:], mass)


_MASSES: dict[str, Callable] = {"laplace": laplace_mass, "gaussian": _gaussian_mass}


def exact_frequencies(family: str = "laplace") -> np.ndarray:
    """Real-valued frequencies before rounding: float64 [TABLE_SCALES * LOCATION_UNITS, SYMBOLS]."""
    scales = 2.0 ** (np.arange(TABLE_SCALES) / SCALE_UNITS + MIN_LOG2_SCALE)
    fractions = np.arange(LOCATION_UNITS) / LOCATION_UNITS - 0.5
    edges = np.arange(-REACH, REACH + 2) - 0.5 - fractions[:, None]  # (fractions, SYMBOLS)
    mass = _MASSES[family](edges[None], scales[:, None, None])
    mass = (1 - OUTLIER_SHARE) * mass + OUTLIER_SHARE * laplace_mass(
        edges, np.asarray(OUTLIER_SCALE)
    )
    escape = 1.0 - mass.sum(axis=-1, keepdims=True)
    mass = np.concatenate([mass, np.maximum(escape, 0.0)], axis=-1)
    return mass.reshape(-1, SYMBOLS) * (TOTAL - SYMBOLS)


def rounded(exact: np.ndarray) -> np.ndarray:
    """Real-valued frequencies as integers, float64, of which every row sums to TOTAL - SYMBOLS."""
    table = np.floor(exact + 0.5)
    largest = table.argmax(axis=-1)
    table[np.arange(len(table)), largest] += TOTAL - SYMBOLS - table.sum(axis=-1)
    return table


@functools.cache
def frequencies(family: str = "laplace") -> np.ndarray:
    """float32 [rows, SYMBOLS], integers that sum to TOTAL - SYMBOLS in each row.

    Row (i * 32 + f) is scale index i with the location f/32 - 1/2 bins from the nearest integer.
    The coder adds 1 to each: constriction leaves every symbol a frequency of at least 1.
    """
    table = rounded(exact_frequencies(family))
    if zlib.crc32(table.astype(">u4").tobytes()) != _TABLE_CRC[family]:
        raise RuntimeError(
            "the frequency table differs from the one of the format: this machine's exp() is off "
            "by more than any correct one; files made here would not decode elsewhere"
        )
    return table.astype(np.float32)


@functools.cache
def _costs(family: str) -> np.ndarray:
    """float32 [rows, SYMBOLS]: bits that each symbol takes."""
    return (-np.log2((frequencies(family) + 1) / TOTAL)).astype(np.float32)


def _split(location: np.ndarray, scale: np.ndarray):
    """(nearest integer to the location, table row, number of low bits sent apart) per value.

    The last is 0 where no value has any.
    """
    base = (location + LOCATION_UNITS // 2) >> 5
    fraction = location - (base << 5) + LOCATION_UNITS // 2
    if not scale.size or np.maximum.reduce(scale) < TABLE_SCALES:
        return base, (scale << 5) + fraction, 0
    low_bits = np.maximum(scale - (TABLE_SCALES - SCALE_UNITS), 0) >> 3
    # The coarse value (d + 2^(k-1)) >> k of a distance d lies at (d + 1/2) / 2^k of its own units.
    fraction = np.where(low_bits > 0, (fraction >> low_bits) + LOCATION_UNITS // 2, fraction)
    return base, ((scale - SCALE_UNITS * low_bits) << 5) + fraction, low_bits


def _to_symbols(values, location, scale):
    """(symbols, coarse distances, low parts, rows, numbers of low bits)."""
    base, row, low_bits = _split(location, scale)
    low_bits = np.broadcast_to(low_bits, values.shape)
    shifted = values - base + (1 << low_bits >> 1)
    coarse = shifted >> low_bits
    symbols = np.where(np.abs(coarse) <= REACH, coarse + REACH, SYMBOLS - 1)
    return symbols, coarse, shifted - (coarse << low_bits), row, low_bits


def _escape_bits(coarse: int) -> str:
    """Exp-Golomb code of a distance beyond REACH: sign, length, digits."""
    code = bin(abs(coarse) - REACH)[2:]
    return ("1" if coarse < 0 else "0") + "0" * (len(code) - 1) + code


def costs(values: np.ndarray, location, scale, family: str = "laplace") -> np.ndarray:
    """Bits that `Encoder.code` would spend on each of int64 `values`: float64, of their shape."""
    values, location, scale = np.broadcast_arrays(values, location, scale)
    symbols, coarse, _, row, low_bits = _to_symbols(values, location, scale)
    spent = _costs(family)[row, symbols] + low_bits.astype(np.float64)
    escaped = symbols == SYMBOLS - 1
    spent[escaped] += escape_bits(coarse[escaped])
    return spent


def escape_bits(coarse: np.ndarray) -> np.ndarray:
    """Length of the code of distances beyond REACH."""
    return 2 * np.floor(np.log2(np.abs(coarse) - REACH)) + 2


def masses(values: np.ndarray, location: np.ndarray, scale: np.ndarray, family: str) -> np.ndarray:
    """Probability of int64 values in units of 2^-24: int64, of their shape; 0 or more."""
    symbols, _, _, row, low_bits = _to_symbols(values, location, scale)
    return (frequencies(family)[row, symbols].astype(np.int64) + 1) >> low_bits


def bits(values: np.ndarray, location, scale) -> float:
    """What `Encoder.code` would spend on all of int64 `values`, without coding them."""
    return float(costs(values, location, scale).sum())


class Encoder:
    """Writes integers; the counterpart of `Decoder`, call for call."""

    def __init__(self):
        self._coder = _stream.queue.RangeEncoder()

    def uniform(self, value: int | None, size: int) -> int:
        """One value in 0 .. size-1 (size <= 2^24) under a flat model."""
        assert value is not None and 0 <= value < size
        if size > 1:
            self._coder.encode(value, _stream.model.Uniform(size))
        return value

    def code(self, values: np.ndarray | None, location, scale, family: str = "laplace"):
        """Integers [n] under the models named by location and scale, int64 [n] each."""
        assert values is not None
        symbols, coarse, low, row, low_bits = _to_symbols(values, location, scale)
        self._escaping(symbols, coarse, frequencies(family)[row])
        for i in np.flatnonzero(low_bits):
            self.uniform(int(low[i]), 1 << int(low_bits[i]))
        return values

    def code_rows(self, values: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
        """Integers [n] whose frequencies are the rows of a table, float32 [n, SYMBOLS]."""
        assert values is not None
        symbols = np.where(np.abs(values) <= REACH, values + REACH, SYMBOLS - 1)
        self._escaping(symbols, values, rows)
        return values

    def symbols(self, values: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
        """Likewise integers in 0 .. SYMBOLS-1 without an escape."""
        assert values is not None
        self._coder.encode(values.astype(np.int32), _CATEGORICAL, rows)
        return values

    def _escaping(self, symbols: np.ndarray, coarse: np.ndarray, rows: np.ndarray) -> None:
        self.symbols(symbols, rows)
        for i in np.flatnonzero(symbols == SYMBOLS - 1):
            for bit in _escape_bits(int(coarse[i])):
                self._coder.encode(int(bit), _BIT)

    def finish(self) -> bytes:
        # Big-endian words, so that zeros at the end can be left out; of more than 7 a decoder would
        # think that they are missing.
        data = self._coder.get_compressed().astype(">u4").tobytes()
        return data[: max(len(data.rstrip(b"\0")), len(data) - 7)]


class Decoder:
    """Reads what `Encoder` wrote; raises UserError on data that no encoder writes."""

    def __init__(self, data: bytes):
        words = np.frombuffer(data + bytes(-len(data) % 4), ">u4").astype(np.uint32)
        self._coder = _stream.queue.RangeDecoder(words)
        # Past the end of the data only what the coder keeps in its state can still come out.
        self._bits_left = 160.0

    def _spend(self, amount: float) -> None:
        self._bits_left -= amount
        if self._bits_left < 0:
            raise UserError("the coded data end too early: the file is truncated or damaged")

    def _decode(self, *model) -> Any:
        try:
            return self._coder.decode(*model)
        except (AssertionError, ValueError) as error:
            raise UserError(CORRUPT) from error

    def uniform(self, value: None, size: int) -> int:
        del value
        if size == 1:
            return 0
        if self._coder.maybe_exhausted():
            self._spend(np.log2(size))
        return self._decode(_stream.model.Uniform(size))

    def code(self, values: None, location, scale, family: str = "laplace") -> np.ndarray:
        del values
        base, row, low_bits = _split(location, scale)
        coarse = self.code_rows(None, frequencies(family)[row])
        if isinstance(low_bits, int):
            return coarse + base
        decoded = coarse << low_bits
        for i in np.flatnonzero(low_bits):
            decoded[i] += self.uniform(None, 1 << int(low_bits[i]))
        return decoded - (1 << low_bits >> 1) + base

    def symbols(self, values: None, rows: np.ndarray) -> np.ndarray:
        del values
        exhausted = self._coder.maybe_exhausted()
        symbols = self._decode(_CATEGORICAL, rows)
        if exhausted:
            taken = np.take_along_axis(rows, symbols[:, None], 1)
            self._spend(float(-np.log2((taken + 1.0) / TOTAL).sum()))
        return symbols.astype(np.int64)

    def code_rows(self, values: None, rows: np.ndarray) -> np.ndarray:
        coarse = self.symbols(values, rows) - REACH
        if coarse.size and np.maximum.reduce(coarse) > REACH:
            for i in np.flatnonzero(coarse > REACH):
                coarse[i] = self._escape()
        return coarse

    def _escape(self) -> int:
        sign = -1 if self.uniform(None, 2) else 1
        length = 0
        while not self.uniform(None, 2):
            length += 1
            if length > _MAX_ESCAPE_BITS:
                raise UserError(CORRUPT)
        code = 1
        for _ in range(length):
            code = 2 * code + self.uniform(None, 2)
        return sign * (REACH + code)
