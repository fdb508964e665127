"""Where the masks in the frame before lie: found by a short fit before the real one (C3, A.3). JAX.

That fit sees the whole window with the networks of the real one; then each mask is put where the
weights of the first layer are largest, and the fit starts anew. As in the released code, only the
frame before is seen so widely; in its own frame a latent has its usual neighbors.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from overfit.method import Phase
from overfit.methods.c3 import model
from overfit.methods.c3.config import C3Config


def heat_maps(window: jax.Array) -> jax.Array:
    """Mean weight magnitudes, [masks, 2 r + 1, 2 r + 1], of `best_places`' window (Fig. 15)."""
    return jnp.mean(jnp.abs(window), axis=1)


def best_places(window: jax.Array, config: C3Config) -> jax.Array:
    """Places of the largest sums of mean weight magnitudes: float32 [masks, 2] (A.3, 2. and 3.).

    window [masks, width, 2 r + 1, 2 r + 1]: the first layer's weights for the whole window.
    """
    size, reach = config.entropy.mask, config.entropy.frame
    sums = lax.reduce_window(
        heat_maps(window), 0.0, lax.add, (1, size, size), (1, 1, 1), "VALID"
    )  # (masks, count, count)
    first = jnp.argmax(sums.reshape(len(sums), -1), axis=1)
    return (jnp.stack(jnp.divmod(first, sums.shape[-1]), axis=-1) - reach).astype(jnp.float32)


def first_phase(config: C3Config) -> Phase | None:
    """The fit that finds the masks' places; None where there are none, or they are centered."""
    if not config.entropy.mask or not config.start.mask_steps:
        return None

    def finish(found, params):
        return params | {"masks": best_places(found["entropy"]["window"], config)}

    return Phase(config.start.mask_steps, functools.partial(model.init, whole_window=True), finish)
