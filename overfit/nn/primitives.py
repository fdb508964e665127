"""Every convolution and matrix product of the fits: shifted slices and `dot`, never `lax.conv`.

On CPU, XLA's convolution is 47 to 140 times slower inside a loop than as slices and matrix
products, and a convolution vmapped over per-instance weights becomes a grouped one, 24 to 53 times
slower. On CPU the work is cut into strips whose activations fit the cache; the loops over strips
carry their own gradients, because differentiating through a loop would store or copy whole planes.
On accelerators a strip is as long as the plane, and the same code is a few large operations.
The strips of one instance can also be shared out among devices, which is how a single image uses
several cores: see `shared_strips`.

Functions take one instance. Activations are [channels, positions]; weights are [out, in].
"""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from overfit.nn.raster import Raster

# Positions per strip on CPU. 24 to 27 rows of 1024 float32 stay in the first two cache levels with
# the activations of two layers; longer strips are slower, shorter ones pay for their loop.
CPU_STRIP = 1024

Offsets = tuple[tuple[int, int], ...]  # (dy, dx) of each tap


def strip_length(positions: int) -> int:
    """Positions per strip for a loop over `positions`: short on CPU, everything elsewhere."""
    return min(positions, CPU_STRIP) if jax.default_backend() == "cpu" else positions


# -- Strips shared among devices -------------------------------------------------------------------

_axis: str | None = None  # mesh axis whose devices share the strips of one instance
_parts = 1  # how many those devices are


@contextlib.contextmanager
def shared_strips(axis: str, parts: int):
    """While tracing under `jax.shard_map`: the loops below run 1/parts of their strips each.

    All devices along `axis` must hold the same values and get the same results; everything that is
    not a loop over strips is computed by each of them.
    """
    global _axis, _parts
    _axis, _parts = axis, parts
    try:
        yield
    finally:
        _axis, _parts = None, 1


def _share(count: int) -> tuple[int, int, jax.Array | int]:
    """For a loop over `count` strips: (count rounded up, own share, index of the first own)."""
    share = -(-count // _parts)
    first = lax.axis_index(_axis) * share if _parts > 1 else 0
    return share * _parts, share, first


def _sum_parts(tree):
    return lax.psum(tree, _axis) if _parts > 1 else tree


def _join_parts(x: jax.Array) -> jax.Array:
    return lax.all_gather(x, _axis, axis=1, tiled=True) if _parts > 1 else x


# -- Layers ----------------------------------------------------------------------------------------


@jax.custom_vjp
def linear(w: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
    """w @ x + b for w [out, in], b [out], x [in, positions]."""
    return w @ x + b[:, None]


def _linear_forward(w, b, x):
    return linear(w, b, x), (w, x)


def _linear_backward(residuals, g):
    w, x = residuals
    # The sum over positions as a product with ones: XLA's reduction along rows is not vectorized.
    return g @ x.T, g @ jnp.ones(x.shape[1], x.dtype), w.T @ g


linear.defvjp(_linear_forward, _linear_backward)


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """GELU by its tanh approximation (the default of `jax.nn.gelu`, which C3 uses)."""
    return 0.5 * x * (1.0 + jnp.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))


def _gelu_forward(x):
    # Keeping the derivative instead of x saves the backward pass a second tanh.
    t = jnp.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))
    slope = 0.5 * (1.0 + t) + 0.3989422804014327 * x * (1.0 - t * t) * (1.0 + 0.134145 * x * x)
    return 0.5 * x * (1.0 + t), slope


gelu.defvjp(_gelu_forward, lambda slope, g: (g * slope,))

ACTIVATIONS = {"gelu": gelu, "relu": jax.nn.relu}


def mlp(weights: dict[str, jax.Array], x: jax.Array, activation: str, depth: int) -> jax.Array:
    """`depth` linear layers w0, b0, w1, b1, ... with the activation between them."""
    for layer in range(depth):
        x = linear(weights[f"w{layer}"], weights[f"b{layer}"], x)
        if layer < depth - 1:
            x = ACTIVATIONS[activation](x)
    return x


def _add_at(array: jax.Array, update: jax.Array, start) -> jax.Array:
    """array[start : start + len(update)] += update, in place inside a loop."""
    old = lax.dynamic_slice(array, (start,), update.shape)
    return lax.dynamic_update_slice(array, old + update, (start,))


# -- Pointwise networks --------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def pixelwise(fn: Callable, weights: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """fn(weights, x) for an fn that treats every position alike: [in, n] -> [out, n].

    The backward pass computes each strip's activations again instead of storing them.
    """
    channels, n = x.shape
    strip = strip_length(n)
    if strip == n:
        return fn(weights, x)
    share, first, x = _whole_strips(n, strip, x)
    out = jax.eval_shape(fn, weights, x[:, :strip]).shape[0]

    def body(i, y):
        part = lax.dynamic_slice(x, (0, (first + i) * strip), (channels, strip))
        return lax.dynamic_update_slice(y, fn(weights, part), (0, i * strip))

    y = lax.fori_loop(0, share, body, jnp.zeros((out, share * strip), x.dtype))
    return _join_parts(y)[:, :n]


def _whole_strips(n: int, strip: int, *arrays: jax.Array):
    """(own share of the strips, first own strip, *arrays [.., n] padded to whole strips)."""
    count, share, first = _share(-(-n // strip))
    return share, first, *(jnp.pad(a, ((0, 0), (0, count * strip - n))) for a in arrays)


def _pixelwise_forward(fn, weights, x):
    return pixelwise(fn, weights, x), (weights, x)


def _pixelwise_backward(fn, residuals, g):
    weights, x = residuals
    channels, n = x.shape
    strip = strip_length(n)
    if strip == n:
        return jax.vjp(fn, weights, x)[1](g)
    # Zero cotangents in the padding keep it out of the weights' gradient.
    share, first, x, g = _whole_strips(n, strip, x, g)

    def body(i, carry):
        d_weights, dx = carry
        part = lax.dynamic_slice(x, (0, (first + i) * strip), (channels, strip))
        cotangent = lax.dynamic_slice(g, (0, (first + i) * strip), (g.shape[0], strip))
        d_part_weights, d_part = jax.vjp(fn, weights, part)[1](cotangent)
        d_weights = jax.tree.map(jnp.add, d_weights, d_part_weights)
        return d_weights, lax.dynamic_update_slice(dx, d_part, (0, i * strip))

    zeros = jax.tree.map(jnp.zeros_like, weights)
    dx = jnp.zeros((channels, share * strip), x.dtype)
    d_weights, dx = lax.fori_loop(0, share, body, (zeros, dx))
    return _sum_parts(d_weights), _join_parts(dx)[:, :n]


pixelwise.defvjp(_pixelwise_forward, _pixelwise_backward)


# -- A cost summed over all positions, each with its neighbors -----------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def neighborhood_sum(
    fn: Callable,
    layout: Raster,
    offsets: tuple[Offsets, ...],
    weights: dict[str, jax.Array],
    sources: tuple[jax.Array, ...],
) -> jax.Array:
    """Sum over all valid positions of fn(weights, taps, center, plane), a scalar.

    `sources` are arrays in the same raster `layout`, each read at its own `offsets`; `taps` is
    [all offsets, strip], `center` [strip] the first source at the position itself, `plane` the
    index of the plane (traced), and fn returns [strip]. The gradient is computed together with the
    value, strip by strip: nothing is stored.
    """

    def body(total, strip):
        start, pitch, plane, valid = strip
        taps, center = _gather(sources, offsets, layout.strip, start, pitch)
        return total + jnp.vdot(valid, fn(weights, taps, center, plane)), None

    return _sum_parts(lax.scan(body, jnp.zeros(()), _own_strips(layout))[0])


def _own_strips(layout: Raster):
    """The arrays that describe this device's strips, to scan over."""
    count, share, first = _share(len(layout.starts))
    strips = []
    for array in (layout.starts, layout.pitches, layout.planes, layout.valid):
        # Strips that round the count up are copies of the last one, with no valid positions.
        extra = np.repeat(array[-1:], count - len(array), axis=0)
        extra = extra if array is not layout.valid else np.zeros_like(extra)
        strips.append(lax.dynamic_slice_in_dim(np.concatenate([array, extra]), first, share))
    return tuple(strips)


def _gather(sources, offsets, strip, start, pitch):
    taps = [
        lax.dynamic_slice(source, (start + dy * pitch + dx,), (strip,))
        for source, taps in zip(sources, offsets, strict=True)
        for dy, dx in taps
    ]
    return jnp.stack(taps), lax.dynamic_slice(sources[0], (start,), (strip,))


def _neighborhood_sum_forward(fn, layout, offsets, weights, sources):
    def body(carry, strip):
        total, d_weights, d_sources = carry
        start, pitch, plane, valid = strip
        taps, center = _gather(sources, offsets, layout.strip, start, pitch)

        def cost(weights, taps, center):
            return jnp.vdot(valid, fn(weights, taps, center, plane))

        value, gradient = jax.value_and_grad(cost, argnums=(0, 1, 2))(weights, taps, center)
        d_strip_weights, d_taps, d_center = gradient
        d_weights = jax.tree.map(jnp.add, d_weights, d_strip_weights)
        d_sources, tap = list(d_sources), 0
        for i, taps_of_source in enumerate(offsets):
            for dy, dx in taps_of_source:
                d_sources[i] = _add_at(d_sources[i], d_taps[tap], start + dy * pitch + dx)
                tap += 1
        d_sources[0] = _add_at(d_sources[0], d_center, start)
        return (total + value, d_weights, tuple(d_sources)), None

    zeros = jax.tree.map(jnp.zeros_like, (weights, sources))
    carry, _ = lax.scan(body, (jnp.zeros(()), *zeros), _own_strips(layout))
    total, *gradients = _sum_parts(carry)
    return total, gradients


def _neighborhood_sum_backward(fn, layout, offsets, gradients, g):
    return jax.tree.map(lambda x: g * x, tuple(gradients))


neighborhood_sum.defvjp(_neighborhood_sum_forward, _neighborhood_sum_backward)


# -- Small convolutions of whole planes ----------------------------------------------------------


def conv(w: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
    """k x k convolution (k odd), stride 1, edges repeated: [in, rows, columns] -> [out, ..].

    w is [out, in * k * k], its taps in the order (channel, dy, dx).
    """
    channels, rows, columns = x.shape
    width = round((w.shape[1] / channels) ** 0.5)
    x = _edge_padded(x, width // 2)
    plane, pitch = x.shape[1] * x.shape[2], x.shape[2]
    y: Any = _correlate(_offsets(channels, plane, width, pitch), rows * pitch, w, b, x.reshape(-1))
    return y.reshape(-1, rows, pitch)[:, :, :columns]


def conv_each(w: jax.Array, x: jax.Array) -> jax.Array:
    """Every channel alone by the same k x k kernels: [in, rows, columns] -> [in, out, ..].

    w is [out, k * k]; edges are repeated. The channels follow each other as one tall plane.
    """
    channels, rows, columns = x.shape
    width = round(w.shape[1] ** 0.5)
    x = _edge_padded(x, width // 2)
    tall, pitch = channels * x.shape[1], x.shape[2]
    bias = jnp.zeros(w.shape[0], w.dtype)
    y: Any = _correlate(_offsets(1, 0, width, pitch), tall * pitch, w, bias, x.reshape(-1))
    y = y.reshape(-1, channels, x.shape[1], pitch)[:, :, :rows, :columns]
    return y.transpose(1, 0, 2, 3)


def _edge_padded(x: jax.Array, radius: int) -> jax.Array:
    return jnp.pad(x, ((0, 0), (radius, radius), (radius, radius)), mode="edge")


def _offsets(channels: int, plane: int, width: int, pitch: int) -> tuple[int, ...]:
    """Distances of a width x width kernel's taps from its first one, in the flat array."""
    reach = range(width)
    return tuple(
        c * plane + dy * pitch + dx for c in range(channels) for dy in reach for dx in reach
    )


def _taps_at(flat, offsets, start, strip) -> jax.Array:
    return jnp.stack([lax.dynamic_slice(flat, (start + o,), (strip,)) for o in offsets])


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _correlate(offsets, n, w, b, flat):
    """y[:, i] = w @ flat[i + offsets] + b for i in 0 .. n-1, strip by strip: [out, n].

    What lies beyond the end of `flat` counts as zero.
    """
    strip = strip_length(n)
    count, share, first = _share(-(-n // strip))
    flat = _lengthened(flat, offsets, count * strip)

    def body(i, y):
        taps = _taps_at(flat, offsets, (first + i) * strip, strip)
        return lax.dynamic_update_slice(y, linear(w, b, taps), (0, i * strip))

    y = lax.fori_loop(0, share, body, jnp.zeros((w.shape[0], share * strip), flat.dtype))
    return _join_parts(y)[:, :n]


def _lengthened(flat, offsets, positions):
    return jnp.pad(flat, (0, max(0, max(offsets) + positions - flat.size)))


def _correlate_forward(offsets, n, w, b, flat):
    return _correlate(offsets, n, w, b, flat), (w, flat)


def _correlate_backward(offsets, n, residuals, g):
    w, flat = residuals
    strip = strip_length(n)
    share, first, g = _whole_strips(n, strip, g)
    long = _lengthened(flat, offsets, g.shape[1])
    ones = jnp.ones(strip, flat.dtype)

    def body(i, carry):
        dw, db, d_flat = carry
        start = (first + i) * strip
        taps = _taps_at(long, offsets, start, strip)
        g_strip = lax.dynamic_slice(g, (0, start), (g.shape[0], strip))
        d_taps = w.T @ g_strip
        for tap, offset in enumerate(offsets):
            d_flat = _add_at(d_flat, d_taps[tap], start + offset)
        return dw + g_strip @ taps.T, db + g_strip @ ones, d_flat

    zeros = (jnp.zeros_like(w), jnp.zeros(w.shape[0], w.dtype), jnp.zeros_like(long))
    dw, db, d_flat = _sum_parts(lax.fori_loop(0, share, body, zeros))
    return dw, db, d_flat[: flat.size]


_correlate.defvjp(_correlate_forward, _correlate_backward)


def upsample_twice(kernel: jax.Array, x: jax.Array) -> jax.Array:
    """Learned doubling of Cool-chic v2: an 8x8 transposed convolution of stride 2, edge padding.

    kernel [8, 8] is the response to one sample at twice the resolution, shared by all channels;
    x [channels, rows, columns] -> [channels, 2 rows, 2 columns].
    """
    channels, rows, columns = x.shape
    # Output 2i + p sees inputs i - 2 .. i + 2; input i - 2 + a lies under kernel tap
    # p + 3 - 2 (a - 2), if there is such a tap: each of the four phases is a 5x5 correlation.
    phases = []
    for p in range(2):
        for q in range(2):
            rows_of = [p + 3 - 2 * (a - 2) for a in range(5)]
            columns_of = [q + 3 - 2 * (a - 2) for a in range(5)]
            phases += [
                kernel[u, v] if 0 <= u < 8 and 0 <= v < 8 else jnp.zeros((), kernel.dtype)
                for u in rows_of
                for v in columns_of
            ]
    y = conv_each(jnp.stack(phases).reshape(4, 25), x)  # (channels, 4, rows, columns)
    y = y.reshape(channels, 2, 2, rows, columns).transpose(0, 3, 1, 4, 2)
    return y.reshape(channels, 2 * rows, 2 * columns)
