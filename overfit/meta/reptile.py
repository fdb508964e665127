"""REPTILE: networks from which a short fit goes far, learned from many short fits.

An outer step fits a batch of instances from the current networks and moves these toward the mean of
what came out. The fits are the engine's own program, so that what is learned is a start for exactly
the fit that it will be used in.

Source: Nichol, Achiam and Schulman, "On First-Order Meta-Learning Algorithms", arXiv 1803.02999,
section 2 (batched version); Klopp et al., arXiv 2104.xxxx, use it for in-loop networks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from overfit.engine import fit
from overfit.engine.schedule import Schedule


class Learned(NamedTuple):
    """Where the learning is: enough to continue it."""

    networks: Any  # pytree of float32: what instances start from
    spreads: Any  # like networks, an array each, shape=(): mean |change| of the fits so far
    step: Any  # shape=(), int32; outer


def outer_step(
    learned: Learned,
    start: Callable[[Any], tuple[fit.FitState, fit.Task]],
    loss_fn: Callable,
    config,
    steps: int,
    rate: float,
    memory: float = 0.9,
) -> tuple[Learned, fit.FitState]:
    """One step toward the networks that a batch of fits ends with.

    start: the states and tasks of a batch from given networks; every params has these under the
        keys of `networks`, beside its latents.
    rate: of the move, in (0, 1]. memory: share of the old spreads that is kept.

    Returns the new state and the states of the fits.
    """
    states, tasks = fit.spread(*start(learned.networks))
    states = fit.advance(states, tasks, steps, loss_fn, config)
    fitted = {name: states.best_params[name] for name in learned.networks}
    changes = jax.tree.map(lambda new, old: new - old, fitted, learned.networks)
    networks = jax.tree.map(
        lambda old, change: old + rate * jnp.mean(change, axis=0), learned.networks, changes
    )
    spreads = jax.tree.map(
        lambda old, change: memory * old + (1 - memory) * jnp.mean(jnp.abs(change)),
        learned.spreads,
        changes,
    )
    return Learned(networks, spreads, learned.step + 1), states
