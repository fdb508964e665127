"""Shapes of the codec's arrays, and the order in which latents are coded.

Layers: Qian et al., Table 1. Where the released code differs from the paper, this is the paper: the
outputs of the context and of the reference have as many channels as the latents, and the
hyper-decoder ends in a 3x3 layer.
"""

import math
from typing import NamedTuple

import numpy as np

from overfit.coding.laplace import SYMBOLS
from overfit.methods.reference.config import ReferenceConfig
from overfit.nn import factorized
from overfit.nn.convolutions import Offsets, alternate, before


class Neighbors(NamedTuple):
    """Positions around one, which are known before it."""

    context: Offsets  # 12
    query: Offsets  # 4: what two places are compared by

    @property
    def fetched(self) -> Offsets:
        """What is seen of a reference."""
        return *self.query, (0, 0)


NEIGHBORS = {
    "causal": Neighbors(before(5), before(3)),
    "checkerboard": Neighbors(alternate(5), alternate(3)),
}
RUN = 128  # positions of both colors of a checkerboard, of which half are coded at a time
MULTIPLE = 64  # sides of what is coded: four halvings to the latents, two more to the hyper-latents
LATENT_STRIDE, HYPER_STRIDE = 16, 64

Shapes = dict[str, dict[str, tuple[int, ...]]]  # {network: {array: shape}}


def _layers(*sizes: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
    """Of layers (taps, in, out): w0 [out, taps * in], b0 [out], ..."""
    arrays: dict[str, tuple[int, ...]] = {}
    for i, (taps, inputs, outputs) in enumerate(sizes):
        arrays |= {f"w{i}": (outputs, taps * inputs), f"b{i}": (outputs,)}
    return arrays


def _normalizations(config: ReferenceConfig) -> dict[str, tuple[int, ...]]:
    n = config.transform.width
    arrays: dict[str, tuple[int, ...]] = {}
    for i in range(3):
        arrays |= {f"beta{i}": (n,), f"gamma{i}": (n, n)}
        if config.transform.normalization == "gsdn":
            arrays |= {f"nu{i}": (n,), f"tau{i}": (n, n)}
    return arrays


def stage_inputs(config: ReferenceConfig) -> list[int]:
    """Channels that each parameter network sees: all features so far and what was predicted."""
    m = config.transform.latents
    features = {"context": m, "reference": m, "hyperprior": 2 * m}
    total, inputs = 0, []
    for i, stage in enumerate(config.entropy.stages):
        total += features[stage]
        inputs.append(total + (2 * m if i else 0))
    return inputs


def parameter_shapes(config: ReferenceConfig) -> Shapes:
    """Of everything in a base."""
    n, m, h = config.transform.width, config.transform.latents, config.entropy.hyper_width
    rates = (len(config.rates.lmbdas), m)
    shapes: Shapes = {
        "analysis": _layers((25, 3, n), (25, n, n), (25, n, n), (25, n, m))
        | _normalizations(config),
        "synthesis": _layers((25, m, n), (25, n, n), (25, n, n), (25, n, 3))
        | _normalizations(config),
        "gains": {"encoder": rates, "decoder": rates},
        "context": _layers((len(NEIGHBORS[config.entropy.context].context), m, m)),
    }
    if config.entropy.reference:
        shapes["reference"] = _layers((len(NEIGHBORS[config.entropy.context].fetched), m, m))
    if config.entropy.hyperprior:
        shapes |= {
            "hyper_analysis": _layers((9, m, h), (25, h, h), (25, h, h)),
            "hyper_synthesis": _layers((25, h, h), (25, h, h), (9, h, 2 * m)),
            "hyper_latents": {"mean": (h,), "log2_scale": (h,)},
        }
        if config.entropy.hyper_prior == "factorized":
            frozen = {"center": (h,), "frequencies": (h, SYMBOLS)}
            shapes["hyper_latents"] = factorized.shapes(h) | frozen
    for i, inputs in enumerate(stage_inputs(config)):
        shapes[f"parameters{i}"] = _layers((1, inputs, 3 * m), (1, 3 * m, 3 * m), (1, 3 * m, 2 * m))
        if config.entropy.distribution == "mixture":
            shapes[f"parameters{i}"] |= {"w3": (m, 3 * m), "b3": (m,)}
    return shapes


def padded(height: int, width: int) -> tuple[int, int]:
    return -(-height // MULTIPLE) * MULTIPLE, -(-width // MULTIPLE) * MULTIPLE


class Order(NamedTuple):
    """The order in which the positions of a plane of latents are coded, wave by wave."""

    positions: np.ndarray  # int64 [n]: row * columns + column, in coding order
    starts: np.ndarray  # int64 [waves + 1]: where each wave starts in that order, and n
    first: np.ndarray  # int64 [n]: where the wave of each position starts, in coding order
    candidates: int  # where positions that can be a reference start, in coding order


def anchors(rows: int, columns: int) -> np.ndarray:
    """bool [rows, columns]: the squares of a checkerboard that are coded first, without context."""
    row, column = np.indices((rows, columns))
    return (row + column) % 2 == 0


def order(rows: int, columns: int, kind: str, context: str = "causal") -> Order:
    """Waves of positions that do not see each other.

    A wavefront: the 5x5 context reaches two columns to the right in the row above, so that
    (row, column) can be coded in wave column + 3 row. Raster order has a position in each wave.
    Of a checkerboard all anchors precede the others. They could be two waves, but in rows the
    others have references, those of earlier rows; and runs bound the memory.
    """
    wave = np.arange(rows * columns)
    row, column = np.divmod(wave, columns)
    if context == "checkerboard":
        other = ~anchors(rows, columns).ravel()
        if kind == "wavefront":
            wave = np.where(other, row * columns + column // RUN, wave // RUN)
        wave = wave + rows * columns * other
    elif kind == "wavefront":
        wave = column + 3 * row
    positions = np.lexsort((column, row, wave))
    counts = np.bincount(wave)
    starts = np.concatenate([[0], np.cumsum(counts[counts > 0])])
    alone = -(-rows * columns // 2) if context == "checkerboard" else 0
    return Order(positions, starts, np.repeat(starts[:-1], np.diff(starts)), alone)


def exponent(network: str) -> int:
    """Fractional bits that arrays have at most: 12 where symbols depend on them."""
    exact = network.startswith(("hyper_synthesis", "context", "reference", "parameters"))
    return 12 if exact else 20


def count(shapes: Shapes) -> int:
    """Number of parameters."""
    return sum(math.prod(shape) for arrays in shapes.values() for shape in arrays.values())
