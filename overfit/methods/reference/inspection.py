"""Where the bits of a file go: the latents that take most of them, and a map over the picture."""

import numpy as np

from overfit.bases.base import Base
from overfit.method import Inspection, Plane
from overfit.methods.reference import codec
from overfit.methods.reference.architecture import LATENT_STRIDE

SHOWN = 12  # channels


def inspect(code: codec.Code, base: Base) -> Inspection:
    channels, rows, columns = code.y.shape
    bits = codec.trace(code, base).bits.reshape(channels, rows, columns)
    most = np.argsort(-bits.sum(axis=(1, 2)), kind="stable")[:SHOWN]
    planes = [Plane(f"channel {i}", code.y[i].astype(np.int32), bits[i]) for i in most]
    spread = np.kron(bits.sum(axis=0), np.ones((LATENT_STRIDE, LATENT_STRIDE))) / LATENT_STRIDE**2
    height, width = code.size
    return Inspection(planes, spread[:height, :width])
