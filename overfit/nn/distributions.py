"""Rates in bits of quantized symbols under the distributions that the entropy models predict."""

import math

import jax
import jax.numpy as jnp

MAX_BITS = 16.0  # C3 caps the cost of one symbol: an outlier must not dominate the gradient.


def laplace_bits(x: jax.Array, loc: jax.Array, scale: jax.Array) -> jax.Array:
    """-log2 of the Laplace mass on [x - 1/2, x + 1/2], at most `MAX_BITS` (C3, Eq. 12).

    All three in bins; `scale` > 0. The two exponentials need no log-domain arithmetic because
    masses below 2^-16 are capped anyway.
    """
    distance = jnp.abs(x - loc)
    near = jnp.exp(-jnp.abs(distance - 0.5) / scale)
    far = jnp.exp(-(distance + 0.5) / scale)
    mass = jnp.where(distance < 0.5, 1.0 - 0.5 * (near + far), 0.5 * (near - far))
    return jnp.minimum(-jnp.log2(jnp.maximum(mass, 2.0 ** -(MAX_BITS + 1))), MAX_BITS)


def change_bits(change: jax.Array, scale: jax.Array) -> jax.Array:
    """What a change of a parameter costs more than none, under a Laplace distribution.

    |x| / (scale ln 2), rounded off within a scale of zero: the kink of the exact rate would hold
    parameters at zero that a few steps later are worth their bits.
    """
    return (jnp.sqrt(jnp.square(change) + jnp.square(scale)) - scale) / (scale * math.log(2))
