import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overfit.errors import UserError
from overfit.metrics.bd_rate import INTERPOLATIONS, bd_psnr, bd_rate, overlap

ANCHOR = [(0.1, 28.0), (0.25, 30.5), (0.5, 33.2), (1.1, 36.9), (2.0, 40.1)]
TEST = [(0.08, 27.5), (0.2, 30.4), (0.55, 34.3), (0.9, 36.6), (1.5, 39.0)]


@st.composite
def rising_curves(draw, least=4):
    """Random curves (rate, quality), rising strictly."""
    count = draw(st.integers(least, 8))
    steps = st.lists(st.floats(0.05, 2), min_size=count, max_size=count)
    rates = np.exp(np.cumsum(draw(steps)) - 3)
    qualities = 25 + np.cumsum(draw(steps))
    return list(zip(rates.tolist(), qualities.tolist(), strict=True))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@settings(deadline=None, max_examples=40)  # the first call imports
@given(anchor=rising_curves(), test=rising_curves())
def test_figures_are_those_of_the_package_that_papers_use(interpolation, anchor, test):
    bjontegaard = pytest.importorskip("bjontegaard")
    columns = [*zip(*anchor, strict=True), *zip(*test, strict=True)]
    options = {"method": interpolation, "require_matching_points": False, "min_overlap": 0}
    if min(anchor[-1][1], test[-1][1]) > max(anchor[0][1], test[0][1]):
        expected = bjontegaard.bd_rate(*columns, **options)
        assert bd_rate(anchor, test, interpolation) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    if min(anchor[-1][0], test[-1][0]) > max(anchor[0][0], test[0][0]):
        expected = bjontegaard.bd_psnr(*columns, **options)
        assert bd_psnr(anchor, test, interpolation) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_the_same_quality_at_a_part_of_the_rate(interpolation):
    saved = [(0.7 * rate, quality) for rate, quality in ANCHOR]
    assert bd_rate(ANCHOR, saved, interpolation) == pytest.approx(-30)
    better = [(rate, quality + 0.4) for rate, quality in ANCHOR]
    assert bd_psnr(ANCHOR, better, interpolation) == pytest.approx(0.4)
    assert bd_rate(ANCHOR, ANCHOR, interpolation) == 0


def test_only_what_both_curves_cover_counts():
    """A curve that goes on, however badly, is not judged where the anchor has nothing."""
    anchor = [(1, 30), (2, 33), (4, 36)]
    test = [(0.25, 27), (0.5, 30), (1, 33), (2, 36), (4, 39), (4000, 45)]
    assert bd_rate(anchor, test) == pytest.approx(-50)


def test_points_may_come_in_any_order():
    shuffled = [TEST[i] for i in (3, 0, 4, 2, 1)]
    assert bd_rate(ANCHOR, shuffled) == bd_rate(ANCHOR, TEST)
    assert bd_psnr(shuffled, ANCHOR) == bd_psnr(TEST, ANCHOR)


def test_overlap_is_the_part_of_the_anchor_that_is_compared():
    assert overlap([(1, 30), (2, 40)], [(1, 39), (2, 50)]) == pytest.approx(0.1)
    assert overlap([(1, 39), (2, 50)], [(1, 30), (2, 40)]) == pytest.approx(1 / 11)
    assert overlap([(1, 32), (2, 34)], [(1, 30), (2, 40)]) == 1
    assert overlap([(1, 30), (2, 31)], [(1, 32), (2, 40)]) == 0


@pytest.mark.parametrize(
    ("anchor", "test", "interpolation", "message"),
    [
        (ANCHOR, TEST[:1], "pchip", "test curve has 1 points and needs 2"),
        (ANCHOR[:1], TEST, "akima", "anchor curve has 1 points and needs 2"),
        (ANCHOR, TEST[:3], "cubic", "test curve has 3 points and needs 4"),
        (ANCHOR, [], "pchip", "test curve has 0 points"),
        (ANCHOR, [(0.1, 50), (0.2, 60)], "pchip", "no quality in common"),
        (ANCHOR, [*TEST, (1.2, 36.0)], "pchip", r"test curve .* from rate 0.9 \(36.6 dB\) to 1.2"),
        ([*ANCHOR, (0.1, 28.0)], TEST, "pchip", "anchor curve does not rise"),
        ([*ANCHOR, (0.1, 28.1)], TEST, "pchip", "anchor curve does not rise"),
        (ANCHOR, [*TEST, (1.8, 39.0)], "pchip", "test curve does not rise"),
        (ANCHOR, [*TEST, (3.0, math.inf)], "pchip", "test curve .* not finite"),
        (ANCHOR, [*TEST, (math.nan, 41.0)], "pchip", "test curve .* not finite"),
        ([(0.0, 20.0), *ANCHOR], TEST, "pchip", "anchor curve .* rate of 0"),
        (ANCHOR, TEST, "spline", "choose one of pchip, akima, cubic"),
    ],
)
def test_curves_that_cannot_be_compared(anchor, test, interpolation, message):
    with pytest.raises(UserError, match=message):
        bd_rate(anchor, test, interpolation)


def test_rates_that_cannot_be_compared():
    with pytest.raises(UserError, match="no rate in common"):
        bd_psnr(ANCHOR, [(10.0, 30.0), (20.0, 35.0)])
