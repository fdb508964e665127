"""Correlation of frames with windows so wide that the Fourier transform beats shifted slices.

A window of 65x65 taps costs 4225 multiplications per position and output as slices, but about a
hundred operations as a product of spectra. The spectra of one frame at a time stay in the cache
on CPU; on accelerators all frames are transformed at once.
"""

import itertools

import jax
import jax.numpy as jnp
from jax import lax


@jax.custom_vjp
def correlate(w: jax.Array, x: jax.Array) -> jax.Array:
    """y[o, t, i, j] = sum over u, v of w[o, u, v] x[t, i + u - r, j + v - r], x zero outside.

    w [out, 2 r + 1, 2 r + 1], x [frames, rows, columns] -> [out, frames, rows, columns], float32.
    """
    kernel, size = _spectrum(w, _size(w, x)), _size(w, x)

    def frames(_, part):
        spectra = jnp.conj(kernel)[:, None] * _spectrum(_padded(part, w), size)[None]
        return None, jnp.fft.irfft2(spectra, size)[..., : x.shape[1], : x.shape[2]]

    _, y = lax.scan(frames, None, _parts(x))
    return jnp.moveaxis(y, 1, 0).reshape(-1, *x.shape)


def _size(w: jax.Array, x: jax.Array) -> tuple[int, int]:
    """Rows and columns of the transforms: no tap may wrap around to another one's values."""
    rows, columns = (_fast_length(n + w.shape[-1] - 1) for n in x.shape[1:])
    return rows, columns


def _fast_length(n: int) -> int:
    """The next length that has no prime factors but 2, 3 and 5: it divides a power of 30."""
    return next(m for m in itertools.count(n) if pow(30, m.bit_length(), m) == 0)


def _spectrum(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    return jnp.fft.rfft2(x, size)


def _padded(x: jax.Array, w: jax.Array) -> jax.Array:
    """Frames with zeros above and to the left: tap (u, v) of position (i, j) is (i + u, j + v)."""
    r = w.shape[-1] // 2
    return jnp.pad(x, ((0, 0), (r, 0), (r, 0)))


def _parts(x: jax.Array) -> jax.Array:
    """Frames as [loops, frames per loop, ..]."""
    return x[:, None] if jax.default_backend() == "cpu" else x[None]


def _forward(w, x):
    return correlate(w, x), (w, x)


def _backward(residuals, g):
    w, x = residuals
    kernel, size, r = _spectrum(w, _size(w, x)), _size(w, x), w.shape[-1] // 2
    g = jnp.moveaxis(g, 0, 1)  # (frames, out, rows, columns)

    def frames(d_kernel, part):
        x, g = part  # (frames, rows, columns) and (frames, out, rows, columns)
        g = _spectrum(g, size)
        dx = jnp.fft.irfft2(jnp.sum(kernel[None] * g, axis=1), size)
        d_kernel += jnp.sum(jnp.conj(g) * _spectrum(_padded(x, w), size)[:, None], axis=0)
        return d_kernel, dx[:, r : r + x.shape[1], r : r + x.shape[2]]

    d_kernel, dx = lax.scan(frames, jnp.zeros_like(kernel), (_parts(x), _parts(g)))
    width = w.shape[-1]
    return jnp.fft.irfft2(d_kernel, size)[:, :width, :width], dx.reshape(x.shape)


correlate.defvjp(_forward, _backward)
