"""What a C3 file spends its bits on: each latent grid, and each pixel. NumPy only.

The figures of the C3 paper's appendix E (arXiv 2312.02753), for any file.
"""

import numpy as np

from overfit.errors import UserError
from overfit.method import Inspection, Plane
from overfit.methods.c3.codec import Code, entropy_network
from overfit.methods.c3.latent_coding import latent_bits


def inspect(code: Code, base=None) -> Inspection:
    """The latent grids, finest first, with the bits of every latent, and where these lie.

    Raises UserError for a clip.
    """
    del base
    if len(code.shape) == 4:
        raise UserError("a clip has no picture of its bits; inspect a file of an image")
    spent = latent_bits(code.latents, entropy_network(code.parameters), code.config)
    planes, bit_map = [], np.zeros(code.shape[1:])
    for k, values, bits in zip(code.config.latents.octaves(), code.latents, spent, strict=True):
        rows, columns = values.shape
        planes.append(Plane(f"grid 1/{2**k}, {columns}x{rows}", values, bits))
        bit_map += spread(bits, 2**k, code.shape[1:])
    return Inspection(planes, bit_map)


def spread(bits: np.ndarray, side: int, shape: tuple[int, ...]) -> np.ndarray:
    """Bits of a grid as bits per pixel: float64 [height, width] with the same sum.

    Each latent's bits are divided among the side x side pixels that it stands for, or as many of
    them as lie inside the picture of `shape` (height, width).
    """
    height, width = shape
    rows, columns = np.arange(height) // side, np.arange(width) // side
    area = np.outer(np.bincount(rows), np.bincount(columns))
    return (bits / area)[rows[:, None], columns]
