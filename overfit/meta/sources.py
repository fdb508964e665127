"""What a base is trained on: random parts of images or clips, as fits."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from overfit import method
from overfit.errors import UserError
from overfit.fitting.groups import Fit, Group, Options, Request, checked, configuration
from overfit.io.clip import Clip
from overfit.io.clips import as_yuv420, load_clip
from overfit.io.datasets import Instance
from overfit.meta.crops import crops, large_images
from overfit.meta.plan import Plan


class Source(NamedTuple):
    """Everything random in it follows from the plan's seed and the number of the outer step."""

    batch: Callable[[int], Group]  # the fits of an outer step
    held_out: Group | None  # fits of what no batch has
    content: list[np.ndarray]  # all data
    names: list[str]  # of the inputs


def _lmbdas(plan: Plan, step: int) -> list[float]:
    low, high = np.log(plan.lmbdas)
    return list(np.exp(np.random.default_rng((plan.seed, step, 1)).uniform(low, high, plan.batch)))


def _options(lmbdas: Sequence[float], plan: Plan, seed: int) -> list[Options]:
    return [
        Options(plan.method, plan.preset, float(lmbda), plan.steps, seed * plan.batch + i, plan.set)
        for i, lmbda in enumerate(lmbdas)
    ]


# -- Images ----------------------------------------------------------------------------------------


def image_source(instances: Sequence[Instance], plan: Plan) -> Source:
    """Random crops at random scales; the first images are held out.

    Raises:
      UserError: too few images that are large enough, or bad options.
    """
    images = large_images(instances, plan.crop)
    held_out, images = images[: plan.held_out], images[plan.held_out :]
    if not images:
        raise UserError(f"training needs more than {plan.held_out} images of {plan.crop} px")

    def group(parts: list[np.ndarray], lmbdas: Sequence[float], seed: int) -> Group:
        pairs = zip(parts, _options(lmbdas, plan, seed), strict=True)
        return Group([checked(Request(crop, options)) for crop, options in pairs])

    def batch(step: int) -> Group:
        parts = crops(images, plan.crop, plan.batch, (plan.seed, step))
        return group(parts, _lmbdas(plan, step), step)

    return Source(
        batch,
        group(
            [_center(image, plan.crop) for image in held_out],
            list(np.geomspace(*plan.lmbdas, len(held_out))),
            0,
        )
        if held_out
        else None,
        held_out + images,
        [instance.name for instance in instances],
    )


def _center(image: np.ndarray, size: int) -> np.ndarray:
    top, left = ((side - size) // 2 for side in image.shape[:2])
    return np.ascontiguousarray(image[top : top + size, left : left + size])


# -- Clips -----------------------------------------------------------------------------------------


def clip_source(instances: Sequence[Instance], plan: Plan) -> Source:
    """Random windows of random frames, coded at the quantizers that go with the lambdas.

    All have one size, plan.crop px a side, and one length: a group's, or that of the shortest clip.

    Raises:
      UserError: no clip, one that is too small, or bad options.
    """
    codec, preset, config = configuration(Options(plan.method, plan.preset, set=plan.set))
    clips = [as_yuv420(load_clip(i.path)) for i in instances if i.kind == "video"]
    if not clips:
        raise UserError(f"method {codec.name} is trained on clips, and there are none")
    if min(min(clip.height, clip.width) for clip in clips) < plan.crop:
        raise UserError(f"a clip is smaller than {plan.crop} px; choose another --crop")
    frames = min(config.group, *(clip.frames for clip in clips))

    @functools.lru_cache(maxsize=1)
    def batch(step: int) -> Group:
        rng = np.random.default_rng((plan.seed, step))
        fits = []
        for options in _options(_lmbdas(plan, step), plan, step):
            window = _window(clips[rng.integers(len(clips))], frames, plan.crop, rng)
            fits.append(_clip_fit(codec, preset, config, window, options))
        return Group(fits)

    content = [plane for clip in clips for plane in clip.planes]
    return Source(batch, None, content, [instance.name for instance in instances])


def _window(clip: Clip, frames: int, size: int, rng: np.random.Generator) -> Clip:
    start = int(rng.integers(clip.frames - frames + 1))
    top, left = (2 * int(rng.integers((n - size) // 2 + 1)) for n in (clip.height, clip.width))
    flip = -1 if rng.integers(2) else 1
    planes = []
    for plane, unit in zip(clip.planes, (1, 2, 2), strict=True):
        rows, columns = (slice(a // unit, (a + size) // unit) for a in (top, left))
        planes.append(plane[start : start + frames, rows, columns][..., ::flip])
    return Clip(tuple(np.ascontiguousarray(plane) for plane in planes), clip.fps)


def _clip_fit(codec: method.Method, preset: str, config, clip: Clip, options: Options) -> Fit:
    """The one group of a window."""
    groups = codec.groups
    assert groups is not None
    common = groups.prepare(clip, groups.qp(options.lmbda), config)
    (signal,) = groups.signals(clip, common, config)
    return Fit(codec, preset, config, signal, options, clip.frames * clip.height * clip.width)
