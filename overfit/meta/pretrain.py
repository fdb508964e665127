"""Trains a codec's networks on many signals: the base that all its files start from.

Plain stochastic gradient descent of `Method.pretraining.loss` over random crops, the batch sharded
over the devices, those of other hosts too (hosts.py). Everything random in a step follows from the
seed and the number of the step, so that a run that was stopped goes on to the same base.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from overfit import method, settings
from overfit.bases.base import Base, quantized
from overfit.bases.base import start as floats_of
from overfit.errors import UserError
from overfit.fitting import checkpoint
from overfit.fitting.run import CHECKPOINT_SECONDS, Progress
from overfit.io.datasets import Instance
from overfit.meta import hosts
from overfit.meta.batches import Batches, Shape
from overfit.processes import cores

_ADAM = optax.scale_by_adam()
CURVE_POINTS = 50  # of the run, in the base's card
MOST_PROCESSES = 16  # that make batches, unless there is to be another number


class Plan(NamedTuple):
    """How a base is trained, beside what its configuration says."""

    method: str
    preset: str
    set: dict[str, Any] = {}
    seed: int = 0


class State(NamedTuple):
    """All of a run: enough to continue it to the last bit."""

    networks: Any  # float32 [n]; one vector, since a hundred arrays take long to compile
    moments: Any  # Adam's
    step: Any  # shape=(), int32
    curve: Any  # float32 [CURVE_POINTS, 3]: loss, distortion, bits per pixel; means over the steps


def pretrain(
    instances: Sequence[Instance],
    plan: Plan,
    saved: Path | None = None,
    progress: Callable[[Progress], None] = lambda step: None,
    start: Base | None = None,
    batches: Batches | None = None,
) -> Base:
    """Learns the base of a codec from images, or from clips.

    saved: folder in which an interrupted run of the same plan on the same images is found.
    start: a base whose networks are trained further; those that it lacks are new, and arrays that
        it lacks are those of a layer that does nothing yet (GSDN from GDN).
    batches: `batches_of` the instances and the plan, or of one that differs in nothing that they
        depend on, for trainings that share them; none: its own.

    Raises:
      UserError: nothing that is large or long enough, or bad options.
    """
    recipe, config = _configured(plan)
    if batches is None:
        with contextlib.closing(batches_of(instances, plan)) as batches:
            return pretrain(instances, plan, saved, progress, start, batches)
    state = _first(_networks(recipe, config, plan.seed, start))
    inherited = [] if start is None else [p.center.k for p in start.arrays.values()]
    key = checkpoint.job_key(plan, config, *batches.content, *inherited)
    hosts.agree(key)
    if not hosts.first():
        saved = None
    if saved is not None:
        saved.mkdir(parents=True, exist_ok=True)
        saved /= f"{key}-pretrain.ckpt"
        state = checkpoint.restore(saved, state) or state
    state = hosts.from_first(state)
    state = _run(recipe, config, plan.seed, batches, state, saved, progress)
    card = {
        "trained_on": [instance.name for instance in instances],
        "plan": plan._asdict() | {"set": {k: str(v) for k, v in plan.set.items()}},
        "curve": [[round(float(x), 6) for x in row] for row in np.asarray(state.curve)],
    }
    networks = _unravel(recipe, config)(state.networks)
    networks = recipe.freeze(jax.tree.map(np.asarray, networks), config)
    arrays = quantized(networks, recipe.exponent)
    return Base(plan.method, settings.lasting(config), arrays, card)


def batches_of(instances: Sequence[Instance], plan: Plan, processes: int | None = None) -> Batches:
    """What a plan trains on.

    processes: that make batches ahead; None: one for each core but one where an accelerator trains,
        none where the cores themselves are busy with it.

    Raises:
      UserError: nothing that is large or long enough, or bad options.
    """
    recipe, config = _configured(plan)
    if processes is None:
        processes = 0 if jax.default_backend() == "cpu" else min(len(cores()) - 1, MOST_PROCESSES)
    if processes < 0:
        raise UserError(f"batches cannot be made by {processes} processes (--workers)")

    def shape(step: int) -> Shape:
        return Shape(*recipe.crops(step, config))

    training = config.training
    return Batches(instances, shape, training.steps, training.batch, plan.seed, processes)


def _configured(plan: Plan) -> tuple[method.Pretraining, Any]:
    """How the plan's method is trained, and its configuration; UserError for bad options."""
    codec = method.load(plan.method)
    if codec.pretraining is None:
        raise UserError(f"method {plan.method} is not pretrained; see overfit meta-train")
    if plan.preset not in codec.presets:
        raise UserError(
            f"method {codec.name} has no preset '{plan.preset}'; "
            f"choose one of {', '.join(codec.presets)}"
        )
    return codec.pretraining, settings.override(codec.presets[plan.preset], plan.set)


class Moment(NamedTuple):
    """A step's place in the run: no part of the program, which serves runs of any length."""

    share: Any  # float32; of the run, before this step
    lr: Any  # float32
    point: Any  # int32; of the curve
    weight: Any  # float32; in the point


def _moments(recipe: method.Pretraining, config) -> Moment:
    """Of all steps: arrays [steps]."""
    steps = np.arange(config.training.steps)
    rates = jax.vmap(lambda step: jnp.asarray(recipe.lr(step, config), jnp.float32))(steps)
    return Moment(
        (steps / len(steps)).astype(np.float32),
        np.asarray(rates),
        (steps * CURVE_POINTS // len(steps)).astype(np.int32),
        np.full(len(steps), CURVE_POINTS / len(steps), np.float32),
    )


def _networks(recipe: method.Pretraining, config, seed: int, start: Base | None) -> dict:
    """Before training: {network: {array: float32}}."""
    networks = jax.tree.map(jnp.asarray, recipe.init(np.random.default_rng(seed), config))
    if start is not None:
        known = floats_of(start).networks
        for network, arrays in networks.items():
            inherited = known.get(network)
            if inherited is None or any(
                name in arrays and arrays[name].shape != array.shape
                for name, array in inherited.items()
            ):
                continue  # another kind of network: a new one
            for name, array in arrays.items():
                arrays[name] = jnp.asarray(inherited.get(name, np.zeros_like(array)))
    return networks


def _first(networks: dict) -> State:
    flat, _ = jax.flatten_util.ravel_pytree(networks)
    step = jnp.zeros((), jnp.int32)
    return State(flat, _ADAM.init(flat), step, jnp.zeros((CURVE_POINTS, 3)))


def _unravel(recipe: method.Pretraining, config) -> Callable:
    """State.networks -> {network: {array: float32}}."""
    return jax.flatten_util.ravel_pytree(recipe.init(np.random.default_rng(0), config))[1]


@functools.lru_cache(maxsize=8)
def _program(recipe: method.Pretraining, config, seed: int) -> Callable:
    """One step: (state, uint8 [batch, (frames,) size, size, 3], moment) -> (state, its figures).

    These are loss, distortion and bits per pixel.
    """
    unravel = _unravel(recipe, config)
    mesh = hosts.mesh(config.training.batch)

    def gradients(networks, batch, keys, share):
        """Means over the batch, each device's part of it first: ([loss, ..], gradient)."""
        at_once = 1 if jax.default_backend() == "cpu" else len(batch)

        def mean_loss(networks, signals, keys):
            losses, aux = jax.vmap(
                lambda signal, key: recipe.loss(networks, signal, key, share, config)
            )(signals, keys)
            bpp = jnp.mean(aux.bits) / (signals[0].size // 3)
            return jnp.mean(losses), jnp.stack([jnp.mean(losses), jnp.mean(aux.distortion), bpp])

        def add(total, part):
            signals, keys = part
            signals = jnp.moveaxis(signals, -1, -3).astype(jnp.float32) / 255
            gradient, figures = jax.grad(mean_loss, has_aux=True)(unravel(networks), signals, keys)
            # One vector: devices on CPU would wait for each other at every array.
            flat, _ = jax.flatten_util.ravel_pytree(gradient)
            return jax.tree.map(jnp.add, total, (figures, flat)), None

        # Part by part where cores do it: what one signal takes lies in their caches.
        parts = jax.tree.map(lambda x: x.reshape(-1, at_once, *x.shape[1:]), (batch, keys))
        nothing = jnp.zeros(3), jnp.zeros_like(networks)
        total, _ = jax.lax.scan(add, nothing, parts)
        return jax.lax.pmean(jax.tree.map(lambda x: x * (at_once / len(batch)), total), "batch")

    everywhere, split = PartitionSpec(), PartitionSpec("batch")
    shared = jax.shard_map(
        gradients,
        mesh=mesh,
        in_specs=(everywhere, split, split, everywhere),
        out_specs=everywhere,
        check_vma=False,
    )

    def step(state: State, batch, moment: Moment):
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        keys = jax.random.split(key, len(batch))
        figures, gradient = shared(state.networks, batch, keys, moment.share)
        norm = optax.tree.norm(gradient)
        finite = jnp.isfinite(figures[0]) & jnp.isfinite(norm)
        gradient *= jnp.minimum(1.0, config.training.clip / norm)
        direction, moments = _ADAM.update(gradient, state.moments)
        networks = state.networks - moment.lr * direction
        # A step without a finite gradient is left out.
        networks, moments = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old),
            (networks, moments),
            (state.networks, state.moments),
        )
        told = jnp.where(finite, figures, 0.0) * moment.weight
        return State(
            networks, moments, state.step + 1, state.curve.at[moment.point].add(told)
        ), figures

    same = NamedSharding(mesh, everywhere)
    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(same, NamedSharding(mesh, split), same),
        out_shardings=(same, same),
    )


def _run(
    recipe, config, seed: int, batches: Batches, state: State, saved: Path | None, tell
) -> State:
    # Runs of any length share a program.
    program = _program(recipe, settings.override(config, {"training.steps": 1}), seed)
    moments = _moments(recipe, config)
    total, batch = config.training.steps, config.training.batch
    # Where the program leaves it: a state that lies elsewhere would compile it a second time.
    mesh = hosts.mesh(batch)
    state = jax.device_put(jax.tree.map(np.array, state), NamedSharding(mesh, PartitionSpec()))
    begin = first = int(state.step)
    started = last_save = time.perf_counter()

    def data(step: int) -> Any:
        return hosts.spread(batches(step)[hosts.mine(batch)], mesh)

    following = data(first) if first < total else None
    for step in range(first, total):
        moment = jax.tree.map(lambda values, step=step: values[step], moments)
        state, figures = program(state, following, moment)
        if step + 1 < total:  # made while the step is at work
            following = data(step + 1)
        loss, distortion, bpp = (float(x) for x in np.asarray(figures))
        now = time.perf_counter()
        if step == first:  # that was the compilation
            started, begin = now, step + 1
        rate = (step + 1 - begin) / max(now - started, 1e-9)
        left = (total - step - 1) / rate if rate > 0 else float("inf")
        psnr = -10 * np.log10(max(distortion, 1e-12))
        tell(Progress(step + 1, total, loss, bpp, psnr, rate, left))
        if saved is not None and now - last_save > CHECKPOINT_SECONDS:
            checkpoint.save(saved, state)
            last_save = now
    if saved is not None and first < total:
        checkpoint.save(saved, state)
    return state
