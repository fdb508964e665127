"""What is trained on: random parts of images, each at a random scale."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from overfit.io.datasets import Instance
from overfit.io.images import load_image


def large_images(instances: Sequence[Instance], crop: int) -> list[np.ndarray]:
    """The color images among them that have room for a crop: uint8 [H, W, 3] each."""
    loaded = [load_image(instance.path) for instance in instances if instance.kind == "image"]
    return [image for image in loaded if image.shape[2] == 3 and min(image.shape[:2]) >= crop]


def crops(
    images: list[np.ndarray], size: int, count: int, seed: tuple[int, ...]
) -> list[np.ndarray]:
    """Random parts of random images: uint8 [size, size, 3]; they follow from the seed."""
    rng = np.random.default_rng(seed)
    return [_crop(images[rng.integers(len(images))], size, rng) for _ in range(count)]


def _crop(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    return cut(image, random_part(height, width, size, rng), size)


class Part(NamedTuple):
    """A square of an image."""

    top: int
    left: int
    side: int
    flip: int  # 1, or -1: seen in a mirror


def random_part(height: int, width: int, size: int, rng: np.random.Generator) -> Part:
    """Of an image of that height and width, for a crop of size px."""
    # Down to where the shorter side is the crop, evenly on a logarithmic scale; flipped or not.
    scale = float((size / min(height, width)) ** rng.uniform())
    side = round(size / scale)
    top, left = (int(rng.integers(whole - side + 1)) for whole in (height, width))
    return Part(top, left, side, 1 if rng.integers(2) else -1)


def cut(image: np.ndarray, part: Part, size: int) -> np.ndarray:
    """A part of uint8 [H, W, 3], resized: uint8 [size, size, 3]."""
    rows, columns = (slice(begin, begin + part.side) for begin in (part.top, part.left))
    square = Image.fromarray(image[rows, columns])
    crop = np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))
    return np.ascontiguousarray(crop[:, :: part.flip])
