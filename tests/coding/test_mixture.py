"""Codes of mixtures: what goes in comes out, at the cost of the true mixture, by the document."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overfit.coding import laplace, mixture
from overfit.coding.laplace import REACH, SYMBOLS, TOTAL, Decoder, Encoder
from overfit.coding.mixture import Mixture
from overfit.errors import UserError

ONE = 1 << mixture.SHARE_BITS


def drawn(rng, n, components=3, scales=(16, 104), apart=2.0):
    """(values, mixtures): samples of mixtures whose components lie about so many bins apart."""
    shape = (components, n)
    scale = rng.integers(scales[0], scales[1] + 1, shape)
    location = rng.integers(-3000, 3000, n) + np.rint(32 * apart * rng.normal(size=shape))
    location = location.astype(np.int64)
    gains = np.full(shape, 1 << mixture.GAIN_BITS)
    gains[1:] = rng.integers(0, 1 << mixture.GAIN_BITS, (components - 1, n))
    mixed = Mixture(location, scale, mixture.shares(rng.integers(-150, 150, shape), gains))
    component = (rng.integers(0, ONE, n) >= mixed.share.cumsum(axis=0)).sum(axis=0)
    mean, deviation = (a[component, np.arange(n)] for a in (location / 32, 2.0 ** (scale / 8 - 6)))
    return np.rint(mean + deviation * rng.normal(size=n)).astype(np.int64), mixed


def coded(values, mixed):
    encoder = Encoder()
    mixture.code(encoder, values, mixed)
    return encoder.finish()


# What goes in comes out


_INTEGERS = st.one_of(st.integers(-40, 40), st.integers(-(1 << 20), 1 << 20))
_COMPONENT = st.tuples(
    st.one_of(st.integers(-1300, 1300), st.integers(-(2**17), 2**17)),
    st.integers(0, laplace.MAX_SCALE_INDEX // 2),
    st.integers(-300, 300),
    st.integers(0, 1 << mixture.GAIN_BITS),
)


@given(st.integers(1, 4).flatmap(lambda k: st.lists(
    st.tuples(_INTEGERS, st.lists(_COMPONENT, min_size=k, max_size=k)), min_size=1, max_size=15
)))  # fmt: skip
@settings(deadline=None)
def test_values_come_back(cases):
    values = np.array([value for value, _ in cases])
    location, scale, logs, gains = np.array([parts for _, parts in cases]).transpose(2, 1, 0)
    gains[0] = 1 << mixture.GAIN_BITS
    mixed = Mixture(location, scale, mixture.shares(logs, gains))
    assert (mixed.share >= 0).all() and (mixed.share.sum(axis=0) == ONE).all()
    np.testing.assert_array_equal(mixture.code(Decoder(coded(values, mixed)), None, mixed), values)


def test_one_component_is_a_gaussian():
    values, (location, scale, _) = drawn(np.random.default_rng(0), 500, 1)
    encoder = Encoder()
    encoder.code(values, location[0], scale[0], "gaussian")
    one = mixture.single(location[0], scale[0])
    assert coded(values, one) == encoder.finish()
    expected = laplace.costs(values, location[0], scale[0], "gaussian")
    assert np.array_equal(mixture.costs(values, one), expected)


def test_equal_components_are_one():
    """The table's frequencies exactly, so that their shares do not matter."""
    values, (location, scale, _) = drawn(np.random.default_rng(1), 500, 1, (16, 63))
    encoder = Encoder()
    encoder.code(values, location[0], scale[0], "gaussian")
    share = np.array([[ONE // 4], [3 * ONE // 4]]).repeat(len(values), axis=1)
    two = Mixture(location.repeat(2, axis=0), scale.repeat(2, axis=0), share)
    assert coded(values, two) == encoder.finish()


# What it costs


def true_bits(value, location, scale, share):
    total = 0.0
    for mean, deviation, part in zip(location / 32, 2.0 ** (scale / 8 - 6), share, strict=True):
        far = abs(value - mean)
        ends = ((far + d) / deviation / math.sqrt(2) for d in (-0.5, 0.5))
        near, beyond = (0.5 * math.erfc(end) for end in ends)
        outlier = math.sinh(0.5 / 3) * math.exp(-far / 3)
        total += part / ONE * ((1 - 2**-13) * (near - beyond) + 2**-13 * outlier)
    return -math.log2(total)


@pytest.mark.parametrize(
    ("scales", "apart", "loss"),
    [((16, 60), 1.0, 1e-4), ((16, 104), 1.0, 0.01), ((64, 104), 10.0, 0.03)],
)
def test_the_code_has_the_length_of_the_true_mixture(scales, apart, loss):
    values, mixed = drawn(np.random.default_rng(2), 3000, 3, scales, apart)
    costs = mixture.costs(values, mixed)
    assert 8 * len(coded(values, mixed)) == pytest.approx(costs.sum(), rel=0.003, abs=64)
    true = np.array([true_bits(values[i], *mixed.at(i)) for i in range(len(values))])
    assert costs.mean() == pytest.approx(true.mean(), abs=loss)


def test_shares_are_powers_of_two_times_gains():
    rng = np.random.default_rng(3)
    logs, gains = rng.integers(-400, 400, (3, 200)), rng.integers(0, 1025, (3, 200))
    gains[0] = 1024
    found = mixture.shares(logs, gains)
    weights = 2.0 ** (np.clip(logs, -224, 224) / 32) * gains
    # The least power has nine bits.
    assert np.abs(found - ONE * weights / weights.sum(axis=0)).max() < ONE / 2**9


# The format


def plain_row(components, base, k):
    """Frequencies by the document, from integers of Python alone."""
    table = laplace.frequencies("gaussian").astype(int).tolist()
    row = [0] * (SYMBOLS - 1)
    for location, scale, share in components:
        place = location - 32 * base
        if k:
            place = (place + 16) >> k
        bins = (place + 16) // 32
        entries = table[32 * min(max(scale - 8 * k, 0), 63) + place - 32 * bins + 16]
        for c in range(-REACH, REACH + 1):
            if abs(c - bins) <= REACH:
                row[c + REACH] += share * entries[c - bins + REACH]
    row = [entry >> 16 for entry in row]
    return [entry + 1 for entry in [*row, TOTAL - SYMBOLS - sum(row)]]


def plain_low_row(components, start, k):
    table = laplace.frequencies("gaussian").astype(int).tolist()
    masses = []
    for value in range(start, start + 2**k):
        total = 0
        for location, scale, share in components:
            base = (location + 16) // 32
            f = location - 32 * base + 16
            bits = max(scale - 56, 0) // 8
            f = (f >> bits) + 16 if bits else f
            coarse = (value - base + (2**bits >> 1)) >> bits
            symbol = coarse + 31 if abs(coarse) <= 31 else 63
            total += share * (table[32 * (scale - 8 * bits) + f][symbol] + 1 >> bits)
        masses.append((total >> 16) + 1)
    row = [mass * (TOTAL - SYMBOLS) // sum(masses) for mass in masses] + [0] * (64 - 2**k)
    row[row.index(max(row))] += TOTAL - SYMBOLS - sum(row)
    return [entry + 1 for entry in row]


class Recorder:
    """A coder that keeps the frequencies of all that it is given."""

    def __init__(self):
        self.taken = []

    def code_rows(self, values, rows):
        self.taken.append((np.where(np.abs(values) <= REACH, values + REACH, 63), rows))
        return values

    def symbols(self, values, rows):
        self.taken.append((values, rows))
        return values


def test_rows_are_those_of_the_document():
    values, mixed = drawn(np.random.default_rng(4), 150, apart=10.0)
    recorder = Recorder()
    mixture.code(recorder, values, mixed)
    (symbols, rows), (lows, low_rows) = recorder.taken
    wide = iter(range(len(lows)))
    for i, value in enumerate(values):
        components = list(zip(*(array[:, i].tolist() for array in mixed), strict=True))
        heaviest = max(components, key=lambda part: part[2])
        base = (heaviest[0] + 16) // 32
        k = max(max(scale - 56, 0) // 8 for _, scale, share in components if share)
        first = base - (2**k >> 1)
        coarse = (value - first) >> k
        assert symbols[i] == (coarse + 31 if abs(coarse) <= 31 else 63)
        assert (rows[i].astype(int) + 1).tolist() == plain_row(components, base, k)
        if k:
            j, start = next(wide), first + coarse * 2**k
            assert lows[j] == value - start
            assert (low_rows[j].astype(int) + 1).tolist() == plain_low_row(components, start, k)
    assert next(wide, None) is None


def test_low_parts_that_do_not_exist_are_refused():
    """Their frequencies are padded to 64 symbols, which noise may hit."""
    mixed = Mixture(np.zeros((2, 1), int), np.full((2, 1), 70), np.full((2, 1), ONE // 2))
    base, low_bits, rows = mixture._coarse(mixed)
    encoder = Encoder()
    encoder.code_rows(np.zeros(1, int), rows)
    encoder.symbols(np.array([63]), mixture._low(mixed, base - (1 << low_bits >> 1), low_bits))
    with pytest.raises(UserError, match="damaged"):
        mixture.code(Decoder(encoder.finish()), None, mixed)
