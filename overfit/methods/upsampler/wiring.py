"""How the networks are connected, written once for the fit (JAX) and the decoder (NumPy).

Everything is [channels, batch, rows, columns]; a batch is patches in the fit and one frame in the
decoder. Pictures come as phases: a 4:2:0 picture of 2h x 2w px is six planes of h x w, the four
phases of Y (row by row) and U and V, so that its planes have one size. With a base of half the
resolution, these sizes occur:

    decoded pictures (six phases), block features    z   (a quarter of the clip's resolution)
    Y of the base; networks; phases of the result    2 z
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from overfit.methods.upsampler.architecture import (
    SPACE_FREQUENCIES,
    TIME_FREQUENCIES,
    networks,
    uses_features,
)
from overfit.methods.upsampler.config import Config, UpsamplerConfig

# Of the networks' outputs, in a picture with values from 0 to 1: residuals are a few 8-bit values,
# which steps of the size of the learning rate should not jump over. A smaller scale needs larger
# weights, which the weight decay does not let grow. 300 steps on BasketballPass, 8 frames, QP 27:
# 33.5 dB with 1/4, 33.2 with 1/16, 32.5 with 1/64; bilinear 31.0.
RESIDUAL_SCALE = 1 / 4


class Ops(NamedTuple):
    """Arrays and layers of one kind.

    pointwise, channelwise (weights, shift, x) -> the convolution of x - shift, where shift is
    [channels] or None.
    """

    xp: Any  # numpy or jax.numpy
    pointwise: Callable
    channelwise: Callable


class Place(NamedTuple):
    """Where in its group each member of a batch lies: arrays [batch]; sizes in rows and columns."""

    frame: Any  # index
    top: Any  # of the first row, in units of z
    left: Any
    frames: int  # of the group
    rows: int  # of a whole frame, in units of z
    columns: int


# weights(network, layer, x) -> (weights, shift) of a layer whose input is x
Weights = Callable[[str, int, Any], tuple[Any, Any]]


def predict(ops: Ops, weights: Weights, decoded, blocks, place: Place, config: Config):
    """Phases of the clip, values about 0..1: [6, batch, 2 z] (z for a base of full resolution).

    decoded: [6, batch, z], 0..1. blocks: [6, batch, z], unused if the configuration uses none.
    """
    if isinstance(config, UpsamplerConfig):
        return _upsampled(ops, weights, decoded, blocks, place, config)
    return _denoised(ops, weights, decoded, config)


def _run(ops: Ops, weights: Weights, name: str, x, config: Config, gate=None, gated: int = -1):
    """The network's output; gate: a factor of the output of layer `gated`."""
    own = networks(config)[name]
    for i, layer in enumerate(own):
        apply = ops.channelwise if layer.kind == "D" else ops.pointwise
        x = apply(*weights(name, i, x), x)
        if i < len(own) - 1:
            x = ops.xp.maximum(x, 0)
        if i == gated:
            x = x * gate
    return x


# -- The upsampler (figure 3) ----------------------------------------------------------------------


def _upsampled(ops: Ops, weights: Weights, decoded, blocks, place: Place, config: UpsamplerConfig):
    xp = ops.xp
    luma = depth_to_space(decoded[:4])
    chroma = depth_to_space(bilinear_phases(decoded[4:], xp))
    _, batch, rows, columns = luma.shape
    shape = (batch, rows, columns)
    coordinates = _coordinates(place, rows, columns, xp)
    encoded = None
    if uses_features(config):
        encoded = _run(ops, weights, "feature", blocks, config)
    gate, gated = None, -1
    if config.position_inputs:
        known = {
            "features": lambda: _repeated(encoded, xp),
            "phasors": lambda: _broadcast(_phasors(coordinates, xp), shape, xp),
        }
        inputs = xp.concatenate([known[name]() for name in config.position_inputs])
        logits = _run(ops, weights, "position", inputs, config)
        gate, gated = 1 / (1 + xp.exp(-logits)), config.attention
    known = {
        "pixels": lambda: xp.concatenate([luma, chroma]),
        "coordinates": lambda: _broadcast(coordinates, shape, xp),
        "features": lambda: depth_to_space(encoded),
    }
    inputs = xp.concatenate([known[name]() for name in config.denoiser_inputs])
    residual = _run(ops, weights, "denoiser", inputs, config, gate, gated)
    return enlarged(decoded, xp, config) + RESIDUAL_SCALE * residual


def enlarged(decoded, xp, config: Config):
    """Phases of the clip without any network: the base, bilinearly enlarged if it is smaller."""
    if not isinstance(config, UpsamplerConfig):
        return decoded
    luma, chroma = depth_to_space(decoded[:4]), bilinear_phases(decoded[4:], xp)
    return xp.concatenate([bilinear_phases(luma, xp), depth_to_space(chroma)])


def _coordinates(place: Place, rows: int, columns: int, xp) -> list:
    """Normalized t, y and x (3.2), each [1, batch, rows or 1, columns or 1]."""

    def along(start, count, size, axis):
        shape = [-1 if i == axis else 1 for i in range(4)]
        index = xp.arange(count, dtype=xp.float32).reshape(shape)
        return (index + 2 * xp.asarray(start, xp.float32).reshape(1, -1, 1, 1)) / (2 * size)

    t = xp.asarray(place.frame, xp.float32).reshape(1, -1, 1, 1) / place.frames
    return [t, along(place.top, rows, place.rows, 2), along(place.left, columns, place.columns, 3)]


def _phasors(coordinates: list, xp) -> list:
    """Sine and cosine of 2 pi w p for every frequency w of each coordinate p (eq. 2)."""
    frequencies = (TIME_FREQUENCIES, SPACE_FREQUENCIES, SPACE_FREQUENCIES)
    return [
        function(2 * math.pi * w * p)
        for p, own in zip(coordinates, frequencies, strict=True)
        for w in own
        for function in (xp.sin, xp.cos)
    ]


def _broadcast(planes: list, shape: tuple[int, int, int], xp):
    """[planes, *shape] of planes that vary along some axes only."""
    return xp.concatenate([xp.broadcast_to(plane, (1, *shape)) for plane in planes])


def _repeated(x, xp):
    """Every value four times: [.., rows, columns] -> [.., 2 rows, 2 columns]."""
    return xp.repeat(xp.repeat(x, 2, axis=2), 2, axis=3)


# -- The denoiser of 2020 --------------------------------------------------------------------------


def _denoised(ops: Ops, weights: Weights, decoded, config: Config):
    xp = ops.xp
    luma = _run(ops, weights, "luma", decoded, config)
    chroma = _run(ops, weights, "chroma", space_to_depth(decoded[4:]), config)
    residual = xp.concatenate([luma, depth_to_space(chroma)])
    return enlarged(decoded, xp, config) + RESIDUAL_SCALE * residual


# -- Phases ----------------------------------------------------------------------------------------


def depth_to_space(x):
    """[4 n, batch, rows, columns] -> [n, batch, 2 rows, 2 columns]."""
    channels, batch, rows, columns = x.shape
    x = x.reshape(channels // 4, 2, 2, batch, rows, columns).transpose(0, 3, 4, 1, 5, 2)
    return x.reshape(channels // 4, batch, 2 * rows, 2 * columns)


def space_to_depth(x):
    """The inverse of `depth_to_space`."""
    channels, batch, rows, columns = x.shape
    x = x.reshape(channels, batch, rows // 2, 2, columns // 2, 2).transpose(0, 3, 5, 1, 2, 4)
    return x.reshape(4 * channels, batch, rows // 2, columns // 2)


def bilinear_phases(x, xp):
    """The phases of x at twice the resolution: [n, batch, rows, columns] -> [4 n, ..].

    Half-pixel centers, edges repeated: `nn.resize.doubled`, as phases.
    """
    rows, columns = x.shape[2:]
    x = xp.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    phases = []
    for i in (0, 2):
        half = 0.75 * x[:, :, 1 : rows + 1] + 0.25 * x[:, :, i : i + rows]
        for j in (0, 2):
            phases.append(0.75 * half[..., 1 : columns + 1] + 0.25 * half[..., j : j + columns])
    return xp.stack(phases, axis=1).reshape(-1, *phases[0].shape[1:])
