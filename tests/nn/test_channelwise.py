import chex
import jax
import jax.numpy as jnp
import pytest

from overfit.nn.channelwise import channelwise


def by_lax(kernels, x):
    channels = len(kernels)
    y = jax.lax.conv_general_dilated(
        x.transpose(1, 0, 2, 3),
        kernels.reshape(channels, 1, 3, 3),
        (1, 1),
        "SAME",
        feature_group_count=channels,
        precision="highest",
    )
    return y.transpose(1, 0, 2, 3)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 2, 5, 4), (2, 3, 1, 6)])
def test_values_and_gradients_are_those_of_lax(shape):
    keys = jax.random.split(jax.random.key(0), 3)
    kernels = jax.random.normal(keys[0], (shape[0], 9))
    x, g = jax.random.normal(keys[1], shape), jax.random.normal(keys[2], shape)
    ours, pull = jax.vjp(channelwise, kernels, x)
    expected, pull_expected = jax.vjp(by_lax, kernels, x)
    chex.assert_trees_all_close(ours, expected, atol=1e-5)
    chex.assert_trees_all_close(pull(g), pull_expected(g), atol=1e-5)


def test_instances_under_vmap_are_those_alone():
    keys = jax.random.split(jax.random.key(1), 2)
    kernels = jax.random.normal(keys[0], (2, 3, 9))
    x = jax.random.normal(keys[1], (2, 3, 2, 5, 4))
    gradients = jax.grad(lambda k, x: jnp.square(channelwise(k, x)).sum(), argnums=(0, 1))
    together = jax.vmap(gradients)(kernels, x)
    alone = gradients(kernels[1], x[1])
    chex.assert_trees_all_close(jax.tree.map(lambda a: a[1], together), alone, rtol=1e-5)
