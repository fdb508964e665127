"""The convolutions of `nn.convolutions` for fits: layers with gradients.

The transpose of a gather is a sum of as many padded arrays as there are taps, which is 40 times
slower on CPU than the gather. Each gradient here is again a gather and a product: that of a strided
convolution is a transposed one, and the other way round.

Accelerators compute products of bfloat16 with sums in float32: gathered planes, up to 25 times what
they are made from, are half as large.

w is [out, taps * in], b [out], x [in, rows, columns]; edges have zeros beyond them.
"""

import functools

import jax
import jax.numpy as jnp

from overfit.nn import layers
from overfit.nn.convolutions import (
    Offsets,
    depth_to_space,
    gather,
    gather_down,
    square,
    up_kernel,
)


def _turned(w: jax.Array, channels: int) -> jax.Array:
    """[out, taps * in] -> [in, taps * out]."""
    out = len(w)
    return w.reshape(out, -1, channels).transpose(2, 1, 0).reshape(channels, -1)


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(len(x), -1)


def _short(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """As factors of a product have them."""
    if jax.default_backend() == "cpu":
        return arrays
    return tuple(array.astype(jnp.bfloat16) for array in arrays)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def taps(w: jax.Array, b: jax.Array, x: jax.Array, offsets: Offsets) -> jax.Array:
    """Convolution with the taps at `offsets`: [out, rows, columns]."""
    w, x = _short(w, x)
    return (_product(w, gather(x, offsets)) + b[:, None]).reshape(-1, *x.shape[1:])


def _taps_forward(w, b, x, offsets):
    return taps(w, b, x, offsets), (w, x)


def _taps_backward(offsets, residuals, g):
    db = _flat(g).sum(1)
    w, x, g = _short(*residuals, g)
    dw = _product(_flat(g), gather(x, offsets).T)
    back = tuple((-dy, -dx) for dy, dx in offsets)
    dx = _product(_turned(w, len(x)), gather(g, back))
    return dw, db, dx.reshape(x.shape)


taps.defvjp(_taps_forward, _taps_backward)


@jax.custom_vjp
def down(w: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
    """5x5 convolution of stride 2: [out, rows / 2, columns / 2] of even rows and columns."""
    w, x = _short(w, x)
    y = _product(w, gather_down(x, 5)) + b[:, None]
    return y.reshape(-1, x.shape[1] // 2, x.shape[2] // 2)


def _down_backward(residuals, g):
    db = _flat(g).sum(1)
    w, x, g = _short(*residuals, g)
    dw = _product(_flat(g), gather_down(x, 5).T)
    dx = _product(up_kernel(_turned(w, len(x))), gather(g, square(3)))
    return dw, db, depth_to_space(dx, *g.shape[1:])


down.defvjp(lambda w, b, x: (down(w, b, x), (w, x)), _down_backward)


@jax.custom_vjp
def up(w: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
    """Its transpose, a 5x5 transposed convolution of stride 2: [out, 2 rows, 2 columns]."""
    w, x = _short(w, x)
    y = _product(up_kernel(w), gather(x, square(3))) + jnp.tile(b, 4)[:, None]
    return depth_to_space(y, *x.shape[1:])


def _up_backward(residuals, g):
    db = _flat(g).sum(1)
    w, x, g = _short(*residuals, g)
    around = gather_down(g, 5)  # (25 * out, rows * columns)
    dw = _product(around, _flat(x).T).reshape(25, len(g), len(x)).transpose(1, 0, 2)
    dx = _product(_turned(w, len(x)), around)
    return dw.reshape(w.shape), db, dx.reshape(x.shape)


up.defvjp(lambda w, b, x: (up(w, b, x), (w, x)), _up_backward)


def arithmetic(networks: dict) -> layers.Arithmetic:
    """Layers of these networks, with gradients."""

    def weights(network: str, layer: int):
        return networks[network][f"w{layer}"], networks[network][f"b{layer}"]

    def dense(network: str, layer: int, x):
        w, b = weights(network, layer)
        return w @ x + b[:, None]

    return layers.Arithmetic(
        dense,
        lambda network, layer, x, offsets: taps(*weights(network, layer), x, offsets),
        lambda network, layer, x: down(*weights(network, layer), x),
        lambda network, layer, x: up(*weights(network, layer), x),
        layers.leaky,
        lambda x, y: x + y,
        lambda x, gain: x * gain[None],
    )
