"""The engine on a toy method whose every step can be foreseen, and on a tiny C3."""

import dataclasses
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from overfit.engine import fit
from overfit.engine.schedule import Schedule
from overfit.method import Aux
from overfit.methods.c3 import model
from overfit.methods.c3.config import C3Config, Entropy, Latents, Synthesis

INTEGERS = ("steps", "stage2_steps", "patience")


class Toy(NamedTuple):
    """A signal of the toy method: where its loss is lowest and where it breaks down."""

    target: Any = 1.0
    barrier: Any = np.inf  # parameters beyond it make the loss infinite


@chex.assert_max_traces(n=2)  # one for each layout of the two devices
def toy_loss(params, base, signal, key, anneal, lmbda, config):
    """Noisy in stage 1, exact in stage 2; `config` "rising" has a gradient that leads upwards."""
    del base
    x = params["x"]  # (2,)
    noise = jnp.where(anneal.hard, 0.0, 0.01 * jax.random.normal(key, x.shape))
    distortion = jnp.sum(jnp.square(x + noise - signal.target))
    bits = jnp.sum(jnp.abs(x))
    loss = distortion + lmbda * bits
    return jnp.where((x > signal.barrier).any(), jnp.nan, loss), Aux(distortion, bits)


def rising_loss(params, base, signal, key, anneal, lmbda, config):
    """A loss whose gradient leads upwards: nothing after the first step is an improvement."""
    value = -toy_loss.__wrapped__(params, base, signal, key, anneal, lmbda, config)[0]
    return value, Aux(value, value)


def stack(*trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def instance(tree, i):
    return jax.tree.map(lambda x: np.asarray(x[i]), tree)


def as_arrays(schedule):
    return Schedule(
        *(
            jnp.asarray(value, jnp.int32 if name in INTEGERS else jnp.float32)
            for name, value in schedule._asdict().items()
        )
    )
