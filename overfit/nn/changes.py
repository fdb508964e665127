"""Changes of a pretrained network's parameters in a fit, and their rate.

Changes are rounded to bins of 2^-EXPONENT, straight through, and their rate under the
spike-and-slab prior of `coding.update_prior` is in the loss (van Rozendaal, Huijben and Cohen,
"Overfitting for fun and profit", ICLR 2021). They are {"network/array": float32}, in units of UNIT.
"""

import math

import jax
import jax.numpy as jnp

from overfit.nn import quantizers

# Bins of a fit's changes, and the prior of its loss: van Rozendaal's t = 0.005 and sigma = 0.05 to
# the nearest powers of two, and its alpha.
EXPONENT, SLAB, ALPHA = 8, 8.0, 1000.0
UNIT = 2.0**-6  # a step of the learning rate is so much smaller for parameters
_PER_BIN = UNIT * 2.0**EXPONENT


def none(networks: dict, chosen) -> dict[str, jax.Array]:
    """No changes, of the arrays whose path is chosen."""
    return {
        f"{network}/{name}": jnp.zeros_like(array)
        for network, arrays in networks.items()
        for name, array in arrays.items()
        if chosen(f"{network}/{name}")
    }


def applied(networks: dict, changes: dict) -> dict:
    """The networks with changes in whole bins."""
    changed = {network: dict(arrays) for network, arrays in networks.items()}
    for path, change in changes.items():
        network, name = path.split("/")
        bins = quantizers.round_straight_through(change * _PER_BIN)
        changed[network][name] = changed[network][name] + bins * 2.0**-EXPONENT
    return changed


def bits(changes: dict) -> jax.Array:
    """Rate of changes under the update prior, shape (); smooth, and exact at whole bins."""

    def gaussian(x: jax.Array, scale: float) -> jax.Array:
        near, far = ((jnp.abs(x) + side) / (scale * math.sqrt(2)) for side in (-0.5, 0.5))
        # Not erfc, which is exact far out as well, and takes a third of an adaptation's time.
        return 0.5 * (jax.lax.erf(far) - jax.lax.erf(near))

    total = jnp.zeros(())
    for change in changes.values():
        k = change * _PER_BIN
        mass = (gaussian(k, SLAB) + ALPHA * gaussian(k, 1 / 6)) / (1 + ALPHA)
        total += jnp.sum(-jnp.log2(mass + 2.0**-24))
    return total
