"""Large networks in exact integers: the bound is kept for the worst parameters there can be."""

import numpy as np
import pytest

from overfit.coding import fixed_point
from overfit.coding.parameters import Quantized
from overfit.errors import UserError


def test_the_worst_sum_is_exact():
    """The largest weights, inputs and number of terms that are allowed, against Python integers."""
    n = fixed_point.MAX_TERMS
    w = Quantized(np.full((1, n), fixed_point.MAX_WEIGHT - 1), fixed_point.WEIGHT_BITS)
    b = Quantized(np.array([fixed_point.MAX_WEIGHT]), fixed_point.WEIGHT_BITS)
    x = np.full((n, 1), fixed_point.MAX_ACTIVATION - 1.0)
    weights, bias = fixed_point.layer(w, b)
    exact = n * (fixed_point.MAX_WEIGHT - 1) * (fixed_point.MAX_ACTIVATION - 1)
    exact += fixed_point.MAX_WEIGHT << fixed_point.ACTIVATION_BITS
    assert exact < 2**53
    assert int((weights @ x + bias[:, None])[0, 0]) == exact
    assert fixed_point.dense(weights, bias, x)[0, 0] == fixed_point.MAX_ACTIVATION


def test_order_of_sums_does_not_matter():
    rng = np.random.default_rng(0)
    w = Quantized(rng.integers(-(2**16), 2**16, (5, 400)), 12)
    weights, bias = fixed_point.layer(w, Quantized(rng.integers(-(2**16), 2**16, 5), 12))
    x = rng.integers(-(2**22), 2**22, (400, 7)).astype(np.float64)
    turned = fixed_point.dense(weights[:, ::-1].copy(), bias, x[::-1].copy())
    assert np.array_equal(fixed_point.dense(weights, bias, x), turned)
    one = [fixed_point.dense(weights, bias, x[:, i : i + 1]) for i in range(7)]
    assert np.array_equal(np.concatenate(one, axis=1), turned)


@pytest.mark.parametrize(
    "k, e", [(fixed_point.MAX_WEIGHT + 1, 12), (17, 0), (1, 13), (-(2**40), 5), (2**62, 12)]
)
def test_parameters_beyond_the_bound_are_refused(k, e):
    with pytest.raises(UserError, match="damaged"):
        fixed_point.layer(Quantized(np.array([[k]]), e), Quantized(np.zeros(1, np.int64), 0))


def test_leaky_relu_and_gain_round_to_nearest():
    assert fixed_point.leaky(np.array([-1000.0, 0.0, 5.0])).tolist() == [-200.0, 0.0, 5.0]
    assert fixed_point.scale(np.array([[100.0]]), np.array([512.0])).tolist() == [[50.0]]
