import jax
import jax.numpy as jnp
import numpy as np
import pytest

from overfit.engine.schedule import Schedule, anneal, stage1_lr


def over_steps(fn, schedule, steps):
    program = jax.jit(jax.vmap(lambda step: fn(schedule, step)))
    return program(jnp.arange(steps, dtype=jnp.int32))


def test_stage_1_anneals_from_the_first_to_the_last_step():
    schedule = Schedule(steps=5, noise_start=2.0, noise_end=1.0)
    quantization = over_steps(anneal, schedule, 5)
    np.testing.assert_allclose(quantization.temperature, [0.3, 0.25, 0.2, 0.15, 0.1], rtol=1e-6)
    np.testing.assert_allclose(quantization.noise, [2.0, 1.8, 1.6, 1.4, 1.2], rtol=1e-6)
    assert not quantization.hard.any()


def test_stage_2_rounds_at_its_own_temperature():
    quantization = over_steps(anneal, Schedule(steps=3, stage2_temperature=1e-4), 6)
    np.testing.assert_array_equal(quantization.hard, [False] * 3 + [True] * 3)
    np.testing.assert_allclose(quantization.temperature[3:], 1e-4)


def test_the_learning_rate_follows_a_cosine_to_its_share():
    lr = over_steps(stage1_lr, Schedule(steps=4, lr=1.0, lr_end=0.2), 6)
    cosine = 0.5 * (1 + np.cos(np.pi * np.asarray([0, 1, 2, 3, 4, 4]) / 4))
    np.testing.assert_allclose(lr, 0.2 + 0.8 * cosine, rtol=1e-6)
    np.testing.assert_allclose(over_steps(stage1_lr, Schedule(lr=0.5, lr_end=1.0), 3), 0.5)


@pytest.mark.parametrize("steps", [0, 1])
def test_shortest_stages_are_finite(steps):
    schedule = Schedule(steps=steps)
    quantization = over_steps(anneal, schedule, 3)
    assert all(np.isfinite(field).all() for field in quantization)
    assert quantization.hard.tolist() == [step >= steps for step in range(3)]
    assert np.isfinite(over_steps(stage1_lr, schedule, 3)).all()
