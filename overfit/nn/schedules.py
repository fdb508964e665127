"""Learning rates of a training by the number of the step; steps may be traced."""

import jax.numpy as jnp

WARM_UP = 0.02  # share of the steps in which the rate grows
LAST = 0.01  # of it, at the end of the cosine


def warm_cosine(step, steps: int):
    """Factor of the learning rate: a warm-up, then a cosine."""
    share = step / steps
    cosine = 0.5 + 0.5 * jnp.cos(jnp.pi * share)
    return jnp.minimum(1.0, (share + 1 / steps) / WARM_UP) * (LAST + (1 - LAST) * cosine)


def tenth_after(step, steps: int, share: float):
    """1, and a tenth after that share of the steps."""
    return jnp.where(step < share * steps, 1.0, 0.1)
