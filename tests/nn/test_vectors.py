import jax
import jax.numpy as jnp
import numpy as np
import pytest

from overfit.nn import vectors

SHAPES = ((2, 3), (), (4,), (1, 2, 2))


@pytest.mark.parametrize("library", [np, jnp])
def test_parts_come_one_after_the_other(library):
    parts = vectors.split(library.arange(15), SHAPES)
    assert tuple(part.shape for part in parts) == SHAPES
    assert np.array_equal(np.concatenate([np.ravel(part) for part in parts]), np.arange(15))
    assert isinstance(parts[0], np.ndarray) == (library is np)


def test_the_gradient_is_that_of_the_vector():
    def loss(vector):
        a, b, c, _ = vectors.split(vector, SHAPES)
        return jnp.sum(a**2) + 5 * b + jnp.sum(jnp.sin(c))

    x = jnp.linspace(-1, 1, 15)
    expected = np.concatenate([2 * x[:6], [5], np.cos(x[7:11]), np.zeros(4)])
    np.testing.assert_allclose(jax.grad(loss)(x), expected, rtol=1e-6)
    both = jax.vmap(jax.grad(loss))(jnp.stack([x, x]))
    np.testing.assert_allclose(both[1], expected, rtol=1e-6)


@pytest.mark.parametrize("size", [14, 16])
def test_the_parts_are_all_of_it(size):
    with pytest.raises(ValueError, match=str(size)):
        vectors.split(np.zeros(size), SHAPES)
