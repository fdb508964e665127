"""The rate of changes that a fit sees, against that of files."""

import jax.numpy as jnp
import numpy as np
import pytest

from overfit.coding import laplace, update_prior
from overfit.nn import changes


def test_the_rate_of_the_loss_is_that_of_the_file():
    bins = np.random.default_rng(0).choice([-9, -1, 0, 1, 30], 500, p=[0.02, 0.1, 0.7, 0.1, 0.08])
    moved = {"a": jnp.asarray(bins * 2.0**-2, jnp.float32)}  # 2^-6 * 2^8 bins per unit
    row = update_prior.SLABS.index(changes.SLAB) * len(update_prior.ALPHAS)
    row += update_prior.ALPHAS.index(changes.ALPHA)
    frequencies = update_prior.frequencies()[row].astype(np.float64) + 1
    exact = -np.log2(frequencies[bins + laplace.REACH] / laplace.TOTAL).sum()
    assert float(changes.bits(moved)) == pytest.approx(exact, rel=1e-2)
