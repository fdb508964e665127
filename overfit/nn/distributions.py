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


_TINY = 1e-30  # a mass
OUTLIER_SHARE, OUTLIER_SCALE = 2.0**-13, 3.0  # as in the tables of `coding.laplace`


def gaussian_mass(x: jax.Array, loc: jax.Array, log2_scale: jax.Array) -> jax.Array:
    """Mass on [x - 1/2, x + 1/2] of a Gaussian with a little of a wide Laplace.

    All in bins. The Laplace part is in the coder's tables as well; here it also gives a gradient
    to values that the Gaussian thinks impossible.
    """
    distance = jnp.abs(x - loc)
    inverse = jnp.exp2(-log2_scale) * math.sqrt(0.5)
    gaussian = 0.5 * (
        jax.scipy.special.erfc((distance - 0.5) * inverse)
        - jax.scipy.special.erfc((distance + 0.5) * inverse)
    )
    outlier = math.sinh(0.5 / OUTLIER_SCALE) * jnp.exp(-distance / OUTLIER_SCALE)
    return (1 - OUTLIER_SHARE) * gaussian + OUTLIER_SHARE * outlier


def gaussian_bits(x: jax.Array, loc: jax.Array, log2_scale: jax.Array) -> jax.Array:
    """-log2 of it, also where it is less than float32 has: of the Laplace part alone."""
    mass = gaussian_mass(x, loc, log2_scale)
    slope = math.log2(math.e) / OUTLIER_SCALE
    outlier = -math.log2(OUTLIER_SHARE * math.sinh(0.5 / OUTLIER_SCALE)) + slope * jnp.abs(x - loc)
    known = mass > _TINY
    return jnp.where(known, -jnp.log2(jnp.where(known, mass, 1.0)), outlier)


def mixture_bits(x: jax.Array, components: list[tuple], shares: list[jax.Array]) -> jax.Array:
    """-log2 of the mass under a mixture: components (loc, log2_scale), shares that sum to 1."""
    parts = zip(shares, components, strict=True)
    return -jnp.log2(sum(share * gaussian_mass(x, *component) for share, component in parts))


def change_bits(changes: jax.Array, scale: jax.Array) -> jax.Array:
    """About what the changes of an array cost more than none at all, in bits, shape ().

    The code of an array adapts to its mean magnitude m: under the Laplace distribution of that
    scale n values take n log2(2 e m) bits and a constant. Near zero that is replaced: what counts
    are magnitudes beyond `scale`, those that fits usually have, and each is rounded off within it.
    The exact rate, steepest at zero, would hold arrays there that a few steps later are worth
    their bits; a rate that grows with m in proportion would hold back an image that needs others.
    """
    rounded = jnp.sqrt(jnp.square(changes) + jnp.square(scale)) - scale
    return changes.size * jnp.log2(1 + jnp.mean(rounded) / scale)
