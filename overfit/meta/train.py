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
from PIL import Image

from overfit import settings
from overfit.bases import library
from overfit.bases.base import ENCODER, Base, Start
from overfit.bases.base import start as start_from
from overfit.coding.parameters import Prior, quantize
from overfit.engine import fit
from overfit.errors import UserError
from overfit.fitting import checkpoint
from overfit.fitting.groups import Group, Options, Request, checked, start, started
from overfit.io.datasets import Instance
from overfit.io.images import load_image
from overfit.meta.reptile import Learned, outer_step

CENTER_BITS = 12  # fractional bits of a base's arrays
NO_RATE = 2.0**10  # a scale so wide that changes of any sensible size cost nothing
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
    free: float = 0.6  # share of the outer steps in whose fits the networks have no rate yet
    wider: float = 4.0  # a crop has so many fewer pixels to pay for networks than a whole image
    encoder_batches: int = 4  # of fits, at the end, by which latents are guessed from the image
    memory: float = 0.9  # share of the scales that an outer step keeps
    held_out: int = 8  # crops that are not trained on
    seed: int = 0
    base: str | None = None  # to go on from, instead of random networks


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
    images = _images(instances, plan.crop)
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
        group = _group(_crops(images, plan, step), _lmbdas(plan, step), plan, step)
        # The scales of the first steps are those of networks that do not know anything yet.
        memory = plan.memory if plan.base else min(plan.memory, (step + 1) / (step + 10))
        learned, report = outer_step(
            learned, functools.partial(start, group, _in_training(learned.start, step, plan)),
            group.codec.loss, group.architecture, rate, memory,
        )  # fmt: skip
        outside = None
        if int(learned.step) % EVERY == 0 or int(learned.step) == plan.outer_steps:
            outside = _look(_in_training(learned.start, step, plan), held_out, plan)
            curve.append([int(learned.step), outside])
            if saved is not None:
                checkpoint.save(saved, learned)
        loss = float(np.mean(report.loss))
        progress(Progress(int(learned.step), plan.outer_steps, loss, outside))
    encoder = _with_encoder(learned.start, images, plan).encoder
    learned = learned._replace(start=learned.start._replace(encoder=encoder))
    return _base(learned, plan, [instance.name for instance in instances], curve)


# -- Data ------------------------------------------------------------------------------------------


def _images(instances: Sequence[Instance], crop: int) -> list[np.ndarray]:
    loaded = [load_image(instance.path) for instance in instances if instance.kind == "image"]
    return [image for image in loaded if image.shape[2] == 3 and min(image.shape[:2]) >= crop]


def _crops(images: list[np.ndarray], plan: Plan, step: int) -> list[np.ndarray]:
    """Random parts of random images, each at a random scale: uint8 [crop, crop, 3]."""
    rng = np.random.default_rng((plan.seed, step))
    return [_crop(images[rng.integers(len(images))], plan.crop, rng) for _ in range(plan.batch)]


def _crop(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    # Down to where the shorter side is the crop, evenly on a logarithmic scale; flipped or not.
    scale = float((size / min(height, width)) ** rng.uniform())
    box = round(size / scale)
    top, left = (int(rng.integers(side - box + 1)) for side in (height, width))
    part = Image.fromarray(image[top : top + box, left : left + box])
    crop = np.asarray(part.resize((size, size), Image.Resampling.LANCZOS))
    return np.ascontiguousarray(crop[:, :: 1 if rng.integers(2) else -1])


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
    """Those of a base, or random networks and scales that stand for no rate."""
    group = _group([image[: plan.crop, : plan.crop]], [1e-3], plan, 0)
    if plan.base is not None:
        known = started(group.fits[0], library.find(plan.base)).base
        assert known is not None
        return Learned(start_from(known), jnp.zeros((), jnp.int32))
    states, _ = start(group)
    networks = {
        name: jax.tree.map(lambda array: array[0], arrays)
        for name, arrays in states.params.items()
        if name != "latents"
    }
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


def _look(begin: Start, held_out: list[np.ndarray], plan: Plan) -> float | None:
    """Mean loss of fits from there on central parts of images that are not trained on."""
    if not held_out:
        return None
    crops = []
    for image in held_out:
        top, left = ((side - plan.crop) // 2 for side in image.shape[:2])
        crops.append(np.ascontiguousarray(image[top : top + plan.crop, left : left + plan.crop]))
    lmbdas = np.geomspace(*plan.lmbdas, len(crops))
    group = _group(crops, list(lmbdas), plan, 0)
    states, _ = _run(group, begin)
    return float(np.mean(np.asarray(states.best_loss)))


def _run(group: Group, begin: Start) -> tuple[fit.FitState, fit.Task]:
    """Fits from there to their end."""
    states, tasks = fit.spread(*start(group, begin))
    steps = tasks.schedule.steps + tasks.schedule.stage2_steps
    return fit.advance(states, tasks, steps, group.codec.loss, group.architecture), tasks


def _with_encoder(begin: Start, images: list[np.ndarray], plan: Plan) -> Start:
    """Learns how latents start, where the method can, by fits from the finished networks."""
    begin, sums = _in_training(begin, plan.outer_steps, plan), None
    for step in range(plan.outer_steps, plan.outer_steps + plan.encoder_batches):
        group = _group(_crops(images, plan, step), _lmbdas(plan, step), plan, step)
        encoder = group.codec.encoder
        if encoder is None:
            return begin
        states, tasks = _run(group, begin)
        ends = jax.tree.map(np.asarray, (states.best_params, tasks.signal))
        for i in range(plan.batch):
            params, signal = jax.tree.map(lambda array, i=i: array[i], ends)
            more = jax.tree.map(np.asarray, encoder.moments(params, signal, group.architecture))
            sums = more if sums is None else jax.tree.map(np.add, sums, more)
    return begin if sums is None else begin._replace(encoder=encoder.solved(sums))


# -- The result ------------------------------------------------------------------------------------


def _base(learned: Learned, plan: Plan, names: list[str], curve: list) -> Base:
    group = _group([np.zeros((plan.crop, plan.crop, 3), np.uint8)], [1e-3], plan, 0)
    one = group.fits[0]
    networks, scales, encoder = jax.tree.map(np.asarray, learned.start)
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
        "trained_on": names,
        "plan": plan._asdict(),
        "held_out_curve": curve,
    }
    if plan.base is not None:
        entry = library.find(plan.base)
        card["begun_from"] = {"identity": entry.identity} | entry.load().card
    return Base(one.codec.name, settings.paths(one.config), arrays, card, plan.lmbdas)
