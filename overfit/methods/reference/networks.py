"""The codec's networks, wired once for every arithmetic.

They are written over an `Arithmetic`: floats with gradients in a fit, NumPy's floats in a decoder's
synthesis, and exact integers for all that the entropy coder depends on.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from overfit.nn.convolutions import depth_to_space, gather, gather_down, square, up_kernel
from overfit.nn.normalization import denormalize, normalize

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


# -- Transforms ------------------------------------------------------------------------------------


def _normalized(layers: Arithmetic, function: Callable, network: dict, i: int, x):
    p = {n: network[f"{n}{i}"] for n in ("beta", "gamma", "nu", "tau") if f"{n}{i}" in network}
    flat = x.reshape(len(x), -1)
    return layers.pointwise(lambda part: function(p, part), flat).reshape(x.shape)


def analysis(layers: Arithmetic, networks: dict, image):
    """[3, height, width], values in 0..1 -> [latents, height / 16, width / 16]."""
    x = image - image.dtype.type(0.5)
    for i in range(3):
        x = layers.down("analysis", i, x)
        x = _normalized(layers, normalize, networks["analysis"], i, x)
    return layers.down("analysis", 3, x)


def synthesis(layers: Arithmetic, networks: dict, y):
    """The inverse, approximately."""
    for i in range(3):
        y = layers.up("synthesis", i, y)
        y = _normalized(layers, denormalize, networks["synthesis"], i, y)
    return layers.up("synthesis", 3, y) + y.dtype.type(0.5)


def hyper_analysis(layers: Arithmetic, y):
    """[latents, rows, columns] -> [hyper_width, rows / 4, columns / 4]; y is not rounded."""
    x = layers.leaky(layers.taps("hyper_analysis", 0, y, square(3)))
    x = layers.leaky(layers.down("hyper_analysis", 1, x))
    return layers.down("hyper_analysis", 2, x)


# -- The entropy model -----------------------------------------------------------------------------


def hyper_synthesis(layers: Arithmetic, z):
    """[hyper_width, rows, columns] -> features [2 * latents, 4 rows * 4 columns]."""
    x = layers.leaky(layers.up("hyper_synthesis", 0, z))
    x = layers.leaky(layers.up("hyper_synthesis", 1, x))
    x = layers.taps("hyper_synthesis", 2, x, square(3))
    return x.reshape(len(x), -1)


def predict(layers: Arithmetic, stage: int, features: list, previous):
    """[2 * latents, n]: means in bins, then logarithms of the scales to base 2, after a stage.

    features: of this stage and those before, [channels, n] each; previous: what the stage before
    predicted, None at the first. A stage sees both and corrects the prediction (section 3).
    """
    xp = features[0].__array_namespace__()
    x = xp.concatenate(features if previous is None else [*features, previous])
    x = layers.leaky(layers.dense(f"parameters{stage}", 0, x))
    x = layers.leaky(layers.dense(f"parameters{stage}", 1, x))
    x = layers.dense(f"parameters{stage}", 2, x)
    return x if previous is None else layers.add(previous, x)


def gains(networks: dict, which: str, rate, lmbdas: int):
    """[latents, 1, 1]: factors of the latents at a rate, a number from 0 to lmbdas - 1."""
    table = networks["gains"][which]
    xp = table.__array_namespace__()
    # Linear interpolation of logarithms, as hat functions so that the rate may be traced.
    hats = xp.maximum(0, 1 - xp.abs(xp.arange(lmbdas, dtype=table.dtype) - rate))
    return xp.exp2(hats @ table)[:, None, None]
