"""What a base is trained on: random parts of images or clips, as fits."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from overfit import method
from overfit.errors import UserError
from overfit.fitting.clips import patch_fits, size_of
from overfit.fitting.groups import Fit, Group, Options, Request, checked, configuration
from overfit.io.clip import Clip
from overfit.io.clips import as_rgb, as_yuv420, load_clip
from overfit.io.datasets import Instance
from overfit.meta.crops import crops, cut, large_images, random_part
from overfit.meta.plan import Plan

_CLIPS_PER_HELD_OUT = 4


class Source(NamedTuple):
    """Everything random in it follows from the plan's seed and the number of the outer step."""

    batch: Callable[[int], Group]  # the fits of an outer step
    held_out: Group | None  # fits of what no batch has
    content: list[np.ndarray]  # all data
    names: list[str]  # of the inputs


def source_of(instances: Sequence[Instance], plan: Plan) -> Source:
    """That of the instances: images, or clips in groups of frames or in patches.

    Raises:
      UserError: too little data that is large enough, or bad options.
    """
    if method.load(plan.method).groups is not None:
        return _group_source(instances, plan)
    if any(instance.kind == "video" for instance in instances):
        return _patch_source(instances, plan)
    return _image_source(instances, plan)


def _lmbdas(plan: Plan, step: int) -> list[float]:
    low, high = np.log(plan.lmbdas)
    return list(np.exp(np.random.default_rng((plan.seed, step, 1)).uniform(low, high, plan.batch)))


def _options(lmbdas: Sequence[float], plan: Plan, seed: int) -> list[Options]:
    return [
        Options(plan.method, plan.preset, float(lmbda), plan.steps, seed * plan.batch + i, plan.set)
        for i, lmbda in enumerate(lmbdas)
    ]


# -- Images ----------------------------------------------------------------------------------------


def _image_source(instances: Sequence[Instance], plan: Plan) -> Source:
    """Random crops at random scales; the first images are held out."""
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


# -- Clips in patches ------------------------------------------------------------------------------


def _patch_source(instances: Sequence[Instance], plan: Plan) -> Source:
    """Random windows of random frames, each at a random scale; the first clips are held out.

    All have one size, plan.crop px a side, and plan.frames frames, or those of the shortest clip.
    """
    clips = [as_rgb(load_clip(i.path)) for i in instances if i.kind == "video"]
    _check_size(clips, plan.crop)
    frames = min(plan.frames, *(clip.frames for clip in clips))
    # Clips are few where images are many.
    count = min(plan.held_out, len(clips) // _CLIPS_PER_HELD_OUT)
    held_out, clips = clips[:count], clips[count:]

    def group(windows: list[Clip], lmbdas: Sequence[float], seed: int) -> Group:
        pairs = zip(windows, _options(lmbdas, plan, seed), strict=True)
        return Group([_patch_fit(window, options) for window, options in pairs])

    def batch(step: int) -> Group:
        rng = np.random.default_rng((plan.seed, step))
        windows = []
        for _ in range(plan.batch):
            clip = clips[rng.integers(len(clips))]
            start = int(rng.integers(clip.frames - frames + 1))
            part = random_part(clip.height, clip.width, plan.crop, rng)
            shown = clip.planes[0][start : start + frames]
            if rng.integers(2):
                shown = shown[::-1]
            window = np.stack([cut(frame, part, plan.crop) for frame in shown])
            windows.append(Clip((window,), clip.fps))
        return group(windows, _lmbdas(plan, step), step)

    def center(clip: Clip) -> Clip:
        shown = clip.planes[0][:frames]
        return Clip((np.stack([_center(frame, plan.crop) for frame in shown]),), clip.fps)

    lmbdas = list(np.geomspace(*plan.lmbdas, max(count, 1)))
    return Source(
        batch,
        group([center(clip) for clip in held_out], lmbdas, 0) if held_out else None,
        [clip.planes[0] for clip in held_out + clips],
        [instance.name for instance in instances],
    )


def _check_size(clips: Sequence[Clip], crop: int) -> None:
    """Raises UserError for a clip that has no room for a crop."""
    if min(min(clip.height, clip.width) for clip in clips) < crop:
        raise UserError(f"a clip is smaller than {crop} px; choose another --crop")


def _patch_fit(window: Clip, options: Options) -> Fit:
    """The one patch of a window."""
    (one,) = patch_fits(window, options._replace(patch=size_of(window)))
    return one


# -- Clips in groups of frames ---------------------------------------------------------------------


def _group_source(instances: Sequence[Instance], plan: Plan) -> Source:
    """Random windows of random frames, coded at the quantizers that go with the lambdas.

    All have one size, plan.crop px a side, and one length: a group's, or that of the shortest clip.
    """
    codec, preset, config = configuration(Options(plan.method, plan.preset, set=plan.set))
    clips = [as_yuv420(load_clip(i.path)) for i in instances if i.kind == "video"]
    if not clips:
        raise UserError(f"method {codec.name} is trained on clips, and there are none")
    _check_size(clips, plan.crop)
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
