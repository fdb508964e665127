"""What a video codec is trained on: random windows of clips, and of stills that are set in motion.

Everything random in a window follows from its seed.
"""

import collections
import os
import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from overfit.errors import UserError
from overfit.io.clips import as_rgb, frame_files, load_clip
from overfit.io.datasets import Instance
from overfit.io.images import load_image
from overfit.meta.crops import cut, large_images, random_part
from overfit.meta.motion import moving

CLIP_SHARE = 0.5  # of the windows that are from clips, where there are stills as well
KEPT = 1 << 30  # bytes of decoded clips in memory


class Decoded:
    """The clips that were used last, decoded; threads may share it."""

    def __init__(self, limit: int = KEPT):
        self._limit = limit
        self._clips: collections.OrderedDict[str, np.ndarray] = collections.OrderedDict()
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._lock = threading.Lock()

    def clip(self, path: str) -> np.ndarray:
        """uint8 [T, H, W, 3]; UserError where it cannot be read."""
        with self._lock:
            if path in self._clips:
                self._clips.move_to_end(path)
                return self._clips[path]
        (clip,) = as_rgb(load_clip(path)).planes
        with self._lock:
            self._clips[path] = clip
            self._shapes[path] = clip.shape
            while len(self._clips) > 1 and self._bytes() > self._limit:
                self._clips.popitem(last=False)
        return clip

    def _bytes(self) -> int:
        return sum(clip.nbytes for clip in self._clips.values())

    def has_room(self, path: str, size: int, frames: int) -> bool:
        """Whether a clip has a window of that size; for folders, only a header is read."""
        if path not in self._shapes:
            if os.path.isdir(path):
                files = frame_files(path)
                self._shapes[path] = (len(files), *_sides(files[0]))
            else:
                self.clip(path)
        count, *sides = self._shapes[path][:3]
        return count >= frames and min(sides) >= size


def _sides(file: str) -> tuple[int, ...]:
    """Of an image, in px, in any order."""
    try:
        with Image.open(file) as image:
            return image.size
    except Exception:  # whatever it is, load_image has a sentence for it
        return load_image(file).shape[:2]


class Footage(NamedTuple):
    images: list[np.ndarray]  # uint8 [H, W, 3] each
    clips: list[str]  # paths; those without room for a window are passed over when they are met
    clip_share: float  # of the windows
    decoded: Decoded


def load(instances: Sequence[Instance], size: int, frames: int) -> Footage:
    """The stills, in memory, and the clips, which are read when they are drawn.

    Raises:
      UserError: there is neither, or none of the stills has room for size px, or none of the clips
        for `frames` of them: a part of what is given should not be left out without a word.
    """
    images = large_images(instances, size)
    clips = [instance.path for instance in instances if instance.kind == "video"]
    decoded = Decoded()
    if clips and not any(decoded.has_room(clip, size, frames) for clip in clips):
        raise UserError(f"none of the {len(clips)} clips has {frames} frames of {size} px or more")
    if not images and len(clips) < len(instances):
        raise UserError(f"none of the images has colors and {size} px or more a side")
    if not instances:
        raise UserError("training needs clips or images, and there are none")
    share = (CLIP_SHARE if images else 1.0) if clips else 0.0
    return Footage(images, clips, share, decoded)


def windows(
    footage: Footage, size: int, frames: int, count: int, seed: tuple[int, ...]
) -> list[np.ndarray]:
    """Random windows: uint8 [frames, size, size, 3] each, RGB.

    Window i follows from (*seed, i), so that a part of them is what it would be among all.

    size, frames: those that it was loaded for.

    Raises:
      UserError: a clip cannot be read.
    """
    return [_window(footage, size, frames, np.random.default_rng((*seed, i))) for i in range(count)]


def _window(footage: Footage, size: int, frames: int, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < footage.clip_share:
        return _of_clip(footage, size, frames, rng)
    image = footage.images[int(rng.integers(len(footage.images)))]
    window = moving(image, frames, size, rng, footage.images)
    return np.ascontiguousarray(window[:, :, :: 1 if rng.integers(2) else -1])


def _of_clip(footage: Footage, size: int, frames: int, rng: np.random.Generator) -> np.ndarray:
    first = int(rng.integers(len(footage.clips)))
    in_turn = (footage.clips[first - i] for i in range(len(footage.clips)))
    path = next(clip for clip in in_turn if footage.decoded.has_room(clip, size, frames))
    clip = footage.decoded.clip(path)
    start = int(rng.integers(len(clip) - frames + 1))
    height, width = clip.shape[1:3]
    part = random_part(height, width, size, rng)
    window = np.stack([cut(frame, part, size) for frame in clip[start : start + frames]])
    return window[:: 1 if rng.integers(2) else -1].copy()
