"""Fits a batch of instances: one compiled program that takes many steps, on any number of devices.

Everything that varies in a run is an array in the state or in the schedule, so nothing is compiled
again for another lambda, learning rate or number of steps, and every instance of a batch can have
its own. Python is entered between chunks of steps only. The program is a loop of a traced number of
steps (nothing differentiates through it, so it needs no fixed length), and instances run side by
side under `vmap` on accelerators but one after the other on CPU, where one instance's state should
stay in the cache. Several local devices share a batch, and on CPU also one instance's strips.

The state keeps the best parameters seen, in two senses. In stage 1, where the loss is noisy and
its noise changes, they are the latest with a finite loss. In stage 2 they are those of the lowest
loss, as in C3, except that C3's code stores the parameters after the update, one step off.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from overfit.engine.schedule import Schedule, anneal, stage1_lr
from overfit.nn import primitives

_ADAM = optax.scale_by_adam()
MAX_FAILURES = 20  # an instance whose loss stays non-finite is given up


class FitState(NamedTuple):
    """All of one instance's run: enough to continue it to the last bit."""

    params: Any
    moments: Any  # Adam's
    best_params: Any
    best_moments: Any
    best_loss: Any  # shape=(), float32
    stage2_lr: Any  # shape=(), float32
    lr_scale: Any  # shape=(), float32; halved at every non-finite loss
    stale: Any  # shape=(), int32; stage-2 steps since the last improvement
    step: Any  # shape=(), int32
    failures: Any  # shape=(), int32; non-finite losses met
    loss: Any  # shape=(), float32; of the latest step, likewise:
    distortion: Any  # shape=(), float32
    bits: Any  # shape=(), float32
    key: Any  # shape=(2,), uint32


class Task(NamedTuple):
    """What an instance is fitted to, beside its state."""

    base: Any  # pytree, or None
    signal: Any
    schedule: Schedule
    lmbda: Any  # shape=(), float32; MSE in [0, 1] per bit per pixel


def initial_state(params, key, schedule: Schedule) -> FitState:
    """The state at step 0 of one instance, for use under `jit`.

    Outside of it several leaves would share a buffer, which `advance` could not donate.
    """
    moments = _ADAM.init(params)
    infinity, zero = jnp.full((), jnp.inf, jnp.float32), jnp.zeros(())
    count = jnp.zeros((), jnp.int32)
    return FitState(
        params, moments, params, moments, infinity, jnp.asarray(schedule.stage2_lr, jnp.float32),
        jnp.ones(()), count, count, count, infinity, zero, zero, jax.random.key_data(key),
    )  # fmt: skip


def running(state: FitState, schedule: Schedule):
    """Whether the instance has steps left, per instance."""
    return (
        (state.step < schedule.steps + schedule.stage2_steps)
        & ((state.step < schedule.steps) | (state.stage2_lr >= schedule.min_lr))
        & (state.failures <= MAX_FAILURES)
    )


def _select(condition, new, old):
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def _step(state: FitState, task: Task, loss_fn: Callable) -> FitState:
    schedule = task.schedule
    quantization = anneal(schedule, state.step)
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    # A retry after a non-finite loss repeats neither the noise nor the step size.
    key = jax.random.fold_in(key, state.failures)
    (loss, aux), gradient = jax.value_and_grad(loss_fn, has_aux=True)(
        state.params, task.base, task.signal, key, quantization, task.lmbda
    )
    norm = optax.tree.norm(gradient)
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)

    # Best so far. The first step of stage 2 starts a new record.
    hard = quantization.hard
    best_loss = jnp.where(state.step == schedule.steps, jnp.inf, state.best_loss)
    improved = finite & (~hard | (loss < best_loss))
    best_params = _select(improved, state.params, state.best_params)
    best_moments = _select(improved, state.moments, state.best_moments)
    best_loss = jnp.where(improved, loss, best_loss)

    # Plateau rule of stage 2: decay the learning rate and go back to the best.
    stale = jnp.where(hard & ~improved, state.stale + 1, 0)
    plateau = hard & (stale >= schedule.patience) & (schedule.decay < 1.0)
    stage2_lr = jnp.where(plateau, state.stage2_lr * schedule.decay, state.stage2_lr)
    stale = jnp.where(plateau, 0, stale)

    gradient = jax.tree.map(lambda g: g * jnp.minimum(1.0, schedule.clip / norm), gradient)
    direction, moments = _ADAM.update(gradient, state.moments)
    lr = jnp.where(hard, stage2_lr, stage1_lr(schedule, state.step)) * state.lr_scale
    networks_lr = jnp.where(hard, lr, lr * schedule.networks_lr)
    params = jax.tree.map_with_path(
        lambda path, p, d: p - (lr if path[0].key == "latents" else networks_lr) * d,
        state.params,
        direction,
    )
    back = plateau | ~finite
    return state._replace(
        params=_select(back, best_params, params),
        moments=_select(back, best_moments, moments),
        best_params=best_params,
        best_moments=best_moments,
        best_loss=best_loss,
        stage2_lr=stage2_lr,
        lr_scale=jnp.where(finite, state.lr_scale, 0.5 * state.lr_scale),
        stale=stale,
        step=jnp.where(finite, state.step + 1, state.step),  # a failed step is taken again
        failures=jnp.where(finite, state.failures, state.failures + 1),
        loss=jnp.where(finite, loss, state.loss),
        distortion=jnp.where(finite, aux.distortion, state.distortion),
        bits=jnp.where(finite, aux.bits, state.bits),
    )


def _advance_one(state: FitState, task: Task, steps, loss_fn: Callable) -> FitState:
    """At most `steps` steps of one instance; fewer if its run ends before."""

    def unfinished(carry):
        taken, state = carry
        return (taken < steps) & running(state, task.schedule)

    def body(carry):
        taken, state = carry
        return taken + 1, _step(state, task, loss_fn)

    return lax.while_loop(unfinished, body, (jnp.zeros((), jnp.int32), state))[1]


class Layout(NamedTuple):
    """How many devices share the instances of a batch, and how many each instance's strips."""

    instances: int
    strips: int


# Devices that share one instance wait for each other several times per step: smaller instances
# (128x128 pixels have 22 000 latents) are better left to one.
_SHARED_SIZE = 60_000


def layout_for(states: FitState) -> Layout:
    """Local devices go to instances first; on CPU, those left over share a large one's strips."""
    instances, devices = len(states.step), jax.local_device_count()
    shared = max(d for d in range(1, devices + 1) if instances % d == 0)
    size = sum(leaf.size for leaf in jax.tree.leaves(states.params)) // instances
    share_strips = jax.default_backend() == "cpu" and size >= _SHARED_SIZE
    return Layout(shared, devices // shared if share_strips else 1)


@functools.cache
def _mesh(layout: Layout) -> jax.sharding.Mesh:
    devices = np.asarray(jax.local_devices()[: layout.instances * layout.strips])
    return jax.sharding.Mesh(devices.reshape(layout), ("instance", "strip"))


@functools.lru_cache(maxsize=32)
def _program(loss_fn: Callable, config, layout: Layout) -> Callable:
    """The compiled step loop for a batch spread over the devices of the layout."""
    loss_of_config = functools.partial(loss_fn, config=config)

    def advance(states, tasks, steps):
        def one(instance):
            state, task, count = instance
            return _advance_one(state, task, count, loss_of_config)

        # Decoders compute in float32; products of so few channels gain nothing from less.
        exact = jax.default_matmul_precision("highest")
        with exact, primitives.shared_strips("strip", layout.strips):
            if jax.default_backend() == "cpu":
                return lax.map(one, (states, tasks, steps))
            return jax.vmap(one)((states, tasks, steps))

    batch = PartitionSpec("instance")
    program = jax.shard_map(
        advance,
        mesh=_mesh(layout),
        in_specs=batch,
        out_specs=batch,
        check_vma=False,
    )
    # Named, because the sharding that JAX infers for one instance differs and compiles again.
    sharding = NamedSharding(_mesh(layout), batch)
    return jax.jit(program, donate_argnums=0, in_shardings=sharding, out_shardings=sharding)


def spread(states: FitState, tasks: Task) -> tuple[FitState, Task]:
    """Puts a batch on the devices that will share it."""
    sharding = NamedSharding(_mesh(layout_for(states)), PartitionSpec("instance"))
    return jax.device_put(states, sharding), jax.device_put(tasks, sharding)


def advance(states: FitState, tasks: Task, steps, loss_fn: Callable, config) -> FitState:
    """Takes `steps` steps with every instance of the batch (leading axis of every leaf).

    steps: a number, or one per instance; those below 1 are none.
    loss_fn: a method's `loss`; it and `config` (hashable) select the compiled program. `states` is
    donated. Instances whose run is over stay as they are.
    """
    program = _program(loss_fn, config, layout_for(states))
    return program(states, tasks, np.full(states.step.shape, steps, np.int32))


class Report(NamedTuple):
    """Where a batch stands, on the host; arrays of shape (instances,)."""

    step: np.ndarray
    loss: np.ndarray
    distortion: np.ndarray
    bits: np.ndarray
    failures: np.ndarray
    running: np.ndarray


def report(states: FitState, tasks: Task) -> Report:
    fields = (states.step, states.loss, states.distortion, states.bits, states.failures)
    return Report(*map(np.asarray, (*fields, running(states, tasks.schedule))))


def rounded_loss(states: FitState, tasks: Task, loss_fn: Callable, config) -> np.ndarray:
    """Loss of each instance's parameters with the latents rounded, as a file has them.

    shape (instances,); inf where it is not finite. It is what a step of stage 2 finds on its way,
    so one is taken with a copy, and `advance` has its program already.
    """
    always = {
        "steps": jnp.zeros_like(tasks.schedule.steps),
        "stage2_steps": jnp.full_like(tasks.schedule.stage2_steps, jnp.iinfo(jnp.int32).max),
        "min_lr": jnp.zeros_like(tasks.schedule.min_lr),
    }
    tasks = tasks._replace(schedule=tasks.schedule._replace(**always))
    before = np.array(states.step)
    copied, tasks = spread(jax.tree.map(jnp.copy, states), tasks)
    after = report(advance(copied, tasks, 1, loss_fn, config), tasks)
    return np.where(after.step > before, after.loss, np.inf)


def rewind(states: FitState, tasks: Task, fraction: float) -> FitState:
    """Goes back to `fraction` of stage 1 with the best parameters and fresh moments.

    The way to continue under another lambda: the schedule's last part is taken again.
    """
    steps = jnp.asarray(tasks.schedule.steps, jnp.float32)
    copy = functools.partial(jax.tree.map, jnp.copy)
    moments = jax.tree.map(jnp.zeros_like, states.best_moments)
    return states._replace(
        params=copy(states.best_params),
        moments=moments,
        best_moments=copy(moments),
        best_loss=jnp.full_like(states.best_loss, jnp.inf),
        stage2_lr=jnp.array(tasks.schedule.stage2_lr, jnp.float32),  # a copy: states are donated
        stale=jnp.zeros_like(states.stale),
        step=jnp.floor(fraction * steps).astype(jnp.int32),
    )
