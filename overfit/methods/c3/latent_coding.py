"""Codes the latent grids with the integer entropy model, in wavefronts over all grids at once.

A latent depends on neighbors up to `context` columns to the right in the rows above, so all
positions with the same x + (context + 1) * y can be coded together: one wave. Waves of grids that
do not depend on each other run together. Encoder and decoder walk through the same code.
"""

from collections.abc import Iterator

import numpy as np

from overfit.coding import integer_network, laplace
from overfit.errors import UserError
from overfit.methods.c3.architecture import causal_offsets, coding_order, full_offsets
from overfit.methods.c3.config import Q_STEP_UNITS, C3Config

MAX_LATENT = 1 << 20  # |latent| in bins
_RESIZE_BITS = 12  # fractional bits of a resize weight
_PREVIOUS_BITS = 6  # fractional bits that a resized latent keeps

Shape = tuple[int, int]


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
    """Planes of the given shapes in one float32 array, each with a margin of zeros all around."""

    def __init__(self, shapes: list[Shape], margin: int):
        self.shapes = shapes
        self.pitches = [columns + 2 * margin for _, columns in shapes]
        self.begins, size = [], 0
        for (rows, _), pitch in zip(shapes, self.pitches, strict=True):
            self.begins.append(size + margin * pitch + margin)
            size += (rows + 2 * margin) * pitch
        self.data = np.zeros(size, np.float32)

    def view(self, i: int) -> np.ndarray:
        """Plane i itself, [rows, columns]."""
        (rows, columns), pitch, begin = self.shapes[i], self.pitches[i], self.begins[i]
        last = begin + (rows - 1) * pitch + columns
        stride = self.data.strides[0]
        return np.lib.stride_tricks.as_strided(
            self.data[begin:last], (rows, columns), (pitch * stride, stride)
        )

    def offsets(self, taps) -> np.ndarray:
        """int64 [taps, planes]: distance of each tap in the array, for each plane."""
        return np.asarray(
            [[dy * pitch + dx for pitch in self.pitches] for dy, dx in taps], np.int64
        ).reshape(len(taps), len(self.pitches))

    def waves(self, context: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(indices in the array [n], their planes [n] or [1]), int64: plane by plane, row by row.

        Without a context nothing depends on anything, but waves bound the memory all the same.
        """
        slope = context + 1
        lengths = [columns + slope * (rows - 1) for rows, columns in self.shapes]
        for t in range(max(lengths)):
            active = [i for i, length in enumerate(lengths) if t < length]
            indices = []
            for i in active:
                rows, columns = self.shapes[i]
                first, last = max(0, -(-(t - columns + 1) // slope)), min(rows - 1, t // slope)
                stride, origin = self.pitches[i] - slope, self.begins[i] + t
                indices.append(
                    np.arange(origin + first * stride, origin + last * stride + 1, stride)
                )
            if not any(index.size for index in indices):
                continue  # grids with fewer columns than the slope have no position on some waves
            if len(active) == 1:
                yield indices[0], np.asarray(active)
            else:
                sizes = [index.size for index in indices]
                yield np.concatenate(indices), np.repeat(active, sizes)


def code_latents(
    coder, latents: list[np.ndarray] | None, shapes, entropy_parameters, config: C3Config
) -> list[np.ndarray]:
    """Writes the latents with an encoder, or reads them with a decoder (latents None).

    latents: int [rows, columns] per grid, finest first, in bins; the same is returned, as int32.
    entropy_parameters: {array name: Quantized}. Raises UserError on values beyond MAX_LATENT.
    """
    order, entropy = coding_order(config), config.entropy
    coded: list[np.ndarray] = [np.zeros(0)] * len(shapes)
    for group in _groups(config):
        network = _network(entropy_parameters, group[0], config)
        planes = _Planes([shapes[grid] for grid in group], max(entropy.context, 1))
        if latents is not None:
            for i, grid in enumerate(group):
                if np.abs(latents[grid]).max() > MAX_LATENT:
                    raise UserError("the fit has diverged: a latent is out of the format's range")
                planes.view(i)[:] = latents[grid]
        previous = None
        if entropy.previous >= 0:
            previous = _Planes([shapes[group[0]]], max(entropy.context, entropy.previous, 1))
            position = order.index(group[0])
            if position > 0:
                previous.view(0)[:] = resized(coded[order[position - 1]], shapes[group[0]])
        _code_group(coder, planes, previous, network, entropy, latents is None)
        for i, grid in enumerate(group):
            coded[grid] = planes.view(i).astype(np.int32)
    return coded


class _Meter:
    """In the place of an encoder: notes what every wave would take."""

    def __init__(self):
        self.waves: list[np.ndarray] = []

    def code(self, values, location, scale):
        self.waves.append(laplace.costs(values, location, scale))
        return values


def latent_bits(
    latents: list[np.ndarray], entropy_parameters, config: C3Config
) -> list[np.ndarray]:
    """Bits that each latent takes in the file: float64, in the shapes of the grids.

    By the integer model's own tables, as `code_latents` codes them. The range coder rounds the sum
    of all up to whole words.
    """
    shapes = [grid.shape for grid in latents]
    meter = _Meter()
    code_latents(meter, latents, shapes, entropy_parameters, config)
    spent: list[np.ndarray] = [np.zeros(0)] * len(shapes)
    waves = iter(meter.waves)
    for group in _groups(config):
        planes = _Planes([shapes[grid] for grid in group], max(config.entropy.context, 1))
        for index, _ in planes.waves(config.entropy.context):
            planes.data[index] = next(waves)
        for i, grid in enumerate(group):
            spent[grid] = planes.view(i).astype(np.float64)
    return spent


def _groups(config: C3Config) -> list[list[int]]:
    """The grids that are coded together, group by group in coding order."""
    order = list(coding_order(config))
    alone = config.entropy.previous >= 0 or config.entropy.per_grid != "shared"
    return [[grid] for grid in order] if alone else [order]


def _code_group(coder, planes: _Planes, previous: _Planes | None, network, entropy, decode: bool):
    """Codes all planes of one group, in place."""
    own = planes.offsets(causal_offsets(entropy.context))
    full = None if previous is None else previous.offsets(full_offsets(entropy.previous))
    for index, plane in planes.waves(entropy.context):
        context = planes.data[index + own[:, plane]]
        if previous is not None and full is not None:
            # Both arrays hold the plane with margins of their own.
            y, x = np.divmod(index - planes.begins[0], planes.pitches[0])
            place = previous.begins[0] + y * previous.pitches[0] + x
            context = np.concatenate([context, previous.data[place + full]])
        model = integer_network.predict(network, context.astype(np.float64))
        values = coder.code(None if decode else planes.data[index].astype(np.int64), *model)
        if decode:
            if np.maximum.reduce(np.abs(values)) > MAX_LATENT:
                raise UserError("the file is damaged: a latent is out of range")
            planes.data[index] = values


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
    return integer_network.build(
        layers,
        config.entropy.activation,
        (round(config.latents.q_step * Q_STEP_UNITS), Q_STEP_UNITS),
        config.entropy.log_scale_shift,
    )
