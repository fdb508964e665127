"""Short clips made from stills: a camera that moves over a picture, and objects in front of it.

Motion is exact and of every kind that the ranges of `Motion` allow, and the pictures are real; what
stills cannot give is how real things move and what appears behind them.

A frame is a mesh of cells, each of which Pillow fills from the picture through the map at its four
corners (bicubic; between them the map is bilinear, which an affine map is as well).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

CELL = 32  # px, of the mesh
_MARGIN = 3  # px that bicubic interpolation needs around a point


class Motion(NamedTuple):
    """How likely things are, and how strong at most; strengths are drawn as most * u^3, u uniform.

    Rates are those of a path: a steady part, and one half as fast that sways with a period of
    PERIODS frames.
    """

    still: float = 0.2  # probability that the camera does not move
    shift: float = 8.0  # px per frame, in each direction
    zoom: float = 0.015  # natural logarithm per frame
    turn: float = 0.01  # rad per frame
    shear: float = 0.005  # per frame
    bent: float = 0.4  # probability that a picture is displaced by smooth waves, which move
    bend: float = 3.0  # px
    objects: tuple[float, ...] = (0.4, 0.4, 0.2)  # probabilities of 0, 1, 2 of them
    radii: tuple[float, float] = (0.08, 0.35)  # of an object, in sides of the frame; uniform
    smeared: float = 0.25  # probability of motion blur
    shutter: tuple[float, float] = (0.3, 1.0)  # how long it is open, in frames; uniform
    defocused: float = 0.15  # probability, for each picture
    defocus: float = 2.0  # px, standard deviation
    noisy: float = 0.3  # probability of white noise, new in each frame
    noise: float = 6.0  # levels of 0..255, standard deviation
    drifting: float = 0.25  # probability that the exposure drifts
    drift: float = 0.03  # natural logarithm per frame


MOTION = Motion()
PERIODS = (6.0, 60.0)  # frames
WAVELENGTHS = (96.0, 384.0)  # px, of the displacement; longer than a cell of the mesh
_WAVES = 3
_TAPS = 4  # moments of a frame with motion blur


def moving(
    image: np.ndarray,
    frames: int,
    size: int,
    rng: np.random.Generator,
    others: Sequence[np.ndarray] = (),
    motion: Motion = MOTION,
) -> np.ndarray:
    """A clip made from a still.

    Where the picture is too small for the camera's path, it is mirrored at its edges.

    Args:
      image: uint8 [H, W, 3].
      size: of the frames, px a side.
      others: pictures that objects are cut from, uint8 [H, W, 3]; none: from the image.

    Returns:
      uint8 [frames, size, size, 3].
    """
    shutter, taps = 0.0, 1
    if rng.random() < motion.smeared:
        shutter, taps = rng.uniform(*motion.shutter), _TAPS
    within = ((np.arange(taps) + 0.5) / taps - 0.5) * shutter
    times = (np.arange(frames)[:, None] - (frames - 1) / 2 + within).reshape(-1)
    edges = np.linspace(0, size, -(-size // CELL) + 1).round()
    grid = np.stack(np.meshgrid(edges, edges), axis=-1) - size / 2  # [g, g, (x, y)]
    camera = _path(rng, motion if rng.random() >= motion.still else _fixed(motion))
    seen = _moved(camera, times, np.broadcast_to(grid, (len(times), *grid.shape)))
    layers = [_background(image, seen, times, rng, motion)]
    for _ in range(int(rng.choice(len(motion.objects), p=motion.objects))):
        source = others[int(rng.integers(len(others)))] if others else image
        layers.append(_object(source, seen, times, size, rng, motion))
    pictures = [_composed(layers, moment, edges, size) for moment in range(len(times))]
    clip = np.stack(pictures).reshape(frames, taps, size, size, 3).mean(axis=1, dtype=np.float32)
    return _sensed(clip, rng, motion)


def _strength(most, rng: np.random.Generator):
    """Drawn for each of `most`."""
    return most * rng.uniform(size=np.shape(most)) ** 3


def _fixed(motion: Motion) -> Motion:
    return motion._replace(shift=0.0, zoom=0.0, turn=0.0, shear=0.0)


# -- Where things are ------------------------------------------------------------------------------


class _Path(NamedTuple):
    """Right, down (px), zoom (natural logarithm), turn (rad) and two shears over time: [6] each."""

    rate: np.ndarray  # per frame
    sway: np.ndarray  # amplitude
    period: np.ndarray  # frames
    phase: np.ndarray


def _path(rng: np.random.Generator, motion: Motion) -> _Path:
    most = np.array([motion.shift] * 2 + [motion.zoom, motion.turn] + [motion.shear] * 2)
    rate, sway = (_strength(m, rng) * rng.choice((-1, 1), 6) for m in (most, most / 2))
    period = rng.uniform(*PERIODS, 6)
    return _Path(rate, sway * period / (2 * np.pi), period, rng.uniform(0, 2 * np.pi, 6))


def _moved(path: _Path, times: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Where points are at each time: [N], [N, g, g, 2] -> [N, g, g, 2]; (x, y), px."""
    time = times[:, None]
    x, y, zoom, turn, along, across = (
        path.rate * time
        + path.sway * (np.sin(2 * np.pi * time / path.period + path.phase) - np.sin(path.phase))
    ).T
    scale, cos, sin, one = np.exp(zoom), np.cos(turn), np.sin(turn), np.ones_like(zoom)
    turned = np.stack([cos, -sin, sin, cos], axis=-1).reshape(-1, 2, 2)
    sheared = np.stack([one, along, across, one], axis=-1).reshape(-1, 2, 2)
    maps = scale[:, None, None] * (turned @ sheared)
    return np.einsum("nij,nabj->nabi", maps, points) + np.stack([x, y], -1)[:, None, None]


def _bent(points: np.ndarray, times, rng: np.random.Generator, motion: Motion) -> np.ndarray:
    """The points, displaced by a few plane waves: [N, g, g, 2]."""
    if rng.random() >= motion.bent:
        return points
    for _ in range(_WAVES):
        way, push = rng.uniform(0, 2 * np.pi, 2)
        wave = np.array([np.cos(way), np.sin(way)]) / rng.uniform(*WAVELENGTHS)  # per px
        turns = points @ wave + (times / rng.uniform(*PERIODS) + rng.uniform())[:, None, None]
        amount = _strength(motion.bend, rng) / _WAVES * np.sin(2 * np.pi * turns)
        points = points + amount[..., None] * np.array([np.cos(push), np.sin(push)])
    return points


# -- What is there ---------------------------------------------------------------------------------


class _Layer(NamedTuple):
    texture: Image.Image  # RGB, or RGBX whose X is the opacity where it does not cover the frame
    corners: np.ndarray  # [N, g, g, 2]: where the mesh lies on it; (x, y), px


def _background(image, seen: np.ndarray, times, rng, motion: Motion) -> _Layer:
    """A picture that covers the frame wherever the camera goes."""
    points = _bent(seen, times, rng, motion)
    least, most = (f(points, axis=(0, 1, 2)) for f in (np.min, np.max))
    least = np.floor(least) - _MARGIN
    width, height = (np.ceil(most - least) + _MARGIN).astype(int)
    texture = _part(image, height, width, rng)
    return _Layer(_focused(texture, rng, motion), points - least)


def _object(image, seen: np.ndarray, times, size: int, rng, motion: Motion) -> _Layer:
    """Part of an image within a smooth outline, on a path of its own."""
    radius = rng.uniform(*motion.radii) * size
    side = int(np.ceil(2 * radius)) + 2 * _MARGIN
    place = rng.uniform(-size / 2, size / 2, 2)  # of its middle, in the middle of the clip
    points = _bent(_moved(_path(rng, motion), times, seen - place), times, rng, motion)
    bands = (*_part(image, side, side, rng).split(), _outline(radius, side, rng))
    # Not RGBA, whose colors Pillow multiplies by alpha: they would ring at the outline.
    texture = Image.merge("RGBX", bands)
    return _Layer(_focused(texture, rng, motion), points + side / 2)


def _outline(radius: float, side: int, rng: np.random.Generator) -> Image.Image:
    """Opaque within a curve around the middle that is `radius` away from it at most."""
    y, x = np.mgrid[:side, :side] + 0.5 - side / 2
    angle, lobes = np.arctan2(y, x), np.arange(2, 6)
    waves = np.cos(angle[..., None] * lobes + rng.uniform(0, 2 * np.pi, len(lobes)))
    reach = radius * (0.7 + (waves * rng.uniform(0, 0.3 / len(lobes), len(lobes))).sum(axis=-1))
    softness = rng.uniform(1, 4)  # px
    alpha = np.clip((reach - np.hypot(x, y)) / softness + 0.5, 0, 1)
    return Image.fromarray((255 * alpha).round().astype(np.uint8))


def _part(image: np.ndarray, height: int, width: int, rng: np.random.Generator) -> Image.Image:
    """A random part at a random scale, from all of the image to the size of its pixels."""
    sides, wanted = image.shape[:2], (height, width)
    smallest = min(1.0, max(n / have for n, have in zip(wanted, sides, strict=True)))
    scale = float(smallest ** rng.uniform())
    box = [min(have, round(n / scale)) for n, have in zip(wanted, sides, strict=True)]
    top, left = (int(rng.integers(have - n + 1)) for have, n in zip(sides, box, strict=True))
    part = Image.fromarray(image[top : top + box[0], left : left + box[1]])
    there = [min(n, have) for n, have in zip(wanted, box, strict=True)]
    part = part.resize((there[1], there[0]), Image.Resampling.LANCZOS)
    lack = [n - have for n, have in zip(wanted, there, strict=True)]
    if not any(lack):
        return part
    around = [(n // 2, n - n // 2) for n in lack]
    return Image.fromarray(np.pad(np.asarray(part), [*around, (0, 0)], mode="symmetric"))


def _focused(texture: Image.Image, rng: np.random.Generator, motion: Motion) -> Image.Image:
    if rng.random() >= motion.defocused:
        return texture
    return texture.filter(ImageFilter.GaussianBlur(float(_strength(motion.defocus, rng))))


# -- How it is seen --------------------------------------------------------------------------------


def _composed(layers: list[_Layer], moment: int, edges: np.ndarray, size: int) -> np.ndarray:
    """uint8 [size, size, 3]: each layer over those before it."""
    picture, *objects = (_rendered(layer, moment, edges, size) for layer in layers)
    for thing in objects:
        *colors, opacity = thing.split()
        picture.paste(Image.merge("RGB", colors), mask=opacity)
    return np.asarray(picture)


def _rendered(layer: _Layer, moment: int, edges: np.ndarray, size: int) -> Image.Image:
    corners = layer.corners[moment]
    # Pillow's order: upper left, lower left, lower right, upper right.
    quads = np.stack([corners[:-1, :-1], corners[1:, :-1], corners[1:, 1:], corners[:-1, 1:]], -2)
    # Cells off the texture stay transparent.
    on = (quads.max(axis=2) > 0).all(-1) & (quads.min(axis=2) < layer.texture.size).all(-1)
    mesh = [
        ((int(edges[j]), int(edges[i]), int(edges[j + 1]), int(edges[i + 1])),
         quads[i, j].reshape(-1).tolist())
        for i, j in zip(*np.nonzero(on), strict=True)
    ]  # fmt: skip
    return layer.texture.transform(
        (size, size), Image.Transform.MESH, mesh, Image.Resampling.BICUBIC
    )


def _sensed(clip: np.ndarray, rng: np.random.Generator, motion: Motion) -> np.ndarray:
    """What a sensor makes of float32 [T, H, W, 3]: uint8."""
    if rng.random() < motion.drifting:
        rate = _strength(motion.drift, rng) * rng.choice((-1, 1))
        times = np.arange(len(clip), dtype=np.float32) - (len(clip) - 1) / 2
        clip = clip * np.exp(rate * times)[:, None, None, None].astype(np.float32)
    if rng.random() < motion.noisy:
        noise = rng.standard_normal(clip.shape, np.float32)
        clip = clip + np.float32(_strength(motion.noise, rng)) * noise
    return np.clip(np.rint(clip), 0, 255).astype(np.uint8)
