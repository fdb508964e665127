"""Differentiable stand-ins for rounding, and the noise that goes with them.

Sources: C3 (arXiv 2312.02753) sections 3.1, A.2.4, A.2.5; Agustsson and Theis, "Universally
quantized neural compression" (arXiv 2006.09952) for the soft rounding. All functions work on
values in units of the quantization step (bins).
"""

import jax
import jax.numpy as jnp


def soft_round(x: jax.Array, temperature: jax.Array) -> jax.Array:
    """Smooth rounding s_T (Eq. 20): tends to rounding as T -> 0 and to the identity as T grows."""
    center = jnp.floor(x) + 0.5
    return center + jnp.tanh((x - center) / temperature) / (2 * jnp.tanh(0.5 / temperature))


def soft_round_conditional_mean(y: jax.Array, temperature: jax.Array) -> jax.Array:
    """r_T(y) = E[x | s_T(x) + u = y] = s_T^-1(y - 0.5) + 0.5 for uniform u (Eq. 21)."""
    y = y - 0.5
    center = jnp.floor(y) + 0.5
    # In float32 the argument can round to +-1, where atanh is infinite.
    slope = jnp.clip(2 * jnp.tanh(0.5 / temperature) * (y - center), -0.99999, 0.99999)
    return center + temperature * jnp.arctanh(slope) + 0.5


def kumaraswamy_noise(key: jax.Array, shape: tuple[int, ...], a: jax.Array) -> jax.Array:
    """Kumaraswamy(a, b(a)) - 0.5 with its mode at 0 (Eq. 23); a = 1 is uniform noise."""
    b = (2.0**a * (a - 1.0) + 1.0) / a
    u = jax.random.uniform(key, shape, minval=1e-6, maxval=1.0 - 1e-6)
    return (1.0 - (1.0 - u) ** (1.0 / b)) ** (1.0 / a) - 0.5


def gaussian_noise(key: jax.Array, shape: tuple[int, ...], sigma: jax.Array) -> jax.Array:
    """Normal noise of standard deviation `sigma` bins, as Cool-chic 3 and later use."""
    return sigma * jax.random.normal(key, shape)


def round_soft_gradient(x: jax.Array, temperature: jax.Array) -> jax.Array:
    """Rounds (half to even); the gradient is that of `soft_round` (C3, Eqs. 16 to 18)."""
    soft = soft_round(x, temperature)
    return soft + jax.lax.stop_gradient(jnp.round(x) - soft)


def round_linear_gradient(x: jax.Array, gradient_scale: float) -> jax.Array:
    """Rounds; the gradient passes straight through, scaled (Cool-chic v2: by 0.01)."""
    linear = gradient_scale * x
    return linear + jax.lax.stop_gradient(jnp.round(x) - linear)


def round_straight_through(x: jax.Array) -> jax.Array:
    """Rounds (half to even); the gradient passes as if it did not."""
    return x + jax.lax.stop_gradient(jnp.round(x) - x)


@jax.custom_vjp
def lower_bound(x: jax.Array, bound: float) -> jax.Array:
    """max(x, bound), whose gradient also passes below the bound where it would increase x."""
    return jnp.maximum(x, bound)


lower_bound.defvjp(
    lambda x, bound: (jnp.maximum(x, bound), (x, bound)),
    lambda kept, g: (jnp.where((kept[0] >= kept[1]) | (g < 0), g, 0.0), None),
)
