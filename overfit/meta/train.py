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
from overfit.bases import library
from overfit.bases.base import ENCODER, Base, Start
from overfit.bases.base import start as start_from
from overfit.coding.parameters import Prior, quantize
from overfit.engine import fit
from overfit.errors import UserError
from overfit.fitting import checkpoint
from overfit.fitting.groups import Group, start, started
from overfit.io.datasets import Instance
from overfit.meta.plan import Plan
from overfit.meta.reptile import Learned, outer_step
from overfit.meta.sources import Source, source_of

CENTER_BITS = 12  # fractional bits of a base's arrays
NO_RATE = 2.0**10  # a scale so wide that changes of any sensible size cost nothing
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
    """Learns a base from images, or from clips for a method that fits these.

    saved: folder in which an interrupted run of the same plan on the same data is found.

    Raises:
      UserError: too little data that is large enough, or bad options.
    """
    source = source_of(instances, plan)
    learned = _first(source.batch(0), plan)
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
        memory = plan.memory if plan.base else min(plan.memory, (step + 1) / (step + 10))
        learned, report = outer_step(
            learned, functools.partial(start, group, _in_training(learned.start, step, plan)),
            _networks_of(group), group.codec.loss, group.architecture, rate, memory,
        )  # fmt: skip
        outside = None
        if int(learned.step) % EVERY == 0 or int(learned.step) == plan.outer_steps:
            outside = _look(_in_training(learned.start, step, plan), source.held_out)
            curve.append([int(learned.step), outside])
            if saved is not None:
                checkpoint.save(saved, learned)
        loss = float(np.mean(report.loss))
        progress(Progress(int(learned.step), plan.outer_steps, loss, outside))
    encoder = _encoder(learned.start, source, plan)
    learned = learned._replace(start=learned.start._replace(encoder=encoder))
    return _base(learned, plan, source, curve)


# -- Fits ------------------------------------------------------------------------------------------


def _networks_of(group: Group) -> Callable:
    """(params, signals) of a batch -> its networks, as they are averaged."""
    learned, config = group.codec.learned, group.architecture
    if learned is None:
        # Beside networks there are the latents, and places that a fit finds.
        return lambda params, signals: {n: p for n, p in params.items() if isinstance(p, dict)}
    return _of_fits(learned.of_fit, config)


@functools.lru_cache(maxsize=8)
def _of_fits(of_fit: Callable, config) -> Callable:
    def one(instance):
        return of_fit(*instance, config)

    return jax.jit(lambda params, signals: jax.lax.map(one, (params, signals)))


def _first(group: Group, plan: Plan) -> Learned:
    """Those of a base, or random networks and scales that stand for no rate."""
    if plan.base is not None:
        if group.codec.learned is not None:
            raise UserError(f"method {group.codec.name} cannot go on from a base; leave --base out")
        known = started(group.fits[0], library.find(plan.base)).base
        assert known is not None
        return Learned(start_from(known), jnp.zeros((), jnp.int32))
    states, tasks = start(group)
    networks = jax.tree.map(
        lambda array: array[0], _networks_of(group)(states.params, tasks.signal)
    )
    scales = jax.tree.map(lambda array: jnp.full((), NO_RATE), networks)
    return Learned(Start(networks, scales), jnp.zeros((), jnp.int32))


def _in_training(learned: Start, step: int, plan: Plan) -> Start:
    """What the fits of an outer step start from.

    Networks that know little yet have far to go: a rate on their way would hold them where they
    are, and with them the base, which moves as far as its fits.
    """
    free = step < plan.free * plan.outer_steps
    scales = jax.tree.map(lambda s: s * 0 + NO_RATE if free else s * plan.wider, learned.scales)
    return learned._replace(scales=scales)


def _look(begin: Start, held_out: Group | None) -> float | None:
    """Mean loss of fits from there of what is not trained on."""
    if held_out is None:
        return None
    states, _ = _run(held_out, begin)
    return float(np.mean(np.asarray(states.best_loss)))


def _run(group: Group, begin: Start) -> tuple[fit.FitState, fit.Task]:
    """Fits from there to their end."""
    states, tasks = fit.spread(*start(group, begin))
    steps = tasks.schedule.steps + tasks.schedule.stage2_steps
    return fit.advance(states, tasks, steps, group.codec.loss, group.architecture), tasks


def _encoder(begin: Start, source: Source, plan: Plan) -> dict:
    """How latents start, where the method can learn it, by fits from the finished networks."""
    encoder = method.load(plan.method).encoder
    if encoder is None or plan.encoder_batches == 0:
        return begin.encoder
    begin, sums = _in_training(begin, plan.outer_steps, plan), None
    for step in range(plan.outer_steps, plan.outer_steps + plan.encoder_batches):
        group = source.batch(step)
        states, tasks = _run(group, begin)
        ends = jax.tree.map(np.asarray, (states.best_params, tasks.signal))
        for i in range(plan.batch):
            params, signal = jax.tree.map(lambda array, i=i: array[i], ends)
            more = jax.tree.map(np.asarray, encoder.moments(params, signal, group.architecture))
            sums = more if sums is None else jax.tree.map(np.add, sums, more)
    return encoder.solved(sums)


# -- The result ------------------------------------------------------------------------------------


def _base(learned: Learned, plan: Plan, source: Source, curve: list) -> Base:
    group = source.batch(0)
    one = group.fits[0]
    begin = learned.start
    if one.codec.learned is not None:
        begin = one.codec.learned.of_base(begin, group.architecture)
    networks, scales, encoder = jax.tree.map(np.asarray, begin)
    arrays = {
        f"{network}/{name}": Prior(
            quantize(array, CENTER_BITS).absolute(),
            round(4 * (np.log2(scales[network][name]) + 16)),
        )
        for network, arrays in networks.items()
        for name, array in arrays.items()
    }
    # Nothing is coded against these: they have no spread.
    arrays |= {
        f"{ENCODER}/{name}": Prior(quantize(array, CENTER_BITS).absolute(), 0)
        for name, array in encoder.items()
    }
    card = {
        "trained_on": source.names,
        "plan": plan._replace(preset=one.preset)._asdict(),
        "held_out_curve": curve,
    }
    if plan.base is not None:
        entry = library.find(plan.base)
        card["begun_from"] = {"identity": entry.identity} | entry.load().card
    return Base(one.codec.name, settings.paths(one.config), arrays, card, plan.lmbdas)
