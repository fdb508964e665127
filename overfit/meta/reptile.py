"""REPTILE: networks from which a short fit goes far, learned from many short fits.

An outer step fits a batch of instances from the current networks and moves these toward the mean of
what comes out. The fits are the engine's own program with the rate of the networks' changes in
their loss, so that what is learned is a start for exactly the fit that it will be used in. Beside
the networks it learns how far, per array, fits go from them: the scales of that rate.

Source: Nichol, Achiam and Schulman, "On First-Order Meta-Learning Algorithms", arXiv 1803.02999,
section 2, in its batched version; Klopp et al. start their upsampler from it (section 3.4).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from overfit.bases.base import Start
from overfit.engine import fit

# Scales below would hold parameters where they are: a step of a file's integers is about as long.
LEAST_SCALE = 2.0**-7


class Learned(NamedTuple):
    """Where the learning is: enough to continue it."""

    start: Start  # networks, and the scales of changes
    step: Any  # shape=(), int32; outer


def outer_step(
    learned: Learned,
    batch: Callable[[Start], tuple[fit.FitState, fit.Task]],
    networks_of: Callable,
    loss_fn: Callable,
    config,
    rate: float,
    memory: float,
) -> tuple[Learned, fit.Report]:
    """One step toward the networks that a batch of fits ends with.

    batch: states and tasks of fits that start from given networks.
    networks_of(params, signals) -> the networks of a batch, as they are averaged.
    rate: how much of the way, in (0, 1]. memory: share of the old scales that is kept.

    Returns the new state, and where the fits ended.
    """
    networks, scales = learned.start
    states, tasks = fit.spread(*batch(learned.start))
    steps = tasks.schedule.steps + tasks.schedule.stage2_steps
    states = fit.advance(states, tasks, steps, loss_fn, config)
    # On the host: means over instances that several devices share would be collectives outside of
    # programs.
    fitted = networks_of(*jax.device_get((states.best_params, tasks.signal)))
    changes = jax.tree.map(lambda new, old: new - old[None], fitted, networks)
    moved = jax.tree.map(lambda old, change: old + rate * change.mean(axis=0), networks, changes)
    # The maximum-likelihood scale of a Laplace distribution.
    seen = jax.tree.map(
        lambda old, change: jnp.maximum(
            memory * old + (1 - memory) * jnp.abs(change).mean(), LEAST_SCALE
        ),
        scales,
        changes,
    )
    return Learned(Start(moved, seen), learned.step + 1), fit.report(states, tasks)
