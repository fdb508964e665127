"""One network at several trade-offs: a gain per latent channel for each, interpolated between.

Cui et al., "Asymmetric gained deep image compression with continuous rate adaptation", CVPR 2021.
Tables are logarithms to base 2, [trade-offs, channels], from small files to large ones. NumPy and
JAX arrays alike.
"""

import math
from dataclasses import dataclass

import numpy as np

RATE_UNITS = 16  # positions of a rate between two trade-offs, as files have them
MAX_RELATIVE = 8  # log2 of a relative gain, and at least its opposite


@dataclass(frozen=True)
class Rates:
    """Settings: the trade-offs that one base serves."""

    lmbdas: tuple[float, ...]  # MSE per bit per pixel, falling

    def __post_init__(self):
        falling = all(a > b > 0 for a, b in zip(self.lmbdas, self.lmbdas[1:], strict=False))
        if not 1 <= len(self.lmbdas) <= 8 or not falling or self.lmbdas[0] <= 0:
            raise ValueError(f"rates: lmbdas must be 1 to 8 falling numbers, not {self.lmbdas}")


def initial(lmbdas, channels: int, first: float = 2.0) -> dict[str, np.ndarray]:
    """{"encoder", "decoder"}: bins as wide as the root of lambda, as high-rate theory has it.

    first: logarithm of the first trade-off's gain; the latents of untrained networks are small.
    """
    log2 = first + 0.5 * np.log2(lmbdas[0] / np.asarray(lmbdas))
    table = np.tile(log2[:, None], (1, channels)).astype(np.float32)
    return {"encoder": table, "decoder": -table}


def of_transform(lmbda: float) -> float:
    """log2 of the gain at a trade-off D + lambda R, for an orthonormal transform at high rates.

    D is a mean over three colors of values in 0..1, R in bits per pixel.
    """
    return -0.5 * math.log2(18 * lmbda / math.log(2))


def gains(table, rate):
    """[channels, 1, 1]: factors at a rate, a number from 0 to len(table) - 1."""
    return table.__array_namespace__().exp2(_log2(table, rate))


def relative_log2(table, rate):
    """[channels, 1, 1]: logarithms to base 2 of gains over those of the middle of all rates.

    `coding.relative_gains` has them in integers.
    """
    xp = table.__array_namespace__()
    return xp.clip(
        _log2(table, rate) - xp.mean(table, axis=0)[:, None, None], -MAX_RELATIVE, MAX_RELATIVE
    )


def _log2(table, rate):
    xp = table.__array_namespace__()
    # Linear interpolation, as hat functions so that the rate may be traced.
    hats = xp.maximum(0, 1 - xp.abs(xp.arange(len(table), dtype=table.dtype) - rate))
    return (hats @ table)[:, None, None]


def position(lmbda, lmbdas, xp=np):
    """Where a trade-off lies among those of the tables, falling ones, in 1 / RATE_UNITS.

    Rounded, and at most as far as these go. lmbda may be traced if xp is jax.numpy.
    """
    known = np.log(np.asarray(lmbdas, np.float32))
    if len(known) == 1:
        return 0 * lmbda
    places = RATE_UNITS * np.arange(len(known), dtype=np.float32)
    return xp.round(xp.interp(xp.log(lmbda), xp.asarray(known[::-1]), xp.asarray(places[::-1])))
