"""The loss against the measure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from overfit.metrics.ms_ssim import ms_ssim
from overfit.nn import structural


def test_it_is_the_measure(picture):
    a = picture(180, 171)
    noise = np.random.default_rng(0).normal(0, 12, a.shape)
    b = np.clip(a + noise, 0, 255).astype(np.uint8)
    x, y = (jnp.asarray(i.transpose(2, 0, 1), jnp.float32) / 255 for i in (a, b))
    value, gradient = jax.jit(jax.value_and_grad(structural.ms_ssim))(x, y)
    assert float(value) == pytest.approx(ms_ssim(a, b), abs=1e-4)
    assert np.isfinite(np.asarray(gradient)).all() and np.asarray(gradient).any()
