"""The signal as a fit sees it, and what the synthesis gives in the same form. JAX.

An image or an RGB clip is one array of floats, [channels, (frames,) height, width]. A 4:2:0 clip is
y, u, v as its file has them: uint8 [frames, rows, columns], u and v of half the rows and columns.
The synthesis gives all three at full resolution, and a sample of u or v is the mean of four values.
"""

import jax.numpy as jnp

from overfit.methods.c3.config import C3Config


def shape_of(signal) -> tuple[int, ...]:
    """(channels, (frames,) height, width)."""
    return (3, *signal[0].shape) if isinstance(signal, tuple) else signal.shape


def planes_of(signal) -> tuple:
    """What is compared: float32 in [0, 1], the whole signal or y, u, v."""
    if isinstance(signal, tuple):
        return tuple(jnp.asarray(plane, jnp.float32) / 255 for plane in signal)
    return (signal,)


def planes_shown(x, config: C3Config) -> tuple:
    """The same of what the synthesis gives: x [channels, (frames,) height, width]."""
    if config.samples.format == "rgb":
        return (x,)
    y, u, v = x
    return y, _halved(u), _halved(v)


def luma(signal):
    """[frames, rows, columns] of a clip: Y, or the mean of its channels."""
    if isinstance(signal, tuple):
        return jnp.asarray(signal[0], jnp.float32)
    return jnp.mean(jnp.asarray(signal, jnp.float32), axis=0)


def mean_color(signal):
    """Mean of each channel: [channels]."""
    if isinstance(signal, tuple):
        return jnp.stack([jnp.mean(plane) for plane in planes_of(signal)])
    return jnp.mean(signal.reshape(len(signal), -1), axis=1)


def _halved(plane):
    """Means over 2x2 values of [frames, height, width], edges repeated where a size is odd."""
    frames, height, width = plane.shape
    plane = jnp.pad(plane, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    blocks = plane.reshape(frames, -(-height // 2), 2, -(-width // 2), 2)
    return blocks.mean(axis=(2, 4))


def distortion(shown: tuple, planes: tuple, config: C3Config):
    """MSE, shape (); of y, u, v the mean of their MSEs with the weights of the settings."""
    errors = [jnp.mean(jnp.square(a - b)) for a, b in zip(shown, planes, strict=True)]
    if len(errors) == 1:
        return errors[0]
    weights = config.samples.weights
    return sum(w * e for w, e in zip(weights, errors, strict=True)) / sum(weights)
