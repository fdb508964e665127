"""The codec's networks, wired once for every arithmetic, see overfit/nn/layers.py."""

from typing import Any, NamedTuple

from overfit.methods.stat_ssf.architecture import is_scaled
from overfit.methods.stat_ssf.config import StatSsfConfig
from overfit.nn.convolutions import square
from overfit.nn.layers import Arithmetic, relu
from overfit.nn.warp import scale_space, warp

MAX_LOG_SCALE = 4.0  # natural logarithm of a scale, at most this and at least its opposite


def analysis(layers: Arithmetic, part: str, x):
    """[in, height, width], values about 0 -> [latents, height / 16, width / 16]."""
    for i in range(3):
        x = relu(layers.down(f"{part}_analysis", i, x))
    return layers.down(f"{part}_analysis", 3, x)


def synthesis_features(layers: Arithmetic, part: str, y):
    """What its last layers see."""
    for i in range(3):
        y = relu(layers.up(f"{part}_synthesis", i, y))
    return y


def synthesis(layers: Arithmetic, part: str, y):
    return layers.up(f"{part}_synthesis", 3, synthesis_features(layers, part, y))


def hyper_analysis(layers: Arithmetic, part: str, y):
    """[latents, rows, columns] -> [latents, rows / 4, columns / 4]; y is not rounded."""
    network = f"{part}_hyper_analysis"
    x = relu(layers.taps(network, 0, y, square(3)))
    x = relu(layers.down(network, 1, x))
    return layers.down(network, 2, x)


class Known(NamedTuple):
    """What a structured prior sees of w."""

    z: Any  # its hyper-latents
    y: Any  # its latents


def hyper_synthesis(layers: Arithmetic, part: str, z, known: Known | None = None):
    """[2 * latents, rows, columns]: means in bins, then logarithms of scales to base 2."""
    network = f"{part}_hyper_synthesis"
    xp = z.__array_namespace__()
    x = z if known is None else xp.concatenate([z, known.z])
    x = relu(layers.up(network, 0, x))
    x = relu(layers.up(network, 1, x))
    if known is None:
        return layers.taps(network, 2, x, square(3))
    x = relu(layers.taps(network, 2, xp.concatenate([x, known.y]), square(3)))
    return layers.taps(network, 3, x, square(3))


class Prediction(NamedTuple):
    """Of a frame: it is mean + scale * residual. [3, rows, columns], or None for a scale of 1."""

    mean: Any
    scale: Any


def predict(layers: Arithmetic, y, reference, config: StatSsfConfig) -> Prediction:
    """y: latents of w, None without; reference: the frame before, [3, rows, columns] in 0..1."""
    xp = reference.__array_namespace__()
    kind = reference.dtype.type
    said = features = None
    if y is not None:
        features = synthesis_features(layers, "motion", y)
        said = layers.up("motion_synthesis", 3, features)
    if config.transform.network:
        x = reference - kind(0.5)
        x = x if said is None else xp.concatenate([x, said])
        for i in range(2):
            x = relu(layers.taps("transform", i, x, square(3)))
        x = layers.taps("transform", 2, x, square(3))
        return Prediction(reference + x[:3], _scale(x[3:]) if config.transform.scale else None)
    assert said is not None
    depth = xp.clip(said[2:], -1, 1)
    volume = scale_space(reference, config.transform.levels)
    mean = warp(volume, xp.concatenate([said[:2], depth]))
    if not is_scaled(config):
        return Prediction(mean, None)
    return Prediction(mean, _scale(layers.up("motion_synthesis", 4, features)))


def _scale(log_scale):
    """Bounded, so that the division by it is safe."""
    xp = log_scale.__array_namespace__()
    return xp.exp(xp.clip(log_scale, -MAX_LOG_SCALE, MAX_LOG_SCALE))
