"""The range code of the latents: what goes in comes out, at the promised cost, on any machine."""

from decimal import Decimal, getcontext

import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overfit.coding import laplace
from overfit.coding.laplace import REACH, SYMBOLS, TOTAL, Decoder, Encoder
from overfit.errors import UserError

MAX_LATENT = 1 << 20
ROWS = laplace.TABLE_SCALES * laplace.LOCATION_UNITS


def drawn(rng, n, scales=(0, laplace.MAX_SCALE_INDEX), reach=500):
    """(values, locations, scale indices): samples of the models that name them."""
    scale = rng.integers(scales[0], scales[1] + 1, n)
    location = rng.integers(-32 * reach, 32 * reach, n)
    spread = 2.0 ** (scale / laplace.SCALE_UNITS + laplace.MIN_LOG2_SCALE)
    values = np.rint(location / 32 + rng.laplace(size=n) * spread).astype(np.int64)
    return np.clip(values, -MAX_LATENT, MAX_LATENT), location, scale


class PlainDecoder:
    """The range decoder and the code of one value, from the published algorithm alone.

    64 bits of state, 32-bit words, frequencies of 24 bits (Martin, 1979, in constriction's
    variant); Python integers, so that nothing can overflow or round.
    """

    def __init__(self, data: bytes):
        padded = data + bytes(-len(data) % 4)
        self.words = [int.from_bytes(padded[i : i + 4], "big") for i in range(0, len(padded), 4)]
        self.low, self.range = 0, 2**64 - 1
        self.point = self.next_word() << 32 | self.next_word()

    def next_word(self) -> int:
        return self.words.pop(0) if self.words else 0

    def interval(self, ends: list[int]) -> int:
        """The symbol whose interval [ends[i], ends[i + 1]) of 2^24 holds the point."""
        unit = self.range >> 24
        place = (self.point - self.low) % 2**64 // unit
        symbol = next(i for i in range(len(ends) - 1) if place < ends[i + 1])
        self.low = (self.low + unit * ends[symbol]) % 2**64
        self.range = unit * (ends[symbol + 1] - ends[symbol])
        if self.range < 2**32:
            self.low, self.range = self.low << 32 & 2**64 - 1, self.range << 32
            self.point = self.point << 32 & 2**64 - 1 | self.next_word()
        return symbol

    def uniform(self, size: int) -> int:
        """Equal intervals, the last of which takes what the division leaves over."""
        return self.interval([i * (TOTAL // size) for i in range(size)] + [TOTAL])

    def row(self, row: int) -> int:
        frequencies = laplace.frequencies()[row].astype(int).tolist()
        ends = [sum(frequencies[:k]) + k for k in range(SYMBOLS + 1)]
        return self.interval(ends)

    def code(self, locations, scales) -> list[int]:
        """Symbols of all values, then the escapes, then the low bits."""
        bases, low_bits, coarse = [], [], []
        for location, scale in zip(locations, scales, strict=True):
            bases.append((location + 16) // 32)
            fraction = location + 16 - 32 * bases[-1]
            k = 0
            while scale >= 64:
                k, scale = k + 1, scale - 8
            low_bits.append(k)
            coarse.append(self.row(32 * scale + ((fraction >> k) + 16 if k else fraction)) - REACH)
        for i, distance in enumerate(coarse):
            if distance == SYMBOLS - 1 - REACH:
                sign, zeros, code = 1 - 2 * self.uniform(2), 0, 1
                while not self.uniform(2):
                    zeros += 1
                for _ in range(zeros):
                    code = 2 * code + self.uniform(2)
                coarse[i] = sign * (REACH + code)
        values = []
        for base, k, distance in zip(bases, low_bits, coarse, strict=True):
            low = self.uniform(1 << k) if k else 0
            values.append((distance << k) + low - (1 << k >> 1) + base)
        return values


# What goes in comes out


@st.composite
def messages(draw):
    """Calls to an encoder: ("uniform", value, size) or ("code", values, locations, scales)."""
    calls = []
    for _ in range(draw(st.integers(1, 5))):
        if draw(st.booleans()):
            size = draw(st.integers(1, TOTAL))
            calls.append(("uniform", draw(st.integers(0, size - 1)), size))
            continue
        triples = draw(
            st.lists(
                st.tuples(
                    st.one_of(st.integers(-40, 40), st.integers(-MAX_LATENT, MAX_LATENT)),
                    st.one_of(st.integers(-1300, 1300), st.integers(-(2**27), 2**27)),
                    st.integers(0, laplace.MAX_SCALE_INDEX),
                ),
                min_size=1,
                max_size=20,
            )
        )
        calls.append(("code", *(np.array(part, np.int64) for part in zip(*triples, strict=True))))
    return calls


@given(messages())
@settings(deadline=None)
def test_messages_come_back(calls):
    encoder = Encoder()
    for name, value, *model in calls:
        getattr(encoder, name)(value, *model)
    decoder = Decoder(encoder.finish())
    for name, value, *model in calls:
        np.testing.assert_array_equal(getattr(decoder, name)(None, *model), value)


def test_a_message_of_first_symbols_comes_back():
    """Its code is a run of zeros, which must survive that zeros at the end are left out."""
    encoder = Encoder()
    for _ in range(20):
        encoder.uniform(0, TOTAL)
    decoder = Decoder(encoder.finish())
    assert [decoder.uniform(None, TOTAL) for _ in range(20)] == [0] * 20


def test_every_scale_codes_outliers_on_both_sides():
    scale = np.arange(laplace.MAX_SCALE_INDEX + 1)
    location = np.full(scale.shape, 7)
    encoder, distances = Encoder(), [31, 32, 33, 62, 63, 1000, MAX_LATENT]
    for distance in distances:
        encoder.code(np.full(scale.shape, distance), location, scale)
        encoder.code(np.full(scale.shape, -distance), location, scale)
    decoder = Decoder(encoder.finish())
    for distance in distances:
        assert (decoder.code(None, location, scale) == distance).all()
        assert (decoder.code(None, location, scale) == -distance).all()


# The format


def test_some_words_of_the_format():
    """A change here makes all existing files unreadable."""
    encoder = Encoder()
    encoder.uniform(3, 17)
    encoder.code(np.array([0, 1, -2, 40]), np.array([3, 40, -70, 0]), np.array([20, 48, 60, 30]))
    encoder.code(np.array([500, -12345]), np.array([12000, 320]), np.array([120, 207]))
    assert encoder.finish().hex() == "342156e0a8f708d3be0525bb"


def test_another_decoder_reads_the_words():
    """The description in docs/format.md is enough to read a file."""
    values, location, scale = drawn(np.random.default_rng(0), 200)
    values[::20] += np.random.default_rng(1).integers(-3000, 3000, 10)
    encoder = Encoder()
    encoder.uniform(5, 17)
    encoder.code(values[:70], location[:70], scale[:70])
    encoder.uniform(100, 104)
    encoder.code(values[70:], location[70:], scale[70:])
    plain = PlainDecoder(encoder.finish())
    assert plain.uniform(17) == 5
    assert plain.code(location[:70].tolist(), scale[:70].tolist()) == values[:70].tolist()
    assert plain.uniform(104) == 100
    assert plain.code(location[70:].tolist(), scale[70:].tolist()) == values[70:].tolist()


def symbol_at(place: int, model, *parameters) -> int:
    """What constriction decodes from the first point of a place in 0 .. 2^24."""
    point = ((2**64 - 1) >> 24) * place
    words = np.array([point >> 32, point & 0xFFFFFFFF], np.uint32)
    decoder = constriction.stream.queue.RangeDecoder(words)
    return np.asarray(decoder.decode(model, *parameters)).item()


def test_the_coder_gives_each_symbol_exactly_its_row_of_the_table():
    """Interval k is [sum of the frequencies before + k, ...): one more than the table for each.

    A version of constriction that rounds otherwise would make files that others cannot read.
    """
    model = constriction.stream.model.Categorical(perfect=False)
    for row in range(0, ROWS, 5):
        frequencies = laplace.frequencies()[row]
        ends = np.cumsum(np.concatenate([[0], frequencies.astype(np.int64) + 1]))
        assert ends[-1] == TOTAL
        for k in range(SYMBOLS):
            assert symbol_at(int(ends[k]), model, frequencies[None]) == k
            assert symbol_at(int(ends[k + 1]) - 1, model, frequencies[None]) == k


@pytest.mark.parametrize("size", [2, 3, 17, 104, 1000, 65536, TOTAL])
def test_the_coder_gives_flat_models_equal_intervals(size):
    model, part = constriction.stream.model.Uniform(size), TOTAL // size
    for k in {0, 1, size // 2, size - 2, size - 1}:
        end = TOTAL if k == size - 1 else (k + 1) * part
        assert symbol_at(k * part, model) == k
        assert symbol_at(end - 1, model) == k


# The table


def test_rows_of_the_table_are_integers_that_leave_one_for_each_symbol():
    table = laplace.frequencies()
    assert table.shape == (ROWS, SYMBOLS) and table.dtype == np.float32
    assert (table == np.floor(table)).all() and (table >= 0).all()
    assert (table.sum(axis=1, dtype=np.float64) == TOTAL - SYMBOLS).all()


def test_no_entry_is_so_near_a_half_that_another_exp_would_round_it_otherwise():
    exact = laplace.exact_frequencies()
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-6


def test_the_table_is_that_of_exact_arithmetic():
    """Entries nearest to a half, and some rows, against 40 decimal digits."""
    exact = laplace.exact_frequencies()
    nearest = np.argsort(np.abs(exact - np.floor(exact) - 0.5), axis=None)[:200]
    places = [divmod(int(i), SYMBOLS) for i in nearest]
    places += [(row, k) for row in range(3, ROWS, 205) for k in range(SYMBOLS)]
    getcontext().prec = 40

    def cdf(x, scale):
        tail = (-abs(x) / scale).exp() / 2
        return tail if x < 0 else 1 - tail

    for row, k in places:
        index, f = divmod(row, 32)
        scale = Decimal(2) ** (Decimal(index) / 8 - 6)
        center = Decimal(f) / 32 - Decimal("0.5")
        left, right = Decimal(k - REACH) - center, Decimal(k - REACH + 1) - center
        mass = Decimal(0)
        for share, s in [(1 - Decimal(2) ** -13, scale), (Decimal(2) ** -13, Decimal(3))]:
            if k < SYMBOLS - 1:
                mass += share * (cdf(right - Decimal("0.5"), s) - cdf(left - Decimal("0.5"), s))
            else:  # the escape has all that lies outside
                first, last = (Decimal(edge) - Decimal("0.5") - center for edge in (-31, 32))
                mass += share * (1 - cdf(last, s) + cdf(first, s))
        assert abs(float(mass * (TOTAL - SYMBOLS) - Decimal(exact[row, k]))) < 1e-7


# What it costs


@pytest.mark.parametrize("scales", [(0, 16), (16, 48), (40, 63), (64, 110), (0, 207)])
def test_bits_are_what_is_spent(scales):
    """`bits` decides how networks are quantized: it must tell the size of the file."""
    values, location, scale = drawn(np.random.default_rng(2), 4000, scales)
    values[::100] += 77  # escapes
    encoder = Encoder()
    encoder.code(values, location, scale)
    spent = 8 * len(encoder.finish())
    assert abs(laplace.bits(values, location, scale) - spent) <= 64 + 0.001 * spent


@pytest.mark.parametrize("scale", [0, 8, 24, 48, 63, 64, 80, 140, 207])
def test_the_cost_is_close_to_that_of_the_real_distribution(scale):
    """Neither the outliers mixed in nor the low bits sent apart make a file much larger."""
    values, location, scales = drawn(np.random.default_rng(3), 20000, (scale, scale))
    spread = 2.0 ** (scale / 8 - 6)
    distance = np.abs(values - location / 32)
    inside = -np.expm1(-1 / (2 * spread)) if spread > 1e-3 else 1.0
    with np.errstate(divide="ignore"):
        near = -np.log2(1 - np.exp(-0.5 / spread) * np.cosh(np.minimum(distance, 0.5) / spread))
        far = (distance - 0.5) / spread / np.log(2) + 1 - np.log2(inside * (2 - inside))
    ideal = np.where(distance < 0.5, near, far).sum()
    assert laplace.bits(values, location, scales) <= 1.01 * ideal + 0.001 * len(values) + 8


def test_unexpected_values_cost_no_more_than_some_bytes():
    """A latent that the entropy network did not expect must not blow up the file."""
    for distance, most in [(0, 2e-4), (1, 17), (10, 21), (31, 24), (1000, 44), (MAX_LATENT, 64)]:
        assert laplace.bits(np.array([distance]), np.array([0]), np.array([0])) <= most


# Damaged data


@pytest.mark.parametrize("scale", [0, 20, 48, 63, 64, 120, 207])
def test_nothing_is_decoded_for_ever(scale):
    """A reader that took zeros for data behind the end would hang on a damaged file."""
    rng = np.random.default_rng(4)
    location, scales = np.zeros(1000, np.int64), np.full(1000, scale)
    for length in (0, 1, 4, 30, 200):
        decoder = Decoder(rng.bytes(length))
        with pytest.raises(UserError):
            for _ in range(2000):
                decoder.code(None, location, scales)
        decoder = Decoder(rng.bytes(length))
        with pytest.raises(UserError):
            for _ in range(100_000):
                decoder.uniform(None, 1000)


def test_truncated_data_end_in_an_error_or_in_values():
    rng = np.random.default_rng(5)
    chunks = [drawn(rng, 50, (0, 100)) for _ in range(10)]
    encoder = Encoder()
    for chunk in chunks:
        encoder.code(*chunk)
    data = encoder.finish()
    for length in range(len(data)):
        decoder = Decoder(data[:length])
        try:
            for _, location, scale in chunks:
                assert decoder.code(None, location, scale).shape == (50,)
        except UserError as error:
            assert "damaged" in str(error)


@given(st.binary(max_size=200), st.integers(0, laplace.MAX_SCALE_INDEX))
@settings(deadline=None, max_examples=200)
def test_random_data_end_in_an_error_or_in_values(data, scale):
    decoder = Decoder(data)
    location, scales = np.zeros(100, np.int64), np.full(100, scale)
    try:
        for _ in range(10):
            values = decoder.code(None, location, scales)
            assert values.dtype == np.int64 and values.shape == (100,)
    except UserError as error:
        assert "damaged" in str(error)


def test_an_endless_escape_is_refused():
    zeros = Encoder()
    for bit in [0] * 200:
        zeros.uniform(bit, 2)
    zeros.uniform(1, 2)
    with pytest.raises(UserError, match="valid signal"):
        Decoder(zeros.finish())._escape()


def test_an_almost_certain_signal_ends_where_its_data_end():
    """However little a symbol costs, zeros behind the end of the data do not decode for ever."""
    decoder = Decoder(b"\0" * 20 + b"\x40")
    location, scale = np.zeros(100_000, np.int64), np.zeros(100_000, np.int64)
    with pytest.raises(UserError):
        for _ in range(100):
            decoder.code(None, location, scale)
