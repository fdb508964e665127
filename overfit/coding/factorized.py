"""Integers under a table per channel: what a trained factorized prior becomes in a base.

A base holds, for each channel, a center and the frequencies of the values center - 31 .. center +
31 and of an escape, so that nobody computes the density again to decode.
"""

from collections.abc import Callable

import numpy as np

from overfit.coding import laplace
from overfit.coding.laplace import REACH, SYMBOLS, TOTAL
from overfit.errors import UserError

_SEARCH = 512  # values on each side of zero among which a median is looked for


def freeze(masses: Callable[[np.ndarray], np.ndarray], channels: int) -> dict[str, np.ndarray]:
    """{"center": [channels], "frequencies": [channels, SYMBOLS]}, integers as float32.

    masses(x) -> probabilities of whole numbers x, float64 [channels, n] each.
    """
    wide = np.broadcast_to(np.arange(-_SEARCH, _SEARCH + 1.0), (channels, 2 * _SEARCH + 1))
    center = (np.cumsum(masses(wide), axis=1) < 0.5).sum(axis=1) - _SEARCH
    center = np.clip(center, -_SEARCH, _SEARCH)
    offsets = np.arange(-REACH, REACH + 1.0)
    mass = masses(center[:, None] + offsets)
    outlier = laplace.laplace_mass(
        np.append(offsets, REACH + 1) - 0.5, np.asarray(laplace.OUTLIER_SCALE)
    )
    mass = (1 - laplace.OUTLIER_SHARE) * mass + laplace.OUTLIER_SHARE * outlier
    escape = np.maximum(1 - mass.sum(axis=1, keepdims=True), 0)
    mass = np.concatenate([mass, escape], axis=1)
    # The sum may exceed 1 by a rounding error of the density.
    exact = mass / mass.sum(axis=1, keepdims=True) * (TOTAL - SYMBOLS)
    frequencies = laplace.rounded(exact)
    return {
        "center": center.astype(np.float32),
        "frequencies": frequencies.astype(np.float32),
    }


def code(coder, values: np.ndarray | None, center: np.ndarray, frequencies: np.ndarray, count: int):
    """int64 [channels, count], written with an encoder, or read where values is None.

    center int64 [channels] and frequencies int64 [channels, SYMBOLS] are those of a base.

    Raises:
      UserError: frequencies that are none.
    """
    if (frequencies < 0).any() or (frequencies.sum(axis=1) != TOTAL - SYMBOLS).any():
        raise UserError("the base is damaged: a table of frequencies does not add up")
    rows = np.repeat(frequencies.astype(np.float32), count, axis=0)
    given = None if values is None else (values - center[:, None]).ravel()
    coded = coder.code_rows(given, rows).reshape(len(center), count)
    return coded + center[:, None]
