import functools

import chex
import jax
import numpy as np
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


@functools.partial(jax.jit, static_argnums=0)
def with_gradients(convolve, kernels, x, g):
    y, pull = jax.vjp(convolve, kernels, x)
    return y, pull(g)


def random_arrays(*shape):
    rng = np.random.default_rng(0)
    sizes = ((*shape[:-4], shape[-4], 9), shape, shape)
    return [rng.normal(size=size).astype(np.float32) for size in sizes]


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 2, 5, 4)])
def test_values_and_gradients_are_those_of_lax(shape):
    arrays = random_arrays(*shape)
    ours, expected = (with_gradients(convolve, *arrays) for convolve in (channelwise, by_lax))
    chex.assert_trees_all_close(ours, expected, atol=1e-5)


def test_instances_under_vmap_are_those_alone():
    arrays = random_arrays(2, 3, 2, 5, 4)
    together = with_gradients(jax.vmap(channelwise), *arrays)
    alone = with_gradients(channelwise, *(array[1] for array in arrays))
    chex.assert_trees_all_close(jax.tree.map(lambda a: a[1], together), alone, rtol=1e-5, atol=1e-6)
