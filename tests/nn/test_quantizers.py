import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from overfit.nn import quantizers

X = jnp.linspace(-3.2, 3.2, 128)  # half-integers are not among them
TEMPERATURES = (0.1, 0.3, 1.0)


def test_soft_rounding_tends_to_rounding_and_to_the_identity():
    np.testing.assert_allclose(quantizers.soft_round(X, 1e-4), jnp.round(X), atol=1e-5)
    np.testing.assert_allclose(quantizers.soft_round(X, 100.0), X, atol=1e-4)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_soft_rounding_keeps_integers_and_order(temperature):
    integers = jnp.arange(-3.0, 4.0)
    np.testing.assert_allclose(quantizers.soft_round(integers, temperature), integers, atol=1e-6)
    assert (jnp.diff(quantizers.soft_round(X, temperature)) > 0).all()


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_conditional_mean_inverts_soft_rounding(temperature):
    # Given y = s(x) + u, x lies between s^-1(y - 1/2) and that plus one: its mean is in the middle.
    x = jnp.linspace(-1.9, 1.9, 64)
    y = quantizers.soft_round(x, temperature) + 0.5
    mean = quantizers.soft_round_conditional_mean(y, temperature)
    np.testing.assert_allclose(mean - 0.5, x, atol=2e-2 if temperature < 0.2 else 1e-3)
    np.testing.assert_allclose(quantizers.soft_round(mean - 0.5, temperature), y - 0.5, atol=2e-5)


@pytest.mark.parametrize("temperature", (1e-4, *TEMPERATURES))
def test_stage_1_stays_finite_at_every_temperature(temperature):
    def noisy(x, u):
        y = quantizers.soft_round(x, temperature) + u
        return quantizers.soft_round_conditional_mean(y, temperature)

    x, u = jnp.meshgrid(jnp.linspace(-2, 2, 81), jnp.linspace(-0.5, 0.5, 41))
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(noisy)))(x.reshape(-1), u.reshape(-1))
    assert jnp.isfinite(value).all() and jnp.isfinite(slope).all()


def samples(a, n=40_000):
    return np.asarray(quantizers.kumaraswamy_noise(jax.random.key(0), (n,), a), np.float64)


def test_kumaraswamy_noise_with_a_1_is_uniform():
    noise = samples(1.0)
    assert scipy.stats.kstest(noise, scipy.stats.uniform(-0.5, 1).cdf).pvalue > 0.01


@pytest.mark.parametrize("a", [1.3, 2.0])
def test_kumaraswamy_noise_is_what_it_says_with_its_mode_at_zero(a):
    x = np.linspace(0, 1, 2001)[1:-1]

    def density(b):
        return a * b * x ** (a - 1) * (1 - x**a) ** (b - 1)

    # The b whose mode is in the middle, found without the closed form.
    b = min(np.linspace(1, 5, 4001), key=lambda b: abs(x[density(b).argmax()] - 0.5))
    noise = samples(a) + 0.5
    assert noise.min() > 0 and noise.max() < 1
    assert (
        np.abs(np.mean(noise[:, None] <= x[::100], axis=0) - 1 + (1 - x[::100] ** a) ** b).max()
        < 0.01
    )


def test_gaussian_noise_has_the_given_deviation():
    noise = quantizers.gaussian_noise(jax.random.key(0), (40_000,), 0.3)
    assert scipy.stats.kstest(np.asarray(noise), scipy.stats.norm(0, 0.3).cdf).pvalue > 0.01


def slopes(fn, x):
    return jax.jit(jax.vmap(jax.grad(fn)))(x)


def test_stage_2_rounds_and_its_gradient_is_that_of_the_soft_rounding():
    def hard(x):
        return quantizers.round_soft_gradient(x, 0.2)

    np.testing.assert_allclose(hard(X), jnp.round(X), atol=1e-6)
    soft = slopes(lambda x: quantizers.soft_round(x, 0.2), X)
    np.testing.assert_allclose(slopes(hard, X), soft, rtol=1e-6)


def test_stage_2_with_the_temperature_of_c3_is_finite_on_and_off_the_boundaries():
    x = jnp.asarray([-1.5, -0.5, -0.4999, 0.0, 0.25, 0.5, 2.0, 1e4])
    gradient = slopes(lambda x: quantizers.round_soft_gradient(x, 1e-4), x)
    assert jnp.isfinite(gradient).all()
    assert gradient[4] == 0.0 and gradient[5] > 1e3


def test_straight_through_rounding_scales_the_gradient():
    def hard(x):
        return quantizers.round_linear_gradient(x, 0.01)

    np.testing.assert_allclose(hard(X), jnp.round(X), atol=1e-6)
    np.testing.assert_allclose(slopes(hard, X), 0.01, rtol=1e-6)
