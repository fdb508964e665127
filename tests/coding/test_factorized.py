"""Factorized priors: a density that learns any shape, and the integer tables made of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from overfit.coding import factorized as tables
from overfit.coding import laplace
from overfit.nn import factorized

CHANNELS = 3


@pytest.fixture(scope="module")
def samples():
    """Two modes, one far from zero, and a constant."""
    rng = np.random.default_rng(0)
    modes = np.where(rng.random(600) < 0.4, rng.normal(-6, 1, 600), rng.normal(5, 2, 600))
    return np.rint(np.stack([modes, rng.normal(40, 3, 600), np.zeros(600)]))


@pytest.fixture(scope="module")
def trained(samples):
    """A few hundred steps of Adam."""
    p = jax.tree.map(jnp.asarray, factorized.initial(np.random.default_rng(1), CHANNELS))
    x = jnp.asarray(samples, jnp.float32)

    @jax.jit
    def run(p):
        def step(i, carry):
            p, m, v = carry
            g = jax.grad(lambda p: jnp.mean(factorized.bits(p, x)))(p)
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
            v = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g * g, v, g)
            p = jax.tree.map(lambda p, m, v: p - 0.03 * m / (jnp.sqrt(v) + 1e-8), p, m, v)
            return p, m, v

        zeros = jax.tree.map(jnp.zeros_like, p)
        return jax.lax.fori_loop(0, 800, step, (p, zeros, zeros))[0]

    return jax.tree.map(np.asarray, run(p))


def frozen(p):
    exact = {name: array.astype(np.float64) for name, array in p.items()}
    made = tables.freeze(lambda x: factorized.masses(exact, x), CHANNELS)
    return {name: array.astype(np.int64) for name, array in made.items()}


def test_masses_add_up():
    p = factorized.initial(np.random.default_rng(0), CHANNELS)
    x = np.broadcast_to(np.arange(-2000, 2001).astype(np.float32), (CHANNELS, 4001))
    assert factorized.masses(p, x).sum(axis=1) == pytest.approx(1, abs=1e-3)
    assert (np.diff(factorized.logits(p, x)) >= 0).all()


def test_it_learns_the_shape_and_the_table_has_it(trained, samples):
    """Within 4 % of the entropy of the samples, as bits of a file."""
    entropy = 0.0
    for row in samples:
        _, counts = np.unique(row, return_counts=True)
        entropy -= (counts * np.log2(counts / counts.sum())).sum()
    table = frozen(trained)
    encoder = laplace.Encoder()
    values = samples.astype(np.int64)
    tables.code(encoder, values, table["center"], table["frequencies"], 600)
    data = encoder.finish()
    assert 8 * len(data) < 1.04 * entropy + 64
    decoder = laplace.Decoder(data)
    read = tables.code(decoder, None, table["center"], table["frequencies"], 600)
    assert np.array_equal(read, values)
    assert abs(table["center"][1] - 40) <= 1


def test_values_beyond_the_table_are_escaped(trained):
    table = frozen(trained)
    values = np.array([[-500, 4], [40, 10_000], [0, -31]])
    encoder = laplace.Encoder()
    tables.code(encoder, values, table["center"], table["frequencies"], 2)
    decoder = laplace.Decoder(encoder.finish())
    assert np.array_equal(
        tables.code(decoder, None, table["center"], table["frequencies"], 2), values
    )
