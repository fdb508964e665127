"""What a training teaches, and what it leaves alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_stat_ssf import config

from overfit.errors import UserError
from overfit.methods.stat_ssf import model
from overfit.settings import override


def learned(small):
    """The networks that one step of a training changes."""
    networks = jax.tree.map(jnp.asarray, model.init(np.random.default_rng(0), small))
    frames = jnp.asarray(np.random.default_rng(1).uniform(size=(3, 3, 64, 64)), jnp.float32)
    gradient = jax.grad(model.training_loss, has_aux=True)
    found, aux = jax.jit(lambda n: gradient(n, frames, jax.random.key(0), 0.0, small))(networks)
    assert np.isfinite(float(aux.distortion)) and float(aux.bits) > 0
    return {
        network
        for network, arrays in found.items()
        if any(np.any(np.asarray(a)) for a in arrays.values())
    }


def test_motion_learns_alone_first():
    networks = learned(override(config("dvc"), {"training.learning": "motion"}))
    parts = ("analysis", "synthesis", "gains", "hyper_analysis", "hyper_synthesis", "hyper_latents")
    assert networks == {f"motion_{part}" for part in parts}


def test_all_networks_learn():
    assert learned(config("stat-ssf-sp")) == set(model.init(np.random.default_rng(0), config()))


def test_frames_count_as_told():
    """What a window has of intra and of other frames is weighted as the whole clip has them."""
    networks = jax.tree.map(jnp.asarray, model.init(np.random.default_rng(0), config()))
    frames = jnp.asarray(np.random.default_rng(1).uniform(size=(3, 3, 64, 64)), jnp.float32)
    measured = jax.jit(
        lambda share: model.frames_loss(networks, frames, jax.random.key(0), 0.0, config(), share)
    )
    predicted, intra, third = (np.array(measured(jnp.float32(share))) for share in (0, 1, 1 / 3))
    np.testing.assert_allclose(third, (2 * predicted + intra) / 3, rtol=1e-5)
    assert (np.abs(predicted - intra) > 1e-3 * intra).all()


def test_predictions_count_at_first():
    """The loss has their own error, with a weight that falls to nothing."""
    networks = jax.tree.map(jnp.asarray, model.init(np.random.default_rng(0), config()))
    frames = jnp.asarray(np.random.default_rng(1).uniform(size=(3, 3, 64, 64)), jnp.float32)
    losses = jax.jit(
        lambda progress, weight: model.training_loss(
            networks, frames, jax.random.key(0), progress, config_with(weight)
        )[0],
        static_argnums=1,
    )
    plain, first, middle, last = (
        float(losses(p, w)) for p, w in ((0.0, 0.0), (0.0, 2.0), (0.5, 2.0), (1.0, 2.0))
    )
    assert first > 1.01 * plain and last == pytest.approx(plain)
    assert middle - plain == pytest.approx((first - plain) / 2, rel=1e-3)


def config_with(weight):
    return override(config(), {"training.prediction": weight})


def test_what_does_not_move_cannot_learn_motion():
    with pytest.raises(UserError, match="no motion"):
        override(config("tat"), {"training.learning": "motion"})
