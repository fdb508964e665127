"""The convolutions of `nn.convolutions` for fits: layers with gradients.

The transpose of a gather is a sum of as many padded arrays as there are taps, which is 40 times
slower on CPU than the gather. Each gradient here is again a gather and a product: that of a strided
convolution is a transposed one, and the other way round.

Accelerators have convolutions of their own: gathered planes, 25 times what they are made from,
would keep their memory busy and their arithmetic idle.

w is [out, taps * in], b [out], x [in, rows, columns]; edges have zeros beyond them.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

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


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def taps(w: jax.Array, b: jax.Array, x: jax.Array, offsets: Offsets) -> jax.Array:
    """Convolution with the taps at `offsets`: [out, rows, columns]."""
    return (w @ gather(x, offsets) + b[:, None]).reshape(-1, *x.shape[1:])


def _taps_forward(w, b, x, offsets):
    return taps(w, b, x, offsets), (w, x)


def _taps_backward(offsets, residuals, g):
    w, x = residuals
    dw = _flat(g) @ gather(x, offsets).T
    back = tuple((-dy, -dx) for dy, dx in offsets)
    dx = _turned(w, len(x)) @ gather(g, back)
    return dw, _flat(g).sum(1), dx.reshape(x.shape)


taps.defvjp(_taps_forward, _taps_backward)


@jax.custom_vjp
def down(w: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
    """5x5 convolution of stride 2: [out, rows / 2, columns / 2] of even rows and columns."""
    y = w @ gather_down(x, 5) + b[:, None]
    return y.reshape(-1, x.shape[1] // 2, x.shape[2] // 2)


def _down_backward(residuals, g):
    w, x = residuals
    dw = _flat(g) @ gather_down(x, 5).T
    dx = up_kernel(_turned(w, len(x))) @ gather(g, square(3))
    return dw, _flat(g).sum(1), depth_to_space(dx, *g.shape[1:])


down.defvjp(lambda w, b, x: (down(w, b, x), (w, x)), _down_backward)


@jax.custom_vjp
def up(w: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
    """Its transpose, a 5x5 transposed convolution of stride 2: [out, 2 rows, 2 columns]."""
    y = up_kernel(w) @ gather(x, square(3)) + jnp.tile(b, 4)[:, None]
    return depth_to_space(y, *x.shape[1:])


def _up_backward(residuals, g):
    w, x = residuals
    around = gather_down(g, 5)  # (25 * out, rows * columns)
    dw = (around @ _flat(x).T).reshape(25, len(g), len(x)).transpose(1, 0, 2)
    dx = _turned(w, len(x)) @ around
    return dw.reshape(w.shape), _flat(g).sum(1), dx.reshape(x.shape)


up.defvjp(lambda w, b, x: (up(w, b, x), (w, x)), _up_backward)


# -- Accelerators ----------------------------------------------------------------------------------


def _convolved(w, b, x, kernel_width: int, pad: tuple[int, int], stride=1, dilation=1) -> jax.Array:
    """XLA's convolution with [out, width^2 * in]."""
    kernel = w.reshape(len(w), kernel_width, kernel_width, len(x))
    y = lax.conv_general_dilated(
        x[None],
        kernel,
        (stride,) * 2,
        (pad,) * 2,
        lhs_dilation=(dilation,) * 2,
        dimension_numbers=("NCHW", "OHWI", "NCHW"),
    )
    return y[0] + b[:, None, None]


def _own_taps(w, b, x, offsets: Offsets) -> jax.Array:
    reach = max(max(abs(dy), abs(dx)) for dy, dx in offsets)
    width = 2 * reach + 1
    if offsets != square(width):  # zeros where the kernel has no taps
        at = np.asarray([(dy + reach) * width + dx + reach for dy, dx in offsets])
        sparse = w.reshape(len(w), len(offsets), len(x))
        w = jnp.zeros((len(w), width**2, len(x)), w.dtype).at[:, at].set(sparse)
    return _convolved(w, b, x, width, (reach, reach))


def _own_down(w, b, x) -> jax.Array:
    return _convolved(w, b, x, 5, (2, 2), stride=2)


def _own_up(w, b, x) -> jax.Array:
    turned = w.reshape(len(w), 25, len(x))[:, ::-1]
    return _convolved(turned, b, x, 5, (2, 3), dilation=2)


def arithmetic(networks: dict) -> layers.Arithmetic:
    """Layers of these networks, with gradients."""
    gathered = jax.default_backend() == "cpu"
    of_taps, of_down, of_up = (taps, down, up) if gathered else (_own_taps, _own_down, _own_up)

    def weights(network: str, layer: int):
        return networks[network][f"w{layer}"], networks[network][f"b{layer}"]

    def dense(network: str, layer: int, x):
        w, b = weights(network, layer)
        return w @ x + b[:, None]

    return layers.Arithmetic(
        dense,
        lambda network, layer, x, offsets: of_taps(*weights(network, layer), x, offsets),
        lambda network, layer, x: of_down(*weights(network, layer), x),
        lambda network, layer, x: of_up(*weights(network, layer), x),
        layers.leaky,
        lambda x, y: x + y,
        lambda x, gain: x * gain[None],
    )
