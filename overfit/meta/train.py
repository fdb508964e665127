"""Trains a base for a method on a folder of images: REPTILE over random crops, scales and lambdas.

Everything random in an outer step follows from the seed and the number of the step, so that a run
that was stopped goes on to the same base.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from overfit import settings
from overfit.bases.base import Base, Start
from overfit.coding.parameters import Prior, quantize
from overfit.engine import fit
from overfit.errors import UserError
from overfit.fitting import checkpoint
from overfit.fitting.groups import Group, Options, Request, architecture, checked, start
from overfit.io.datasets import Instance
from overfit.meta.crops import crops, large_images
from overfit.meta.reptile import Learned, outer_step

CENTER_BITS = 12  # fractional bits of a base's arrays
SCALE_AT_FIRST = 1.0  # of changes, before any has been seen: next to no rate
EVERY = 10  # outer steps between checkpoints, and between looks at the held-out crops


class Plan(NamedTuple):
    """How a base is trained; the names are those of the command line."""

    method: str = "c3"
    preset: str | None = None
    set: dict[str, Any] = {}
    outer_steps: int = 150
    batch: int = 8  # fits of an outer step
    steps: int = 250  # of stage 1 of each fit
    crop: int = 128  # px
    lmbdas: tuple[float, float] = (2e-4, 2e-2)  # drawn evenly on a logarithmic scale between these
    rate: tuple[float, float] = (0.7, 0.1)  # of the outer step, at the start and at the end
    memory: float = 0.9  # share of the scales that an outer step keeps
    held_out: int = 8  # crops that are not trained on
    seed: int = 0


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
    """Learns a base from images.

    saved: folder in which an interrupted run of the same plan on the same images is found.

    Raises:
      UserError: too few images that are large enough, or bad options.
    """
    images = large_images(instances, plan.crop)
    held_out, images = images[: plan.held_out], images[plan.held_out :]
    if not images:
        raise UserError(f"training needs more than {plan.held_out} images of {plan.crop} px")
    learned = _first(images[0], plan)
    if saved is not None:
        saved.mkdir(parents=True, exist_ok=True)
        saved /= f"{checkpoint.job_key(plan, *images, *held_out)}-meta.ckpt"
        learned = checkpoint.restore(saved, learned) or learned
    curve = []
    while int(learned.step) < plan.outer_steps:
        step = int(learned.step)
        share = step / max(plan.outer_steps - 1, 1)
        rate = plan.rate[0] * (plan.rate[1] / plan.rate[0]) ** share
        group = _group(
            crops(images, plan.crop, plan.batch, (plan.seed, step)), _lmbdas(plan, step), plan, step
        )
        # The scales of the first steps are those of networks that do not know anything yet.
        memory = min(plan.memory, (step + 1) / (step + 10))
        learned, report = outer_step(
            learned, functools.partial(start, group), group.codec.loss, group.architecture,
            rate, memory,
        )  # fmt: skip
        outside = None
        if int(learned.step) % EVERY == 0 or int(learned.step) == plan.outer_steps:
            outside = _look(learned, held_out, plan)
            curve.append([int(learned.step), outside])
            if saved is not None:
                checkpoint.save(saved, learned)
        loss = float(np.mean(report.loss))
        progress(Progress(int(learned.step), plan.outer_steps, loss, outside))
    return _base(learned, plan, [instance.name for instance in instances], curve)


def _lmbdas(plan: Plan, step: int) -> list[float]:
    low, high = np.log(plan.lmbdas)
    return list(np.exp(np.random.default_rng((plan.seed, step, 1)).uniform(low, high, plan.batch)))


# -- Fits ------------------------------------------------------------------------------------------


def _group(crops: list[np.ndarray], lmbdas: Sequence[float], plan: Plan, seed: int) -> Group:
    options = [
        Options(plan.method, plan.preset, float(lmbda), plan.steps, seed * plan.batch + i, plan.set)
        for i, lmbda in enumerate(lmbdas)
    ]
    requests = [Request(crop, one) for crop, one in zip(crops, options, strict=True)]
    return Group([checked(request) for request in requests])


def _first(image: np.ndarray, plan: Plan) -> Learned:
    """Random networks, and scales that stand for no rate."""
    group = _group([image[: plan.crop, : plan.crop]], [1e-3], plan, 0)
    states, _ = start(group)
    networks = {
        name: jax.tree.map(lambda array: array[0], arrays)
        for name, arrays in states.params.items()
        if name != "latents"
    }
    scales = jax.tree.map(lambda array: jnp.full((), SCALE_AT_FIRST), networks)
    return Learned(Start(networks, scales), jnp.zeros((), jnp.int32))


def _look(learned: Learned, held_out: list[np.ndarray], plan: Plan) -> float | None:
    """Mean loss of fits from where the learning is, on central parts of what it has not seen."""
    if not held_out:
        return None
    crops = []
    for image in held_out:
        top, left = ((side - plan.crop) // 2 for side in image.shape[:2])
        crops.append(np.ascontiguousarray(image[top : top + plan.crop, left : left + plan.crop]))
    lmbdas = np.geomspace(*plan.lmbdas, len(crops))
    group = _group(crops, list(lmbdas), plan, 0)
    states, tasks = fit.spread(*start(group, learned.start))
    steps = tasks.schedule.steps + tasks.schedule.stage2_steps
    states = fit.advance(states, tasks, steps, group.codec.loss, group.architecture)
    return float(np.mean(np.asarray(states.best_loss)))


# -- The result ------------------------------------------------------------------------------------


def _base(learned: Learned, plan: Plan, names: list[str], curve: list) -> Base:
    group = _group([np.zeros((plan.crop, plan.crop, 3), np.uint8)], [1e-3], plan, 0)
    one = group.fits[0]
    known = {
        path: value
        for path, value in settings.paths(architecture(one.config)).items()
        if not path.startswith("fit.")
    }
    networks, scales = jax.tree.map(np.asarray, learned.start)
    arrays = {
        f"{network}/{name}": Prior(
            quantize(array, CENTER_BITS).absolute(),
            round(4 * (np.log2(scales[network][name]) + 16)),
        )
        for network, arrays in networks.items()
        for name, array in arrays.items()
    }
    card = {
        "trained_on": names,
        "plan": plan._asdict(),
        "held_out_curve": curve,
    }
    return Base(one.codec.name, known, arrays, card)
