"""3x3 convolution of each channel by a kernel of its own, surrounded by zeros.

As in primitives.py, a sum of shifted planes and never `lax.conv`. The kernels' gradient is what
needs care: on CPU XLA sums products of shifted planes one by one (120 ms for 14 channels of 48
patches of 40x80), but into nine planes at once, patch by patch, at full width (24 ms). The planes
with zeros around them are kept for it, as padding costs as much as the sums.
"""

import jax
import jax.numpy as jnp
from jax import lax

_TAPS = 9  # of a kernel, in the order (dy, dx)


@jax.custom_vjp
def channelwise(kernels: jax.Array, x: jax.Array) -> jax.Array:
    """kernels [channels, 9] on x [channels, batch, rows, columns], to the same shape."""
    return _convolved(kernels, _padded(x))


def _padded(x: jax.Array) -> jax.Array:
    return jnp.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))


def _convolved(kernels: jax.Array, padded: jax.Array) -> jax.Array:
    taps = _taps(padded)
    return sum(
        (kernels[:, t, None, None, None] * tap for t, tap in enumerate(taps[1:], 1)),
        kernels[:, 0, None, None, None] * taps[0],
    )


def _taps(padded: jax.Array) -> list[jax.Array]:
    """What was padded, shifted by each tap."""
    rows, columns = padded.shape[2] - 2, padded.shape[3] - 2
    return [padded[:, :, t // 3 : t // 3 + rows, t % 3 : t % 3 + columns] for t in range(_TAPS)]


def _forward(kernels, x):
    padded = _padded(x)
    return _convolved(kernels, padded), (kernels, padded)


def _backward(residuals, g):
    kernels, padded = residuals
    return _kernel_gradient(padded, g), channelwise(kernels[:, ::-1], g)


def _kernel_gradient(padded: jax.Array, g: jax.Array) -> jax.Array:
    channels, batch, rows, columns = g.shape
    at_once = 1 if jax.default_backend() == "cpu" else batch

    def body(i, sums):
        part, part_g = (lax.dynamic_slice_in_dim(a, i * at_once, at_once, 1) for a in (padded, g))
        return [total + part_g * tap for total, tap in zip(sums, _taps(part), strict=True)]

    zeros = [jnp.zeros((channels, at_once, rows, columns), g.dtype)] * _TAPS
    sums = lax.fori_loop(0, batch // at_once, body, zeros)
    return jnp.stack([total.sum((1, 2, 3)) for total in sums], axis=1)


channelwise.defvjp(_forward, _backward)
