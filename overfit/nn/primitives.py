"""Every convolution and matrix product of the fits: shifted slices and `dot`, never `lax.conv`.

On CPU, XLA's convolution is 47 to 140 times slower inside a loop than as shifted slices with sums
or products, and a convolution vmapped over per-instance weights becomes a grouped one, 24 to 53
times slower. On CPU the work is cut into strips whose activations fit the cache; the loops over
strips carry their own gradients, because differentiating through a loop would store or copy whole
planes.
On accelerators a strip is as long as the plane, and the same code is a few large operations.
The strips of one instance can also be shared out among devices, which is how a single image uses
several cores: see `shared_strips`.

Functions take one instance. Activations are [channels, positions]; weights are [out, in].
"""

import contextlib
import itertools
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from overfit.nn.raster import Raster, Strips

# Positions per strip on CPU. 24 to 27 rows of 1024 float32 stay in the first two cache levels with
# the activations of two layers; longer strips are slower, shorter ones pay for their loop.
CPU_STRIP = 1024
CPU_ROWS = 32  # of an image, where a strip of multiply-adds is whole rows

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


def _join_parts(x: jax.Array, axis: int = 1) -> jax.Array:
    return lax.all_gather(x, _axis, axis=axis, tiled=True) if _parts > 1 else x


# -- Layers ----------------------------------------------------------------------------------------


@jax.custom_vjp
def linear(w: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
    """w @ x + b for w [out, in], b [out], x [in, positions]."""
    return w @ x + b[:, None]


def _linear_forward(w, b, x):
    return linear(w, b, x), (w, x)


def _linear_backward(residuals, g):
    w, x = residuals
    return _over_positions(g, x), _total(g), w.T @ g


linear.defvjp(_linear_forward, _linear_backward)


# Positions that one product sums over on accelerators. For so small a result cuBLAS makes one chain
# of them: on an H100 0.3 us per eight positions, while nearly all of the card waits.
_CHUNK = 256


def _over_positions(a: jax.Array, b: jax.Array) -> jax.Array:
    """a @ b.T for a [m, positions] and b [n, positions]."""
    positions = a.shape[1]
    if jax.default_backend() == "cpu" or positions <= _CHUNK:
        return a @ b.T
    chunks = -(-positions // _CHUNK)
    a, b = (
        jnp.pad(x, ((0, 0), (0, chunks * _CHUNK - positions))).reshape(len(x), chunks, _CHUNK)
        for x in (a, b)
    )
    return jnp.einsum("mcp,ncp->cmn", a, b).sum(0)


def _total(x: jax.Array) -> jax.Array:
    """Over positions: [channels, positions] -> [channels]."""
    if jax.default_backend() != "cpu":
        return x.sum(1)
    # As a product with ones: on CPU XLA's reduction along rows is not vectorized.
    return x @ jnp.ones(x.shape[1], x.dtype)


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """GELU by its tanh approximation (the default of `jax.nn.gelu`, which C3 uses)."""
    return x * _gate(x)


def _gate(x):
    """What GELU multiplies x by, between 0 and 1."""
    return 0.5 + 0.5 * jnp.tanh(x * (0.7978845608028654 + 0.035677408136300125 * (x * x)))


def _gelu_forward(x):
    # Keeping the derivative instead of x saves the backward pass a second tanh.
    gate = _gate(x)
    slope = 1.5957691216057308 + 0.21406444881780075 * (x * x)  # of the gate, by gate (1 - gate)
    return x * gate, gate * (1.0 + (1.0 - gate) * (x * slope))


gelu.defvjp(_gelu_forward, lambda slope, g: (g * slope,))

ACTIVATIONS = {"gelu": gelu, "relu": jax.nn.relu}


def mlp(weights: dict[str, jax.Array], x: jax.Array, activation: str, depth: int) -> jax.Array:
    """`depth` linear layers w0, b0, w1, b1, ... with the activation between them."""
    for layer in range(depth):
        x = linear(weights[f"w{layer}"], weights[f"b{layer}"], x)
        if layer < depth - 1:
            x = ACTIVATIONS[activation](x)
    return x


def _slice(array: jax.Array, start, length: int) -> jax.Array:
    # Without the usual check for negative indices, whose selection is one more operation.
    return lax.dynamic_slice(array, (start,), (length,), allow_negative_indices=False)


def _add_at(array: jax.Array, update: jax.Array, start) -> jax.Array:
    """array[start : start + len(update)] += update, in place inside a loop."""
    new = _slice(array, start, len(update)) + update
    return lax.dynamic_update_slice(array, new, (start,), allow_negative_indices=False)


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
        taps, center = _gather(sources, offsets, len(valid), start, pitch)
        return total + jnp.vdot(valid, fn(weights, taps, center, plane))

    return _sum_parts(_over_strips(body, jnp.zeros(()), layout))


def _over_strips(body: Callable, carry, layout: Raster):
    """The last carry of body(carry, (start, pitch, plane, valid)) over this device's strips."""
    for strips in layout.loops:
        if len(strips.starts) == 1 and _parts == 1:
            *where, valid = (array[0] for array in strips)
            carry = body(carry, (*map(int, where), valid))
        else:
            own = _own_strips(strips)
            carry = lax.scan(lambda carry, strip: (body(carry, strip), None), carry, own)[0]
    return carry


def _own_strips(strips: Strips):
    """The arrays that describe this device's strips, to scan over."""
    count, share, first = _share(len(strips.starts))
    own = []
    for array in strips:
        # Strips that round the count up are copies of the last one, with no valid positions.
        extra = np.repeat(array[-1:], count - len(array), axis=0)
        extra = extra if array is not strips.valid else np.zeros_like(extra)
        own.append(lax.dynamic_slice_in_dim(np.concatenate([array, extra]), first, share))
    return tuple(own)


def _pieces(offsets: tuple[Offsets, ...]):
    """For every row of every source's taps: (index of the source, dy, all dx).

    All taps of a row are cut from one piece: on CPU each slice at a traced index is an operation
    of its own.
    """
    for i, taps in enumerate(offsets):
        for dy, row in itertools.groupby(taps, key=lambda tap: tap[0]):
            yield i, dy, [dx for _, dx in row]


def _gather(sources, offsets, strip, start, pitch):
    if jax.default_backend() != "cpu":
        return _gather_at_once(sources, offsets, strip, start, pitch)
    taps = []
    for i, dy, row in _pieces(offsets):
        left, right = min(row), max(row)
        piece = _slice(sources[i], start + dy * pitch + left, strip + right - left)
        taps += [piece[dx - left : dx - left + strip] for dx in row]
    center = _slice(sources[0], start, strip)
    # A model may have no context at all.
    return jnp.stack(taps) if taps else jnp.zeros((0, strip), center.dtype), center


def _gather_at_once(sources, offsets, strip, start, pitch):
    """`_gather` as one operation: many slices that are stacked would be written twice."""
    begins = [
        i * len(sources[0]) + start + dy * pitch + dx
        for i, own in enumerate(offsets)
        for dy, dx in own
    ]
    center, joined = _slice(sources[0], start, strip), jnp.concatenate(sources)
    if not begins:
        return jnp.zeros((0, strip), center.dtype), center
    return jax.vmap(lambda begin: _slice(joined, begin, strip))(jnp.asarray(begins)), center


def _scatter_add(sources, offsets, start, pitch, taps, center):
    """Adds to `sources` what the transpose of `_gather` gives for cotangents of its results."""
    sources, tap, strip = list(sources), 0, len(center)
    for i, dy, row in _pieces(offsets):
        left, right = min(row), max(row)
        span = right - left
        zeros = jnp.zeros((len(row), span), taps.dtype)
        padded = jnp.concatenate([zeros, taps[tap : tap + len(row)], zeros], axis=1)
        length = strip + span
        shifted = [padded[j, right - dx : right - dx + length] for j, dx in enumerate(row)]
        piece = sum(shifted[1:], shifted[0])
        sources[i] = _add_at(sources[i], piece, start + dy * pitch + left)
        tap += len(row)
    sources[0] = _add_at(sources[0], center, start)
    return tuple(sources)


def _neighborhood_sum_forward(fn, layout, offsets, weights, sources):
    def body(carry, strip):
        total, d_weights, d_sources = carry
        start, pitch, plane, valid = strip
        taps, center = _gather(sources, offsets, len(valid), start, pitch)

        def cost(weights, taps, center):
            return jnp.vdot(valid, fn(weights, taps, center, plane))

        value, gradient = jax.value_and_grad(cost, argnums=(0, 1, 2))(weights, taps, center)
        d_strip_weights, d_taps, d_center = gradient
        d_weights = jax.tree.map(jnp.add, d_weights, d_strip_weights)
        d_sources = _scatter_add(d_sources, offsets, start, pitch, d_taps, d_center)
        return total + value, d_weights, d_sources

    zeros = jax.tree.map(jnp.zeros_like, (weights, sources))
    carry = _over_strips(body, (jnp.zeros(()), *zeros), layout)
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
    width = round((w.shape[1] / len(x)) ** 0.5)
    kernel = w.reshape(-1, len(x), width, width)
    return _correlate(kernel, b, _edge_padded(x[None], width // 2))[0]


def conv_frames(w: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
    """`conv` of every frame: [in, frames, rows, columns] -> [out, frames, rows, columns]."""
    width = round((w.shape[1] / len(x)) ** 0.5)
    return _correlate_frames(w.reshape(-1, len(x), width, width), b, _edge_padded(x, width // 2))


def conv_volume(w: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
    """k x k x k convolution, edges repeated: [in, frames, rows, columns] -> [out, ..].

    w is [out, in * k^3], its taps in the order (channel, dt, dy, dx).
    """
    channels, frames, _, _ = x.shape
    width = round((w.shape[1] / channels) ** (1 / 3))
    r = width // 2
    x = jnp.pad(_edge_padded(x, r), ((0, 0), (r, r), (0, 0), (0, 0)), mode="edge")
    # The frames before and after are further channels of a frame.
    x = jnp.stack([x[:, dt : dt + frames] for dt in range(width)], axis=1)
    kernel = w.reshape(-1, channels * width, width, width)
    return _correlate_frames(kernel, b, x.reshape(channels * width, *x.shape[2:]))


def _correlate_frames(kernel: jax.Array, bias: jax.Array, x: jax.Array) -> jax.Array:
    """`_correlate` of every frame of x [in, frames, rows + k - 1, columns + k - 1].

    The frames form one tall plane, so that its strips are as for any other; the few rows that mix
    two frames are computed in vain.
    """
    channels, frames, height, _ = x.shape
    reach = kernel.shape[-1] - 1
    y = _correlate(kernel, bias, x.reshape(1, channels, frames * height, -1))
    y = _with_rows(y, frames * height).reshape(len(bias), frames, height, -1)
    return y[:, :, : height - reach]


def conv_each(w: jax.Array, x: jax.Array) -> jax.Array:
    """Every channel alone by the same k x k kernels: [in, rows, columns] -> [in, out, ..].

    w is [out, k * k]; edges are repeated.
    """
    width = round(w.shape[1] ** 0.5)
    kernel = w.reshape(-1, 1, width, width)
    return _correlate(kernel, jnp.zeros(len(w), w.dtype), _edge_padded(x[:, None], width // 2))


def _edge_padded(x: jax.Array, radius: int) -> jax.Array:
    return jnp.pad(x, ((0, 0), (0, 0), (radius, radius), (radius, radius)), mode="edge")


def _with_rows(x: jax.Array, rows: int) -> jax.Array:
    """x [.., .., rows, columns] lengthened by rows of zeros."""
    return jnp.pad(x, ((0, 0), (0, 0), (0, rows - x.shape[2]), (0, 0)))


@jax.custom_vjp
def _correlate(kernel: jax.Array, bias: jax.Array, x: jax.Array) -> jax.Array:
    """Correlation with kernel [out, in, k, k] where all of it lies inside, plus bias [out].

    x is [batch, in, rows + k - 1, columns + k - 1], the result [batch, out, rows, columns].
    Channels are few, so every tap is a multiply-add of a shifted plane: XLA makes one vectorized
    loop of all of them, and no tap is copied.
    """
    batch, reach = len(x), kernel.shape[-1] - 1
    rows, columns = x.shape[2] - reach, x.shape[3] - reach
    strip = _rows_per_strip(rows, columns, CPU_ROWS)
    count, share, first = _share(-(-rows // strip))
    x = _with_rows(x, count * strip + reach)

    # A loop also where it is not needed for the cache: XLA would repeat the sums in every
    # operation that follows.
    def body(i, y):
        part = lax.dynamic_slice_in_dim(x, (first + i) * strip, strip + reach, 2)
        sums = list(bias)
        for c, dy, dx in np.ndindex(kernel.shape[1:]):
            tap = part[:, c, dy : dy + strip, dx : dx + columns]
            weights = kernel[:, c, dy, dx]
            sums = [total + w * tap for total, w in zip(sums, weights, strict=True)]
        return lax.dynamic_update_slice_in_dim(y, jnp.stack(sums, axis=1), i * strip, 2)

    y = jnp.zeros((batch, len(bias), share * strip, columns), x.dtype)
    return _join_parts(lax.fori_loop(0, share, body, y), axis=2)[:, :, :rows]


def _rows_per_strip(rows: int, columns: int, cpu_rows: int) -> int:
    return rows if strip_length(rows * columns) == rows * columns else cpu_rows


def _correlate_forward(kernel, bias, x):
    return _correlate(kernel, bias, x), (kernel, x)


def _correlate_backward(residuals, g):
    kernel, x = residuals
    reach = kernel.shape[-1] - 1
    flipped = kernel.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
    around = jnp.pad(g, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    dx = _correlate(flipped, jnp.zeros(len(flipped), g.dtype), around)
    return *_kernel_gradients(kernel.shape[-1], x, g), dx


def _kernel_gradients(width: int, x: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Gradients of `_correlate` with respect to its kernel and bias, for cotangents g."""
    batch, out, rows, columns = g.shape
    strip = _rows_per_strip(rows, columns, 4)
    if strip == rows:
        taps = jnp.stack(
            [x[:, :, dy : dy + rows, dx : dx + columns] for dy, dx in np.ndindex(width, width)], 2
        )  # [batch, in, taps, rows, columns]
        g, taps = (jnp.moveaxis(a, 0, -3).reshape(-1, batch * rows * columns) for a in (
            g.reshape(batch, out, rows, columns), taps.reshape(batch, -1, rows, columns),
        ))  # fmt: skip
        return _over_positions(g, taps).reshape(out, -1, width, width), _total(g)
    # On CPU copying the taps takes longer than the product. Instead a strip of a few rows of g is
    # multiplied with all rows of x that it meets, and the products of rows at the distances dy are
    # picked from the sum over all strips. More rows would give more products that nobody picks.
    reach = strip + width - 1
    count, share, first = _share(-(-rows // strip))
    x, g = _with_rows(x, count * strip + width - 1), _with_rows(g, count * strip)
    ones = jnp.ones(columns, g.dtype)

    def body(i, carry):
        products, d_bias = carry
        row = (first + i) * strip
        shape = (batch, out, strip, columns)
        g_rows = lax.dynamic_slice(g, (0, 0, row, 0), shape).reshape(batch, -1, columns)
        for dx in range(width):
            shape = (batch, x.shape[1], reach, columns)
            x_rows = lax.dynamic_slice(x, (0, 0, row, dx), shape).reshape(batch, -1, columns)
            products[dx] += g_rows @ x_rows.mT
        return products, d_bias + g_rows @ ones

    product = jnp.zeros((batch, out * strip, x.shape[1] * reach), g.dtype)
    zeros = ([product] * width, jnp.zeros((batch, out * strip), g.dtype))
    products, d_bias = _sum_parts(lax.fori_loop(0, share, body, zeros))
    met = np.stack([np.eye(strip, reach, dy, np.float32) for dy in range(width)])
    products = jnp.stack(products).reshape(width, batch, out, strip, -1, reach)
    d_kernel = jnp.einsum("xboris,yrs->oiyx", products, met)
    return d_kernel, d_bias.reshape(batch, out, strip).sum((0, 2))


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
