"""Trains a base for a method on images or clips: REPTILE over random crops and lambdas.

Everything random in an outer step follows from the seed and the number of the step, so that a run
that was stopped goes on to the same base.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from overfit import method, settings
from overfit.bases.base import Base, Start
from overfit.coding.parameters import Prior, quantize
from overfit.engine import fit
from overfit.fitting import checkpoint
from overfit.fitting.groups import Group, architecture, start
from overfit.io.datasets import Instance
from overfit.meta.crops import Source, clip_source, image_source
from overfit.meta.plan import Plan
from overfit.meta.reptile import Learned, outer_step

CENTER_BITS = 12  # fractional bits of a base's arrays
SCALE_AT_FIRST = 1.0  # of changes, before any has been seen: next to no rate
EVERY = 10  # outer steps between checkpoints, and between looks at the held-out crops


class Progress(NamedTuple):
    """Of a training run, after an outer step."""

    step: int
    total: int
    loss: float  # mean of the batch's fits
    held_out: float | None  # mean loss of the fits of crops that are not trained on


def train(
    instances: Sequence[Instance],
    plan: Plan,
    saved: Path | None = None,
    progress: Callable[[Progress], None] = lambda step: None,
) -> Base:
    """Learns a base from images, or from clips for a method that fits groups of frames.

    saved: folder in which an interrupted run of the same plan on the same data is found.

    Raises:
      UserError: too little data that is large enough, or bad options.
    """
    codec = method.load(plan.method)
    source = (image_source if codec.groups is None else clip_source)(instances, plan)
    learned = _first(source.batch(0))
    if saved is not None:
        saved.mkdir(parents=True, exist_ok=True)
        saved /= f"{checkpoint.job_key(plan, *source.content)}-meta.ckpt"
        learned = checkpoint.restore(saved, learned) or learned
    curve = []
    while int(learned.step) < plan.outer_steps:
        step = int(learned.step)
        share = step / max(plan.outer_steps - 1, 1)
        rate = plan.rate[0] * (plan.rate[1] / plan.rate[0]) ** share
        group = source.batch(step)
        # The scales of the first steps are those of networks that do not know anything yet.
        memory = min(plan.memory, (step + 1) / (step + 10))
        learned, report = outer_step(
            learned, functools.partial(start, group), _networks_of(group), group.codec.loss,
            group.architecture, rate, memory,
        )  # fmt: skip
        outside = None
        if int(learned.step) % EVERY == 0 or int(learned.step) == plan.outer_steps:
            outside = _look(learned, source.held_out)
            curve.append([int(learned.step), outside])
            if saved is not None:
                checkpoint.save(saved, learned)
        loss = float(np.mean(report.loss))
        progress(Progress(int(learned.step), plan.outer_steps, loss, outside))
    return _base(learned, plan, source, curve)


# -- Fits ------------------------------------------------------------------------------------------


def _networks_of(group: Group) -> Callable:
    """(params, signals) of a batch -> its networks, as they are averaged."""
    learned, config = group.codec.learned, group.architecture
    if learned is None:
        return lambda params, signals: {n: p for n, p in params.items() if n != "latents"}
    return _of_fits(learned.of_fit, config)


@functools.lru_cache(maxsize=8)
def _of_fits(of_fit: Callable, config) -> Callable:
    def one(instance):
        return of_fit(*instance, config)

    return jax.jit(lambda params, signals: jax.lax.map(one, (params, signals)))


def _first(group: Group) -> Learned:
    """Random networks, and scales that stand for no rate."""
    states, tasks = start(group)
    networks = jax.tree.map(
        lambda array: array[0], _networks_of(group)(states.params, tasks.signal)
    )
    scales = jax.tree.map(lambda array: jnp.full((), SCALE_AT_FIRST), networks)
    return Learned(Start(networks, scales), jnp.zeros((), jnp.int32))


def _look(learned: Learned, group: Group | None) -> float | None:
    """Mean loss of fits from where the learning is, of what it has not seen."""
    if group is None:
        return None
    states, tasks = fit.spread(*start(group, learned.start))
    steps = tasks.schedule.steps + tasks.schedule.stage2_steps
    states = fit.advance(states, tasks, steps, group.codec.loss, group.architecture)
    return float(np.mean(np.asarray(states.best_loss)))


# -- The result ------------------------------------------------------------------------------------


def _base(learned: Learned, plan: Plan, source: Source, curve: list) -> Base:
    one = source.batch(0).fits[0]
    known = {
        path: value
        for path, value in settings.paths(architecture(one.config)).items()
        if not path.startswith("fit.")
    }
    begin = learned.start
    if one.codec.learned is not None:
        begin = one.codec.learned.of_base(begin, architecture(one.config))
    networks, scales = jax.tree.map(np.asarray, begin)
    arrays = {
        f"{network}/{name}": Prior(
            quantize(array, CENTER_BITS).absolute(),
            round(4 * (np.log2(scales[network][name]) + 16)),
        )
        for network, arrays in networks.items()
        for name, array in arrays.items()
    }
    card = {
        "trained_on": source.names,
        "plan": plan._asdict(),
        "held_out_curve": curve,
    }
    return Base(one.codec.name, known, arrays, card)
