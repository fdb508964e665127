from decimal import Decimal, getcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overfit.coding.parameters import Quantized
from overfit.coding.relative_gains import FACTOR_BITS, exp2, relative_gains
from overfit.nn import gains
from overfit.nn.gains import MAX_RELATIVE


def test_no_power_of_two_depends_on_how_floats_are_rounded():
    """All that there are are further from a half than any float's error, and are the exact ones."""
    getcontext().prec = 40
    log2 = np.arange(-MAX_RELATIVE * 1024, MAX_RELATIVE * 1024 + 1)
    ln2 = Decimal(2).ln()
    exact = [(ln2 * int(x) / 1024).exp() * 2**FACTOR_BITS for x in log2]
    whole = np.array([int(x + Decimal("0.5")) for x in exact])
    distances = [abs(x % 1 - Decimal("0.5")) for x in exact]
    assert min(distances) > 1e-6  # floats of up to 2^20 are exact to 2^-32
    assert np.array_equal(exp2(log2.astype(np.float64)), whole)


tables = st.integers(1, 5).flatmap(
    lambda rates: st.lists(
        st.lists(st.integers(-(2**11), 2**11), min_size=3, max_size=3),
        min_size=rates,
        max_size=rates,
    )
)


@given(tables, st.integers(0, 12), st.data())
def test_integers_are_those_of_a_fit(rows, e, data):
    table = Quantized(np.array(rows, np.int64), e)
    position = data.draw(st.integers(0, gains.RATE_UNITS * (len(rows) - 1)))
    found = relative_gains(table, position)
    expected = gains.relative_log2(table.k * 2.0**-e, np.float64(position / gains.RATE_UNITS))
    assert found.log2.shape == (3, 1, 1)
    np.testing.assert_allclose(found.log2 / 1024, expected, atol=0.501 / 1024)
    np.testing.assert_allclose(found.factor / 2**FACTOR_BITS, np.exp2(expected), rtol=0.04)


def test_a_single_rate_changes_nothing():
    """As in the released code, which has a network for each."""
    found = relative_gains(Quantized(np.array([[5, -3]]), 2), 0)
    x = np.array([[-1000.0, 17.0]]).reshape(2, 1, 1)
    assert np.array_equal(found.to_rate(x), x) and np.array_equal(found.to_middle(x), x)


def test_whatever_a_damaged_file_says_is_bounded():
    found = relative_gains(Quantized(np.array([[2**40, -(2**40)], [0, 0]]), 0), 0)
    assert np.abs(found.log2).max() == MAX_RELATIVE * 1024
    huge = np.array([1e18, -1e18]).reshape(2, 1, 1)
    for values in (found.to_rate(huge), found.to_middle(huge)):
        assert np.array_equal(values, np.rint(values)) and np.abs(values).max() <= 2**22


@pytest.mark.parametrize("x", [-100000, -1, 0, 1, 1023, 2**21])
def test_to_the_middle_and_back(x):
    found = relative_gains(Quantized(np.array([[1], [4]]), 1), 16)
    back = found.to_middle(found.to_rate(np.full((1, 1, 1), float(x))))
    assert abs(back.item() - x) <= 1 + abs(x) / 1000
