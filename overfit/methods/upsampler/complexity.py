"""Operations per pixel of the clip, by the counting rule behind tables 1 and 6 of the paper.

The feature network runs on a grid of a quarter of the clip's resolution along each side, the others
on one of half of it. An operation is a multiply-accumulate of a convolution or a multiplication
of the attention; a normalization costs two per channel while training and nothing after folding.
"""

from collections.abc import Sequence
from typing import NamedTuple

from overfit.methods.upsampler.architecture import Layer, networks
from overfit.methods.upsampler.config import Config

# Positions of the clip per position of the network's grid.
GRID = {"feature": 16, "position": 4, "denoiser": 4, "luma": 4, "chroma": 16}


class Operations(NamedTuple):
    """A row of table 1."""

    forward: float  # inference
    forward_training: float
    normalization: float
    backward: float
    gradient: float

    @property
    def training(self) -> float:
        return sum(self) - self.forward


def operations(
    layers: Sequence[Layer], positions: int, attention: int = 0, constant_inputs: int = 0
) -> Operations:
    """Per pixel of the clip.

    attention: multiplications per position that have no weights. constant_inputs: input channels
    that need no gradient.
    """
    products = sum(a * b for a, b in (layer.weights for layer in layers))
    normalized = sum(layer.inputs for layer in layers if layer.normalized)
    forward = products + attention
    backward = products + normalized + 2 * attention - constant_inputs * (layers[0].outputs + 1)
    counts = (forward, forward + normalized, 2 * normalized, backward, products)
    return Operations(*(count / positions for count in counts))


def macs(shape: Sequence[int], config: Config) -> dict[str, float]:
    """{network: operations per pixel of the decoder} and their "total"; shape bears on none."""
    del shape
    found = networks(config)
    counts: dict[str, float] = {}
    for name, own in found.items():
        # The attention, and the sigmoid before it.
        gated = name in ("position", "denoiser") and "position" in found
        weighted = found["position"][-1].outputs if gated else 0
        counts[name] = operations(own, GRID[name], weighted).forward
    return counts | {"total": sum(counts.values())}


def encoding(
    operations_training: float, steps: int, batch: int, patch: int, frame: int, group: int
) -> float:
    """Operations per pixel of a fit (table 6): patch and frame in pixels, group in frames."""
    return operations_training * steps * batch * patch / (frame * group)
