"""The code of network parameters: exact, and as small as its cost function says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from overfit.coding import laplace, parameters
from overfit.coding.laplace import Decoder, Encoder
from overfit.coding.parameters import (
    MAX_EXPONENT,
    Change,
    Prior,
    Quantized,
    bits,
    code_array,
    code_change,
    quantize,
)


def coded(*items: Quantized) -> bytes:
    encoder = Encoder()
    for array in items:
        code_array(encoder, array, array.k.shape)
    return encoder.finish()


quantized = st.builds(
    Quantized,
    arrays(
        np.int64,
        st.sampled_from([(1,), (5,), (2, 3), (2, 3, 4)]),
        elements=st.one_of(st.integers(-3, 3), st.integers(-(2**20), 2**20)),
    ),
    st.integers(0, MAX_EXPONENT),
)


@given(st.lists(quantized, min_size=1, max_size=4))
@settings(deadline=None)
def test_arrays_come_back(items):
    decoder = Decoder(coded(*items))
    for array in items:
        again = code_array(decoder, None, array.k.shape)
        assert again.e == array.e and again.k.shape == array.k.shape
        np.testing.assert_array_equal(again.k, array.k)


@pytest.mark.parametrize("shape", [(0,), (18, 0)])
def test_empty_arrays_cost_next_to_nothing_and_come_back(shape):
    """The first weights of an entropy network without context are [18, 0]."""
    array = quantize(np.zeros(shape), 5)
    assert bits(array) < 16
    again = code_array(Decoder(coded(array)), None, shape)
    assert again.e == 5 and again.k.shape == shape


@pytest.mark.parametrize("spread", [0.01, 0.3, 1, 5, 40, 3000, 1e6])
@pytest.mark.parametrize("distribution", ["laplace", "normal", "uniform"])
def test_bits_are_what_is_spent(distribution, spread):
    """The search for quantization steps weighs these bits against distortion."""
    rng = np.random.default_rng(0)
    low = () if distribution != "uniform" else (-spread,)
    k = np.rint(getattr(rng, distribution)(*(low or (0,)), spread, (40, 50))).astype(np.int64)
    array = Quantized(k, 7)
    spent = 8 * len(coded(array))
    assert abs(bits(array) - spent) <= 40 + 0.001 * spent


@pytest.mark.parametrize("spread", [0, 0.01, 0.3, 1, 5, 40, 3000, 1e6])
@pytest.mark.parametrize("distribution", ["laplace", "normal", "student"])
def test_the_scale_is_the_best_one(distribution, spread):
    rng = np.random.default_rng(1)
    samples = {
        "laplace": rng.laplace(0, 1, 400),
        "normal": rng.normal(0, 1, 400),
        "student": rng.standard_t(3, 400),  # a few weights far above the others
    }[distribution]
    k = np.rint(spread * samples).astype(np.int64)
    scale, cost = parameters.best_scale(k)
    zeros = np.zeros(k.size, np.int64)
    costs = [laplace.bits(k, zeros, np.full(k.size, i)) for i in range(0, 208, 2)]
    assert cost == pytest.approx(costs[scale])
    assert cost <= min(costs) * 1.001 + 1


def test_rounding_is_to_the_nearest_multiple_of_the_step():
    theta = np.random.default_rng(2).normal(0, 1, 1000).astype(np.float32)
    for e in range(MAX_EXPONENT + 1):
        array = quantize(theta, e)
        assert array.e == e and array.k.dtype == np.int64
        assert np.abs(array.value().astype(np.float64) - theta).max() <= 0.5 * 2.0**-e


def test_values_are_exact_in_float32():
    """The decoder's weights are the encoder's, to the last bit."""
    k = np.array([0, 1, -1, 2**24 - 1, -(2**24) + 1])
    for e in range(MAX_EXPONENT + 1):
        value = Quantized(k, e).value()
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value.astype(np.float64) * 2.0**e, k)


def test_finer_steps_cost_about_a_bit_per_value_each():
    theta = np.random.default_rng(3).normal(0, 1, 1000)
    sizes = [bits(quantize(theta, e)) for e in range(3, 12)]
    assert np.abs(np.diff(sizes) - 1000).max() < 30


# -- Changes against a base ------------------------------------------------------------------------


def coded_changes(*items: Change) -> bytes:
    encoder = Encoder()
    for array in items:
        code_change(encoder, array, array.prior)
    return encoder.finish()


@st.composite
def changes(draw):
    center = draw(quantized)
    element = st.one_of(st.just(0), st.integers(-3, 3), st.integers(-(2**20), 2**20))
    k = draw(arrays(np.int64, center.k.shape, elements=element))
    return Change(k, draw(st.integers(0, MAX_EXPONENT)), Prior(center, draw(st.integers(0, 80))))


@given(st.lists(changes(), min_size=1, max_size=4))
@settings(deadline=None)
def test_changes_come_back(items):
    decoder = Decoder(coded_changes(*items))
    for array in items:
        again = code_change(decoder, None, array.prior)
        np.testing.assert_array_equal(again.k, array.k)
        np.testing.assert_array_equal(again.value(), array.value())


@given(changes())
@settings(deadline=None)
def test_a_changed_array_is_exact(array):
    """The sum has one value, whatever the two exponents."""
    theta = array.absolute()
    exact = array.k * 2.0**-array.e + array.prior.center.k * 2.0**-array.prior.center.e
    np.testing.assert_array_equal(theta.k * 2.0**-theta.e, exact)


def test_no_change_costs_a_bit():
    prior = Prior(quantize(np.ones((20, 20)), 12), 50)
    array = quantize(np.ones((20, 20)), 5, prior)
    assert bits(array) == 1 and len(coded_changes(array)) <= 4
    np.testing.assert_array_equal(array.value(), np.ones((20, 20)))


@pytest.mark.parametrize("scale", [0.003, 0.02, 0.1, 1.0])
@pytest.mark.parametrize("off", [0.3, 1, 3])
def test_changes_near_their_prior_cost_what_they_should(scale, off):
    """Within 4 % of the entropy of a Laplace distribution that is known exactly."""
    rng = np.random.default_rng(0)
    prior = Prior(quantize(np.zeros((40, 50)), 12), round(4 * (np.log2(scale * off) + 16)))
    array = quantize(rng.laplace(0, scale, (40, 50)), 12, prior)
    spent = 8 * len(coded_changes(array))
    assert abs(bits(array) - spent) <= 40 + 0.001 * spent
    entropy = array.k.size * np.log2(2 * np.e * scale * 2**12)
    assert spent <= 1.04 * entropy + 40
