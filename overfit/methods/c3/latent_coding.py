"""Codes the latent grids with the integer entropy model, in wavefronts over all grids at once.

A latent depends on neighbors up to `context` columns to the right in the rows above, so all
positions with the same x + (context + 1) * y can be coded together: one wave. Waves of grids that
do not depend on each other run together. Grids of a clip are coded frame by frame, in the order in
which the frames of the clip need them. Encoder and decoder walk through the same code.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from overfit.coding import integer_network, laplace
from overfit.coding.integer_network import seen
from overfit.errors import UserError
from overfit.methods.c3.architecture import (
    Offsets,
    causal_offsets,
    coding_order,
    frame_offsets,
    full_offsets,
    num_masks,
)
from overfit.methods.c3.config import Q_STEP_UNITS, C3Config

MAX_LATENT = 1 << 20  # |latent| in bins
_RESIZE_BITS = 12  # fractional bits of a resize weight
_KEPT = 1 << 19  # positions of planes whose waves are kept
_PREVIOUS_BITS = 6  # fractional bits that a resized latent keeps

Shape = tuple[int, int]
Places = tuple[tuple[int, int], ...]  # (dy, dx) of the upper left tap of each mask


def resize_weights(size_in: int, size_out: int) -> np.ndarray:
    """`resize_matrix(.., "bilinear")` in integers: float64 [size_out, size_in], 12 fractional bits.

    Computed with rational numbers, so that no rounding depends on the machine.
    """
    # In units of 1 / (2 size_out), output i lies at (2i + 1) size_in - size_out, input t at
    # 2t size_out, and the triangle reaches as far as one sample of the coarser side.
    reach = 2 * max(size_in, size_out)
    center = (2 * np.arange(size_out, dtype=np.int64) + 1) * size_in - size_out
    first = (center - reach) // (2 * size_out)
    taps = first[:, None] + np.arange(2 * reach // (2 * size_out) + 2)
    weight = np.maximum(reach - np.abs(2 * size_out * taps - center[:, None]), 0)
    weight = np.where((taps >= 0) & (taps < size_in), weight, 0)
    total = weight.sum(axis=1, keepdims=True)
    weight = ((weight << (_RESIZE_BITS + 1)) + total) // (2 * total)
    matrix = np.zeros((size_out, size_in))
    rows = np.broadcast_to(np.arange(size_out)[:, None], taps.shape)
    inside = weight > 0
    matrix[rows[inside], taps[inside]] = weight[inside]
    return matrix


def resized(plane: np.ndarray, shape: Shape) -> np.ndarray:
    """An integer plane at another size: float32 multiples of 1/64."""
    rows = resize_weights(plane.shape[0], shape[0])
    columns = resize_weights(plane.shape[1], shape[1])
    product = (rows @ plane.astype(np.float64)) @ columns.T
    product = integer_network.shift(product, 2 * _RESIZE_BITS - _PREVIOUS_BITS)
    return (product * 2.0**-_PREVIOUS_BITS).astype(np.float32)


class _Planes:
    """Planes of the given shapes in one array, each with a margin of zeros all around.

    All have rows of one pitch, so that a neighbor is at the same distance in every plane.
    """

    def __init__(self, shapes: Sequence[Shape], margin: int):
        self.shapes = shapes
        self.pitch = max(columns for _, columns in shapes) + 2 * margin
        self.begins, self.size = [], 0
        for rows, _ in shapes:
            self.begins.append(self.size + margin * self.pitch + margin)
            self.size += (rows + 2 * margin) * self.pitch

    def zeros(self, dtype: type = np.float32) -> np.ndarray:
        return np.zeros(self.size, dtype)

    def view(self, data: np.ndarray, i: int) -> np.ndarray:
        """Plane i in an array of this layout: [rows, columns]."""
        (rows, columns), begin = self.shapes[i], self.begins[i]
        last = begin + (rows - 1) * self.pitch + columns
        stride = data.strides[0]
        return np.lib.stride_tricks.as_strided(
            data[begin:last], (rows, columns), (self.pitch * stride, stride)
        )

    def distances(self, taps: Offsets) -> list[int]:
        """Of each tap in the array."""
        return [dy * self.pitch + dx for dy, dx in taps]

    def waves(self, context: int) -> Iterable[np.ndarray]:
        """Those of `_waves`; of small planes, as frames of clips are, kept for the next ones."""
        layout = tuple(self.shapes), tuple(self.begins), self.pitch, context
        return _kept_waves(*layout) if self.size <= _KEPT else _waves(*layout)


def _waves(shapes, begins, pitch: int, context: int) -> Iterator[np.ndarray]:
    """Indices in the array that are coded together, int64 [n]: plane by plane, row by row.

    Without a context nothing depends on anything, but waves bound the memory all the same.
    """
    slope = context + 1
    lengths = [columns + slope * (rows - 1) for rows, columns in shapes]
    for t in range(max(lengths)):
        active = [i for i, length in enumerate(lengths) if t < length]
        indices = []
        for i in active:
            rows, columns = shapes[i]
            first, last = max(0, -(-(t - columns + 1) // slope)), min(rows - 1, t // slope)
            stride, origin = pitch - slope, begins[i] + t
            indices.append(np.arange(origin + first * stride, origin + last * stride + 1, stride))
        if not any(index.size for index in indices):
            continue  # grids with fewer columns than the slope have no position on some waves
        yield indices[0] if len(active) == 1 else np.concatenate(indices)


@functools.lru_cache(maxsize=16)
def _kept_waves(shapes, begins, pitch: int, context: int) -> list[np.ndarray]:
    return list(_waves(shapes, begins, pitch, context))


def steps(shapes) -> list[dict[int, int]]:
    """Which frame of which grids is coded in each step: {grid: frame} per frame of the clip.

    After step t all is known that the linear interpolation of frame t needs. An image has one step.
    """
    frames = [shape[0] if len(shape) == 3 else 1 for shape in shapes]
    total = max(frames)
    found: list[dict[int, int]] = [{} for _ in range(total)]
    for grid, count in enumerate(frames):
        for frame in range(count):
            # The first t whose center (2 t + 1) * count / (2 * total) - 1/2 is beyond frame - 1.
            first = (total * (2 * frame - 1) - count) // (2 * count) + 1
            found[max(first, 0)][grid] = frame
    return found


def code_latents(
    coder,
    latents: list[np.ndarray] | None,
    shapes,
    entropy_parameters,
    config: C3Config,
    places: Places = (),
) -> list[np.ndarray]:
    """Writes the latents with an encoder, or reads them with a decoder (latents None).

    latents: int [(frames,) rows, columns] per grid, finest first, in bins; the same is returned, as
    int32. entropy_parameters: {array name: Quantized}. places: of the masks, if there are any.
    Raises UserError on values beyond MAX_LATENT.
    """
    *_, coded = code_steps(coder, latents, shapes, entropy_parameters, config, places)
    return coded


def code_steps(
    coder, latents: list[np.ndarray] | None, shapes, entropy_parameters, config, places: Places = ()
) -> Iterator[list[np.ndarray]]:
    """`code_latents`, which gives the same grids after every step: what is not coded yet is 0."""
    for plane in latents or ():
        if np.abs(plane).max() > MAX_LATENT:
            raise UserError("the fit has diverged: a latent is out of the format's range")
    groups = _groups(config)
    networks = [_network(entropy_parameters, group[0], config) for group in groups]
    coded = [np.zeros(shape, np.int32) for shape in shapes]
    for step in steps(shapes):
        for group, network in zip(groups, networks, strict=True):
            now = [(grid, step[grid]) for grid in group if grid in step]
            if not now:
                continue
            planes = _group_planes(now, shapes, config)
            contexts = _contexts(planes, now, coded, config, places)
            data, context = planes.zeros(), config.entropy.context
            if latents is not None:
                for i, (grid, frame) in enumerate(now):
                    planes.view(data, i)[:] = _frame(latents[grid], frame)
            data = _code_group(coder, planes, data, contexts, network, context, latents is None)
            for i, (grid, frame) in enumerate(now):
                _frame(coded[grid], frame)[:] = planes.view(data, i)
        yield coded


def _frame(plane: np.ndarray, frame: int) -> np.ndarray:
    return plane[frame] if plane.ndim == 3 else plane


def _group_planes(now: list[tuple[int, int]], shapes, config: C3Config) -> _Planes:
    entropy = config.entropy
    margin = max(entropy.context, entropy.previous, entropy.frame, 1)
    return _Planes([shapes[grid][-2:] for grid, _ in now], margin)


class _Context(NamedTuple):
    """What a group sees beside its own frames: all of it is known before the first wave."""

    data: np.ndarray  # float32, in the layout of the group's own planes
    taps: Offsets


def _contexts(planes: _Planes, now, coded, config: C3Config, places: Places) -> list[_Context]:
    """The previous grid and the frame before, if they are looked at."""
    contexts, (grid, _) = [], now[0]
    if config.entropy.previous >= 0:
        order, data = coding_order(config), planes.zeros()
        position = order.index(grid)
        if position > 0:
            plane = resized(coded[order[position - 1]], planes.shapes[0])
            planes.view(data, 0)[:] = plane
        contexts.append(_Context(data, full_offsets(config.entropy.previous)))
    if frame_offsets(config, grid):
        data = planes.zeros()
        for i, (each, frame) in enumerate(now):
            if frame > 0:
                planes.view(data, i)[:] = coded[each][frame - 1]
        top, left = places[grid] if grid < num_masks(config) else (0, 0)
        taps = tuple((top + dy, left + dx) for dy, dx in frame_offsets(config, grid))
        contexts.append(_Context(data, taps))
    return contexts


class _Meter:
    """In the place of an encoder: notes what every wave would take."""

    def __init__(self):
        self.waves: list[np.ndarray] = []

    def code(self, values, location, scale):
        self.waves.append(laplace.costs(values, location, scale))
        return values


def latent_bits(
    latents: list[np.ndarray], entropy_parameters, config: C3Config, places: Places = ()
) -> list[np.ndarray]:
    """Bits that each latent takes in the file: float64, in the shapes of the grids.

    By the integer model's own tables, as `code_latents` codes them. The range coder rounds the sum
    of all up to whole words.
    """
    shapes = [grid.shape for grid in latents]
    meter = _Meter()
    code_latents(meter, latents, shapes, entropy_parameters, config, places)
    spent = [np.zeros(shape) for shape in shapes]
    waves = iter(meter.waves)
    for step in steps(shapes):
        for group in _groups(config):
            now = [(grid, step[grid]) for grid in group if grid in step]
            if not now:
                continue
            planes = _group_planes(now, shapes, config)
            bits = planes.zeros(np.float64)
            for index in planes.waves(config.entropy.context):
                bits[index] = next(waves)
            for i, (grid, frame) in enumerate(now):
                _frame(spent[grid], frame)[:] = planes.view(bits, i)
    return spent


def _groups(config: C3Config) -> list[list[int]]:
    """The grids that are coded together, group by group in coding order."""
    order = list(coding_order(config))
    alone = config.entropy.previous >= 0 or config.entropy.per_grid != "shared"
    return [[grid] for grid in order] if alone else [order]


def _code_group(
    coder, planes: _Planes, data, contexts: list[_Context], network, context: int, decode: bool
) -> np.ndarray:
    """Codes all planes of a group, of which data has the values, or zeros; the array with them."""
    # All that is seen lies in one array, the group's own planes first.
    if contexts:
        data = np.concatenate([data, *(other.data for other in contexts)])
    beyond = np.abs(data).max() > integer_network.MAX_CONTEXT
    distances = planes.distances(causal_offsets(context))
    for i, other in enumerate(contexts, 1):
        distances += [i * planes.size + distance for distance in planes.distances(other.taps)]
    taps = np.asarray(distances, np.int64)[:, None]
    for index in planes.waves(context):
        around = data.take(index + taps).astype(np.float64)
        model = integer_network.predict(network, seen(around) if beyond else around)
        coded = coder.code(None if decode else data[index].astype(np.int64), *model)
        if decode:
            largest = np.maximum.reduce(np.abs(coded))
            if largest > MAX_LATENT:
                raise UserError("the file is damaged: a latent is out of range")
            beyond = beyond or largest > integer_network.MAX_CONTEXT
            data[index] = coded
    return data


def _network(parameters, grid: int, config: C3Config):
    """The integer network that serves a grid."""
    layers = []
    for i in range(len(config.entropy.widths) + 1):
        layer = {}
        for part in ("w", "b", "scale", "shift"):
            if f"{part}{i}" in parameters:
                k, e = parameters[f"{part}{i}"]
                per_grid = config.entropy.per_grid == "separate" or part in ("scale", "shift")
                layer[part] = (k[grid] if per_grid else k, e)
        layers.append(layer)
    if frame_offsets(config, grid):
        k, e = parameters["frame_w"]
        k = k[grid] if config.entropy.per_grid == "separate" else k
        layers[0]["w"] = _joined(layers[0]["w"], (k, e))
    return integer_network.build(
        layers,
        config.entropy.activation,
        (round(config.latents.q_step * Q_STEP_UNITS), Q_STEP_UNITS),
        config.entropy.log_scale_shift,
    )


def _joined(a, b):
    """Two matrices (k, e) side by side, at the finer of their steps."""
    e = max(a[1], b[1])
    return np.concatenate([a[0] << (e - a[1]), b[0] << (e - b[1])], axis=1), e
