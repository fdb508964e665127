import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from overfit.nn.distributions import MAX_BITS, change_bits, laplace_bits


def bits_by_scipy(x, loc, scale):
    """From the tail on the side of x, where nothing cancels; capped."""
    x, loc = -np.abs(x - loc), 0.0
    mass = scipy.stats.laplace.cdf(x + 0.5, loc, scale) - scipy.stats.laplace.cdf(
        x - 0.5, loc, scale
    )
    return -np.log2(np.maximum(mass, 2.0**-MAX_BITS))


@pytest.mark.parametrize("scale", [0.05, 0.4, 1.0, 7.0, 300.0])
def test_bits_are_those_of_the_laplace_mass(scale):
    x = np.arange(-40.0, 41.0)
    for loc in (0.0, 0.3, -0.5, 11.75):
        expected = bits_by_scipy(x, loc, scale)
        ours = jax.jit(laplace_bits)(jnp.asarray(x, jnp.float32), loc, scale)
        np.testing.assert_allclose(ours, expected, atol=1e-3)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_masses_of_all_integers_sum_to_one(scale):
    x = jnp.arange(-120.0, 121.0)
    bits = jax.jit(laplace_bits)(x, 0.37, scale)
    mass = jnp.where(bits < MAX_BITS, jnp.exp2(-bits), 0.0)
    assert float(mass.sum()) == pytest.approx(1.0, abs=1e-3)


def test_an_outlier_costs_the_cap_and_pulls_at_nothing():
    outlier = jnp.asarray([50.0, 1e6, -1e6])
    np.testing.assert_array_equal(laplace_bits(outlier, 0.0, 0.5), MAX_BITS)
    gradient = jax.jit(jax.vmap(jax.grad(laplace_bits)))(outlier, jnp.zeros(3), jnp.full(3, 0.5))
    np.testing.assert_array_equal(gradient, 0.0)


def test_a_certain_symbol_is_free_and_no_gradient_is_ever_infinite():
    assert float(laplace_bits(jnp.asarray(2.0), 2.0, 1e-3)) == 0.0
    x, scale = jnp.meshgrid(
        jnp.asarray([0.0, 0.25, 0.5, 0.75, 1.0, 30.0]), jnp.geomspace(1e-3, 375, 20)
    )
    gradients = jax.jit(jax.vmap(jax.grad(laplace_bits, argnums=(0, 1, 2))))(
        x.reshape(-1), jnp.zeros(x.size), scale.reshape(-1)
    )
    assert all(jnp.isfinite(g).all() for g in gradients)


def test_no_change_is_free_and_pulls_at_nothing():
    change, pull = jax.value_and_grad(change_bits)(jnp.zeros(5), jnp.asarray(0.1))
    assert float(change) == 0.0
    np.testing.assert_array_equal(pull, 0.0)


def test_changes_cost_a_bit_more_each_when_they_are_twice_as_far():
    far = jnp.asarray([3.0, -5.0, 4.0, 4.0])
    once, twice = (float(change_bits(x, jnp.asarray(1e-3))) for x in (far, 2 * far))
    assert twice - once == pytest.approx(4.0, abs=0.01)
    wide, narrow = (float(change_bits(far, jnp.asarray(scale))) for scale in (1.0, 0.1))
    assert 0 < wide < narrow
