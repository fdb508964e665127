"""Layers of large networks, for every arithmetic: what a wiring of networks is written over.

Floats with gradients are in strided.py, exact integers in coding/integer_layers.py; here are
NumPy's floats, which decoders have for pixels. Weights are w0, b0, w1, .. of each network.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from overfit.nn.convolutions import depth_to_space, gather, gather_down, square, up_kernel

_GATHERED = 1 << 24  # values that are gathered at a time: 64 MB
LEAK = 205 / 1024  # slope of the leaky ReLU below zero; the paper's code has 0.2


class Arithmetic(NamedTuple):
    """How layers are computed. Arrays are [channels, rows, columns], or [channels, n].

    dense(network, layer, x): w @ x + b, at each of n positions.
    taps(network, layer, x, offsets): a convolution.
    down(network, layer, x), up(network, layer, x): 5x5 with stride 2, and its transpose.
    leaky(x): leaky ReLU. add(x, y): the sum. scale(x, gain): x [channels, n] times gain [n].
    pointwise(function, x): function of x [channels, n], which treats every position alike.
    """

    dense: Callable
    taps: Callable
    down: Callable
    up: Callable
    leaky: Callable
    add: Callable
    scale: Callable
    pointwise: Callable = lambda function, x: function(x)


def gathering(dense: Callable, leaky: Callable, add: Callable, scale: Callable) -> Arithmetic:
    """Convolutions by gathering: dense(network, layer, x, up) lays out the kernel of an `up`."""

    def taps(network: str, layer: int, x, offsets):
        return dense(network, layer, gather(x, offsets)).reshape(-1, *x.shape[1:])

    def down(network: str, layer: int, x):
        _, rows, columns = x.shape
        return dense(network, layer, gather_down(x, 5)).reshape(-1, rows // 2, columns // 2)

    def up(network: str, layer: int, x):
        return depth_to_space(dense(network, layer, gather(x, square(3)), True), *x.shape[1:])

    return Arithmetic(dense, taps, down, up, leaky, add, scale)


def floats(networks: dict[str, dict]) -> Arithmetic:
    """Float32 in NumPy, in strips of rows where a gathered plane would be large."""

    def dense(network: str, layer: int, x, up: bool = False):
        w, b = networks[network][f"w{layer}"], networks[network][f"b{layer}"]
        if up:
            w, b = up_kernel(w), np.tile(b, 4)
        return w @ x + b[:, None]

    whole = gathering(dense, leaky, lambda x, y: x + y, lambda x, gain: x * gain[None])

    def down(network: str, layer: int, x):
        channels, rows, columns = x.shape
        strip = max(1, _GATHERED // (25 * channels * columns // 2))
        if strip >= rows // 2:
            return whole.down(network, layer, x)
        x = np.pad(x, ((0, 0), (2, 2), (0, 0)))
        # The outer rows of a strip's result would need what lies beyond its input.
        parts = [
            whole.down(network, layer, x[:, 2 * top : 2 * min(top + strip, rows // 2) + 4])[:, 1:-1]
            for top in range(0, rows // 2, strip)
        ]
        return np.concatenate(parts, axis=1)

    def up(network: str, layer: int, x):
        channels, rows, columns = x.shape
        strip = max(1, _GATHERED // (9 * channels * columns))
        if strip >= rows:
            return whole.up(network, layer, x)
        x = np.pad(x, ((0, 0), (1, 1), (0, 0)))
        parts = [
            whole.up(network, layer, x[:, top : min(top + strip, rows) + 2])[:, 2:-2]
            for top in range(0, rows, strip)
        ]
        return np.concatenate(parts, axis=1)

    def pointwise(function: Callable, x):
        block = max(1, _GATHERED // len(x))
        for start in range(0, x.shape[1], block):
            x[:, start : start + block] = function(x[:, start : start + block])
        return x

    return whole._replace(down=down, up=up, pointwise=pointwise)


def leaky(x):
    return x.__array_namespace__().maximum(x, x.dtype.type(LEAK) * x)


def relu(x):
    return x.__array_namespace__().maximum(x, x.dtype.type(0))
