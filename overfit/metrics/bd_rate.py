"""Bjontegaard deltas: the mean distance of two rate-distortion curves, as one figure.

G. Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001, fits a
cubic polynomial to each curve; the common test conditions of JCT-VC interpolate by PCHIP instead,
which stays between the points; Akima is what C. Herglotz et al., "The Bjontegaard bible", 2024,
recommend. Rates are compared by their logarithms, over the interval that both curves cover.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.polynomial import Polynomial
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

from overfit.errors import UserError

Points = Sequence[tuple[float, float]]  # (rate, quality in dB), in any order

_INTEGRALS = {  # name -> (antiderivative of the curve through x and y, points that it needs)
    "pchip": (lambda x, y: PchipInterpolator(x, y).antiderivative(), 2),
    "akima": (lambda x, y: Akima1DInterpolator(x, y).antiderivative(), 2),
    "cubic": (lambda x, y: Polynomial.fit(x, y, 3).integ(), 4),
}
INTERPOLATIONS = tuple(_INTEGRALS)


def bd_rate(anchor: Points, test: Points, interpolation: str = "pchip") -> float:
    """Mean difference in rate at equal quality, in per cent of the anchor's; negative: fewer bits.

    Args:
      anchor, test: points of (rate, quality); rates above 0 in any one unit, quality in dB.
      interpolation: "pchip", "akima" or "cubic".

    Raises:
      UserError: a curve has too few points or its quality does not rise strictly with the rate,
        or there is no quality that both reach.

    >>> round(bd_rate([(1, 30), (2, 33), (4, 36)], [(0.5, 30), (1, 33), (2, 36)]), 6)
    -50.0
    """
    rates, qualities = _curves(anchor, test, interpolation)
    return 100 * math.expm1(_mean_gap(qualities, rates, interpolation, "quality"))


def bd_psnr(anchor: Points, test: Points, interpolation: str = "pchip") -> float:
    """Mean difference in quality at equal rate, in dB; positive: the test curve is better.

    Arguments and errors are those of `bd_rate`, with the rates that both curves cover.

    >>> round(bd_psnr([(1, 30), (2, 33), (4, 36)], [(1, 31), (2, 34), (4, 37)]), 6)
    1.0
    """
    rates, qualities = _curves(anchor, test, interpolation)
    return _mean_gap(rates, qualities, interpolation, "rate")


def overlap(anchor: Points, test: Points) -> float:
    """Part of the anchor's range of quality that the test curve covers, 0..1.

    A BD-rate speaks of that part only: over a tenth of the range it says little.
    """
    _, (a, b) = _curves(anchor, test, "pchip")
    return max(0.0, min(a[-1], b[-1]) - max(a[0], b[0])) / (a[-1] - a[0])


def _curves(anchor: Points, test: Points, interpolation: str):
    """The log rates of both curves, and their qualities: float64 arrays in rising order."""
    if interpolation not in INTERPOLATIONS:
        known = ", ".join(INTERPOLATIONS)
        raise UserError(f"there is no interpolation '{interpolation}'; choose one of {known}")
    needed = _INTEGRALS[interpolation][1]
    curves = [_rising(anchor, "anchor", needed), _rising(test, "test", needed)]
    return [np.log(curve[:, 0]) for curve in curves], [curve[:, 1] for curve in curves]


def _rising(points: Points, role: str, needed: int) -> np.ndarray:
    """The points of one curve, checked, by rate: float64 [N, 2]."""
    if len(points) < needed:
        raise UserError(f"the {role} curve has {len(points)} points and needs {needed}; add some")
    curve = np.array(sorted(points), np.float64)
    if not np.isfinite(curve).all() or curve[0, 0] <= 0:
        raise UserError(
            f"the {role} curve has a rate or quality that is not finite, or a rate of 0 or less; "
            "leave that point out"
        )
    falls = np.flatnonzero((np.diff(curve, axis=0) <= 0).any(axis=1))
    if falls.size:
        (rate, quality), (next_rate, next_quality) = curve[falls[0] : falls[0] + 2]
        raise UserError(
            f"the {role} curve does not rise strictly from rate {rate:.4g} ({quality:.4g} dB) to "
            f"{next_rate:.4g} ({next_quality:.4g} dB); leave one of these points out"
        )
    return curve


def _mean_gap(x, y, interpolation: str, axis: str) -> float:
    """Mean of test y minus anchor y over the x that both curves cover."""
    low, high = max(x[0][0], x[1][0]), min(x[0][-1], x[1][-1])
    if low >= high:
        raise UserError(f"the two curves have no {axis} in common; compare others")
    integrals = [_INTEGRALS[interpolation][0](x[i], y[i]) for i in (0, 1)]
    areas = [float(integral(high) - integral(low)) for integral in integrals]
    return (areas[1] - areas[0]) / (high - low)
