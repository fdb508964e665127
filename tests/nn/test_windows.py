import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from overfit.nn import windows

jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def by_lax(w, x):
    y = lax.conv_general_dilated(x[:, None], w[:, None], (1, 1), "SAME", precision="highest")
    return jnp.moveaxis(y, 1, 0)


@pytest.mark.parametrize(
    "width, shape", [(1, (1, 1, 1)), (3, (2, 7, 5)), (9, (3, 4, 11)), (65, (2, 20, 13))]
)
def test_windows_are_correlated_as_by_lax(width, shape):
    w, x, g = normal(0, 2, width, width), normal(1, *shape), normal(2, 2, *shape)

    def with_gradients(fn):
        value, pull = jax.vjp(fn, w, x)
        return value, *pull(g)

    results = [jit(functools.partial(with_gradients, fn))() for fn in (windows.correlate, by_lax)]
    for ours, expected in zip(*results, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_frames_one_by_one_or_together_for_many_instances(backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    w, x = normal(0, 3, 2, 5, 5), normal(1, 3, 4, 6, 7)
    together = jit(jax.vmap(windows.correlate))(w, x)
    for i in range(3):
        np.testing.assert_allclose(together[i], by_lax(w[i], x[i]), atol=1e-4)
