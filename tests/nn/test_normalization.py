"""GDN and GSDN: equations 5 and 6, and the bounds of their parameters."""

import jax
import jax.numpy as jnp
import numpy as np

from overfit.nn import normalization, quantizers

RAW = {
    "beta": np.array([1.0, 0.5], np.float32),
    "gamma": np.array([[0.4, 0.1], [0.2, 0.3]], np.float32),
    "nu": np.array([0.3, 0.2], np.float32),
    "tau": np.array([[0.5, 0.1], [0.0, 0.2]], np.float32),
}
X = np.array([[1.0, -2.0, 0.3], [0.5, 0.0, -1.0]], np.float32)


def by_hand(x, inverse, subtract):
    """The sums of equations 5 and 6, term by term."""
    out = np.zeros_like(x)
    for i in range(2):
        norm = np.sqrt(
            RAW["beta"][i] ** 2 + sum(RAW["gamma"][i, j] ** 2 * x[j] ** 2 for j in (0, 1))
        )
        mean = RAW["nu"][i] ** 2 + sum(RAW["tau"][i, j] ** 2 * x[j] for j in (0, 1))
        mean = mean if subtract else 0
        out[i] = x[i] * norm + mean if inverse else (x[i] - mean) / norm
    return out


def test_equations():
    gdn = {name: RAW[name] for name in ("beta", "gamma")}
    for p, subtract in ((RAW, True), (gdn, False)):
        for function, inverse in (
            (normalization.normalize, False),
            (normalization.denormalize, True),
        ):
            expected = by_hand(X, inverse, subtract)
            np.testing.assert_allclose(function(p, X), expected, atol=1e-5)
            both = function(jax.tree.map(jnp.asarray, p), jnp.asarray(X))
            np.testing.assert_allclose(both, expected, atol=1e-5)


def test_parameters_are_never_negative():
    raw = np.array([-3.0, 0.0, 1e-9, 2.0], np.float32)
    low = normalization.effective(raw, normalization.VECTOR_BOUND)
    assert (low[:3] >= 0.99e-6).all() and abs(low[3] - 4) < 1e-5
    assert normalization.effective(raw, normalization.MATRIX_BOUND).min() >= 0


def test_the_gradient_leads_back_above_the_bound():
    x = jnp.asarray([-1.0, 2.0])
    up = jax.grad(lambda x: -jnp.sum(quantizers.lower_bound(x, 0.5)))(x)
    down = jax.grad(lambda x: jnp.sum(quantizers.lower_bound(x, 0.5)))(x)
    assert up.tolist() == [-1.0, -1.0] and down.tolist() == [0.0, 1.0]
