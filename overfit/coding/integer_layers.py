"""Layers of large networks in exact integers, for a wiring over `nn.layers.Arithmetic`."""

import functools

import numpy as np

from overfit.coding import fixed_point
from overfit.coding.parameters import Quantized
from overfit.nn.convolutions import up_kernel
from overfit.nn.layers import Arithmetic, gathering


def arithmetic(arrays: dict[str, dict[str, Quantized]]) -> Arithmetic:
    """Layers of these networks, see `fixed_point`; UserError for parameters out of bounds."""

    @functools.cache
    def prepared(network: str, index: int, up: bool) -> tuple[np.ndarray, np.ndarray]:
        members = arrays[network]
        w, b = fixed_point.layer(members[f"w{index}"], members[f"b{index}"])
        return (up_kernel(w), np.tile(b, 4)) if up else (w, b)

    def dense(network: str, index: int, x: np.ndarray, up: bool = False) -> np.ndarray:
        return fixed_point.dense(*prepared(network, index, up), x)

    return gathering(dense, fixed_point.leaky, fixed_point.add, fixed_point.scale)
