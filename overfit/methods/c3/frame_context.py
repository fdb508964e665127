"""What the entropy model sees of the frame before, in the fit (C3, 3.3 and A.3). JAX.

A grid sees a neighborhood there, or a small mask that lies anywhere in a wide window. Either is
one more source of `primitives.neighborhood_sum`: the frames one later, and for a mask shifted by
its place, so that the cost grows with the taps that are seen and not with the window.

The places of masks are parameters without a gradient, so that one program serves them all. They
are found by a short fit that sees the whole window: masks.py.
"""

import jax
import jax.numpy as jnp

from overfit.methods.c3.architecture import Offsets, frame_offsets, num_masks
from overfit.methods.c3.config import C3Config
from overfit.nn import windows


def before(plane: jax.Array) -> jax.Array:
    """At each frame the one before it, zeros at the first: [frames, rows, columns]."""
    return jnp.concatenate([jnp.zeros_like(plane[:1]), plane[:-1]])


def shifted(plane: jax.Array, place: jax.Array, config: C3Config) -> jax.Array:
    """The value at (y, x) + place, zero outside, for y and x up to mask - 1 beyond the plane."""
    reach, more = config.entropy.frame, config.entropy.mask - 1
    _, rows, columns = plane.shape
    padded = jnp.pad(plane, ((0, 0), (reach, reach + more), (reach, reach + more)))
    start = (0, *(reach + jax.lax.stop_gradient(place).astype(jnp.int32)))
    return jax.lax.dynamic_slice(padded, start, (len(plane), rows + more, columns + more))


def sources(
    weights, planes: list[jax.Array], places, config: C3Config
) -> tuple[dict[str, jax.Array], tuple[Offsets, ...], list[list[jax.Array]]]:
    """(weights with one first layer w0 for all sources, offsets and planes of each source).

    planes: [frames, rows, columns] per grid, in bins; places: [masks, (dy, dx)] of each mask's
    upper left tap, None where there are no masks.
    """
    weights, earlier = dict(weights), [before(plane) for plane in planes]
    if "window" in weights:
        # The window's part of the first layer is computed apart and added by a matrix of ones.
        window = weights.pop("window")
        masks, width = window.shape[:2]
        seen = [windows.correlate(w, x) for w, x in zip(window, earlier[:masks], strict=True)]
        seen += [jnp.zeros((width, *x.shape)) for x in earlier[masks:]]
        own = weights["w0"]
        ones = jnp.broadcast_to(jnp.eye(width), (len(own), width, width))
        weights["w0"] = jnp.concatenate([own, ones], axis=-1)
        return weights, (((0, 0),),) * width, [list(s) for s in zip(*seen, strict=True)]
    own, frame_w = weights["w0"], weights.pop("frame_w")
    if config.entropy.mask:
        masks, rest = num_masks(config), config.latents.num_grids - num_masks(config)
        frame_w = jnp.pad(frame_w, ((0, rest), (0, 0), (0, 0)))
        seen = [shifted(x, p, config) for x, p in zip(earlier[:masks], places, strict=True)]
        earlier = seen + [jnp.zeros_like(x) for x in earlier[masks:]]
    weights["w0"] = jnp.concatenate([own, frame_w], axis=-1)
    return weights, (frame_offsets(config, 0),), [earlier]


def centered(config: C3Config) -> jax.Array:
    """Places of masks around the position itself: float32 [masks, 2]."""
    return jnp.full((num_masks(config), 2), -(config.entropy.mask // 2), jnp.float32)
