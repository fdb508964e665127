"""The two-stage schedule of a fit, as traced numbers: changing any of them compiles nothing.

Stage 1 adds noise to the latents while the learning rate follows a cosine; stage 2 rounds them
and lowers a small learning rate whenever the loss has stopped improving (C3, A.2.2 and A.2.3).
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from overfit.method import Anneal


class Schedule(NamedTuple):
    """Hyperparameters of one instance's fit. Numbers, or arrays of shape ().

    The three counts of steps are int32, all else is float32.
    """

    steps: Any = 1000  # length of stage 1
    stage2_steps: Any = 100  # at most; the paper's share is 10 %
    lr: Any = 1e-2  # at the start of stage 1
    lr_end: Any = 0.0  # fraction of lr at the end of stage 1: 0 is a cosine to zero, 1 is constant
    networks_lr: Any = 1.0  # in stage 1, of all parameters but the latents, relative to lr
    temperature_start: Any = 0.3
    temperature_end: Any = 0.1
    noise_start: Any = 2.0  # Kumaraswamy's a (2 to 1), or the standard deviation of Gaussian noise
    noise_end: Any = 1.0
    clip: Any = 0.1  # global L2 norm of the gradient
    stage2_lr: Any = 1e-4
    stage2_temperature: Any = 1e-4
    patience: Any = 20  # steps without improvement before the learning rate decays
    decay: Any = 0.8  # 1 turns the adaptive learning rate off
    min_lr: Any = 1e-8  # stage 2 ends below it


def anneal(schedule: Schedule, step) -> Anneal:
    """How latents are quantized at `step` (both stages counted through)."""
    hard = step >= schedule.steps
    progress = step / jnp.maximum(schedule.steps, 1)
    linear = jnp.minimum(step / jnp.maximum(schedule.steps - 1, 1), 1.0)
    temperature = schedule.temperature_start + linear * (
        schedule.temperature_end - schedule.temperature_start
    )
    noise = schedule.noise_start + progress * (schedule.noise_end - schedule.noise_start)
    return Anneal(jnp.where(hard, schedule.stage2_temperature, temperature), noise, hard)


def stage1_lr(schedule: Schedule, step):
    """Cosine decay from lr to lr * lr_end."""
    progress = jnp.minimum(step / jnp.maximum(schedule.steps, 1), 1.0)
    cosine = 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
    return schedule.lr * (schedule.lr_end + (1.0 - schedule.lr_end) * cosine)
