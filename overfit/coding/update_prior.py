"""Changes of a pretrained network's parameters, in bins of 2^-e, under a spike-and-slab prior.

The density of a change d is [N(0, sigma^2) + alpha N(0, (t/6)^2)] / (1 + alpha) with bins of width
t: most parameters stay as they are, and a few move by any amount (van Rozendaal, Huijben and Cohen,
"Overfitting for fun and profit", ICLR 2021, section 4; there t = 0.005, sigma = 0.05, alpha =
1000). A file chooses t, sigma / t and alpha from the lists below for all its changes together; an
array without any change costs one bit. The probabilities are rows of an integer table.
"""

import functools
import math
import zlib
from collections.abc import Mapping

import numpy as np

from overfit.coding import laplace
from overfit.coding.parameters import Change, Prior

EXPONENTS = tuple(range(4, 13))  # bins of 2^-4 .. 2^-12
SLABS = tuple(2.0**i for i in range(5))  # sigma / t
ALPHAS = (10.0, 100.0, 1000.0, 10000.0)
_SPIKE = 1 / 6  # standard deviation of the spike, in bins
_CRC = 0xA751B410


def _mass(k: np.ndarray, scale: float) -> np.ndarray:
    """Of a Gaussian between k - 1/2 and k + 1/2; precise in the tails."""
    near, far = ((np.abs(k) + side) / (scale * math.sqrt(2)) for side in (-0.5, 0.5))
    erfc = np.vectorize(math.erfc)
    return 0.5 * (erfc(near) - erfc(far))


def exact_frequencies() -> np.ndarray:
    """Before rounding: float64 [SLABS * ALPHAS, laplace.SYMBOLS]."""
    k = np.arange(-laplace.REACH, laplace.REACH + 1)
    spike, rows = _mass(k, _SPIKE), []
    for slab in SLABS:
        for alpha in ALPHAS:
            mass = (_mass(k, slab) + alpha * spike) / (1 + alpha)
            rows.append([*mass, max(1 - mass.sum(), 0.0)])
    return np.asarray(rows) * (laplace.TOTAL - laplace.SYMBOLS)


@functools.cache
def frequencies() -> np.ndarray:
    """float32 [SLABS * ALPHAS, SYMBOLS], integers, as in `laplace.frequencies`."""
    table = laplace.rounded(exact_frequencies())
    if zlib.crc32(table.astype(">u4").tobytes()) != _CRC:
        raise RuntimeError(
            "the table of the update prior differs from the one of the format: this machine's "
            "erfc() is off by more than any correct one; files made here would not decode elsewhere"
        )
    return table.astype(np.float32)


def quantized(
    changes: Mapping[str, np.ndarray], priors: Mapping[str, Prior], e: int
) -> dict[str, Change]:
    """What a fit changed in each array of `priors`, in bins of 2^-e."""
    return {
        path: Change(np.rint(np.asarray(changes[path], np.float64) * 2.0**e).astype(np.int64), e, p)
        for path, p in priors.items()
    }


def _cost(changes: list[np.ndarray], row: int) -> float:
    """Bits of the arrays that have a change."""
    costs = -np.log2((frequencies()[row].astype(np.float64) + 1) / laplace.TOTAL)
    total = 0.0
    for k in changes:
        escaped = np.abs(k) > laplace.REACH
        symbols = np.where(escaped, laplace.SYMBOLS - 1, k + laplace.REACH)
        total += float(costs[symbols].sum() + laplace.escape_bits(k[escaped]).sum())
    return total


def best_row(changes: list[np.ndarray]) -> tuple[int, float]:
    """(row of the table, bits) of the cheapest prior for the integers of all changes."""
    moved = [k for k in changes if k.any()]
    costs = [_cost(moved, row) for row in range(len(SLABS) * len(ALPHAS))]
    row = int(np.argmin(costs))
    return row, costs[row] + len(changes)


def code_changes(
    coder, changes: Mapping[str, Change] | None, priors: Mapping[str, Prior]
) -> dict[str, Change]:
    """Changes of the arrays of `priors`, in their order, written, or read where there are none."""
    known = None if changes is None else [changes[name].k for name in priors]
    steps = None if changes is None else {change.e for change in changes.values()}
    assert steps is None or len(steps) == 1, "changes of one file have one step"
    index = None if steps is None else EXPONENTS.index(next(iter(steps)))
    e = EXPONENTS[coder.uniform(index, len(EXPONENTS))]
    row = coder.uniform(known and best_row(known)[0], len(SLABS) * len(ALPHAS))
    coded = {}
    for i, (name, prior) in enumerate(priors.items()):
        shape = prior.center.k.shape
        k = np.zeros(shape, np.int64)
        if coder.uniform(None if known is None else int(known[i].any()), 2):
            rows = np.repeat(frequencies()[row : row + 1], k.size, axis=0)
            k = coder.code_rows(None if known is None else known[i].ravel(), rows).reshape(shape)
        coded[name] = Change(k, e, prior)
    return coded
