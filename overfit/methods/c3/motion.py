"""Where the frames of a clip whose picture moves as a whole lie on a common canvas. JAX.

The grids of such a patch cover a canvas that is larger than a frame by `latents.margin`, and each
frame shows the part of it at its own place. What moves with the picture then stays where it is in
the grids: the frame before has it at the same position, and coarse grids, which have fewer frames,
can hold it at all. C3's paper has nothing of the kind, and leaves clips of fast motion open (Jockey
and ReadySetGo in its Fig. 22).

Places are parameters without a gradient, as those of masks are, so that one program serves all
patches of one size and margin.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from overfit.methods.c3 import samples
from overfit.methods.c3.config import C3Config

# Margins are multiples of this, so that patches that move alike share a program.
_MARGIN_STEP = 8
_LARGEST_CANVAS = 2.0  # times a frame
# Of the difference of frames what may be left: on crops of 7 frames of 128x128 px a canvas gained
# where 0.59 were (foreman), and lost where 0.74 were (park_joy): experiments/c3_motion.py.
_WORTHWHILE = 2 / 3
_LEAST_OVERLAP = 0.25  # of a frame, of two that are compared


def _shifts_within(reach: int) -> np.ndarray:
    """All (dy, dx) up to `reach` each, the smallest first: int32 [shifts, 2]."""
    steps = np.arange(-reach, reach + 1, dtype=np.int32)
    every = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
    return every[np.argsort(np.abs(every).sum(axis=1), kind="stable")]


def _difference(before, after, shift, reach: int):
    """Mean absolute difference where after[y + dy, x + dx] and before[y, x] are both known."""
    start = reach + shift
    shifted = lax.dynamic_slice(jnp.pad(after, reach), start, before.shape)
    known = lax.dynamic_slice(jnp.pad(jnp.ones_like(after), reach), start, before.shape)
    overlap = known.sum()
    mean = jnp.vdot(known, jnp.abs(shifted - before)) / jnp.maximum(overlap, 1)
    return jnp.where(overlap < _LEAST_OVERLAP * before.size, jnp.inf, mean)


def _best(before, after, around, within: int, reach: int):
    """(of the shifts up to `within` from `around` [2] the one of the least difference, that)."""
    candidates = around[None] + _shifts_within(within)
    costs = lax.map(lambda shift: _difference(before, after, shift, reach), candidates)
    return candidates[jnp.argmin(costs)], jnp.min(costs)


def shifts(luma: jax.Array, reach: int) -> tuple[jax.Array, jax.Array]:
    """By how much the picture moves before each frame but the first: int32 [frames - 1, (dy, dx)],
    and what is left of the mean absolute difference of frames when that is undone, shape ().

    luma [frames, rows, columns]; reach: the largest shift that is looked for, in px, first at half
    the resolution.
    """
    frames, rows, columns = luma.shape
    even = luma[:, : rows - rows % 2, : columns - columns % 2]
    half = even.reshape(frames, rows // 2, 2, columns // 2, 2).mean(axis=(2, 4))
    coarse = reach // 2

    def one(pair):
        (half_before, half_after), (before, after) = pair
        found, _ = _best(half_before, half_after, jnp.zeros(2, jnp.int32), coarse, coarse)
        shift, left = _best(before, after, 2 * found, 1, 2 * coarse + 1)
        return shift, left, jnp.mean(jnp.abs(after - before))

    found, left, still = lax.map(one, ((half[:-1], half[1:]), (luma[:-1], luma[1:])))
    return found, left.sum() / jnp.maximum(still.sum(), 1e-9)


def _places(luma: jax.Array, reach: int) -> tuple[jax.Array, jax.Array]:
    """(of each frame's upper left corner on the smallest canvas, int32 [frames, (row, column)];
    what is left of the difference of frames)."""
    if len(luma) == 1 or min(luma.shape[1:]) < 2 or reach == 0:
        return jnp.zeros((len(luma), 2), jnp.int32), jnp.ones(())
    found, left = shifts(luma, reach)
    places = -jnp.cumsum(jnp.concatenate([jnp.zeros((1, 2), jnp.int32), found]), axis=0)
    return places - places.min(axis=0, keepdims=True), left


def places(signal, config: C3Config) -> jax.Array:
    """Of each frame's upper left corner on the canvas: float32 [frames, (row, column)]."""
    found, _ = _places(samples.luma(signal), config.start.motion)
    return jnp.minimum(found, jnp.asarray([config.latents.margin])).astype(jnp.float32)


@functools.partial(jax.jit, static_argnums=1)
def _extent(signal, reach: int):
    places, left = _places(samples.luma(signal), reach)
    return places.max(axis=0), left


def with_margin(signal, config: C3Config) -> C3Config:
    """The configuration with the margin that the motion of a clip asks for, if it looks for any.

    Sizes are part of a program, and so found before it; places are data, which `init` finds again.
    There is none where the canvas would be too large, or frames would still differ; a margin that
    the settings name stays.
    signal: uint8 [channels, frames, rows, columns], or y, u, v of a 4:2:0 clip.
    """
    _, _, *size = samples.shape_of(signal)
    if not config.start.motion or any(config.latents.margin):
        return config
    farthest, left = map(np.asarray, _extent(signal, config.start.motion))
    margin = tuple(int(-(-n // _MARGIN_STEP) * _MARGIN_STEP) for n in farthest)
    canvas = np.prod([n + more for n, more in zip(size, margin, strict=True)])
    if left > _WORTHWHILE or canvas > _LARGEST_CANVAS * np.prod(size):
        margin = (0, 0)
    return dataclasses.replace(config, latents=dataclasses.replace(config.latents, margin=margin))
