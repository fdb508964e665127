"""C3 files: what is in each section, and the way back to pixels. NumPy only.

Sections: "header" (13 bytes for two hidden layers in each network of an image), "networks",
"latents". A clip has its own header; its networks come first, then its latents frame by frame.
docs/format.md is the specification.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from overfit import settings
from overfit.bases.base import Base
from overfit.coding import integer_network, laplace
from overfit.coding.container import read_varint, write_varint
from overfit.coding.parameters import Change, Quantized, code_array, code_change
from overfit.errors import UserError
from overfit.methods.c3 import latent_coding
from overfit.methods.c3.architecture import check_rank, num_masks, parameter_shapes
from overfit.methods.c3.complexity import macs
from overfit.methods.c3.config import (
    MAX_MASK_REACH,
    Q_STEP_UNITS,
    C3Config,
    Entropy,
    Latents,
    Samples,
    Synthesis,
)
from overfit.methods.c3.synthesis import Planes, synthesize, synthesize_clip

MAX_PIXELS, MAX_SIDE = (
    1 << 25,
    1 << 14,
)  # of one image or clip: bounds what a damaged header can ask for


class Code(NamedTuple):
    """Exactly what a file carries: integers and the architecture they belong to."""

    config: C3Config
    shape: tuple[int, ...]  # channels, (frames,) height, width
    parameters: dict[str, dict[str, Quantized | Change]]  # {network: {array}}
    latents: list[np.ndarray]  # int32 [(frames,) rows, columns] per grid, finest first, in bins
    masks: latent_coding.Places = ()  # where they lie, for the finest grids
    places: latent_coding.Places = ()  # of the frames on a canvas with a margin


_ORDERS = ("fine_to_coarse", "coarse_to_fine")
_PER_GRID = ("shared", "film", "separate")
_ACTIVATIONS = ("gelu", "relu")
_UPSAMPLINGS = ("bilinear", "nearest", "bicubic", "lanczos3", "learned")
_CARRIED = ("samples.format",)  # of the settings that are not those of the model
_FORMATS = ("rgb", "yuv420")  # of a clip, in the place of `previous`
_MOVES = 4  # added to these where the grids have a margin
_MARGIN_BITS = 10
_CLIP = 0, 0  # in the place of an image's size: that of a clip follows
_MASK_ORIGIN = MAX_MASK_REACH + 1  # what a coordinate of a mask is counted from


def _fields(config: C3Config, channels: int, clip: bool) -> list[tuple[int, int]]:
    """(value, bits) of every field of the architecture, in file order; see `_read_header`."""
    latents, entropy, synthesis = config.latents, config.entropy, config.synthesis
    fields = [
        (0 if channels == 1 else 1, 1),
        (latents.num_grids, 4),
        (latents.first_octave, 4),
        (_ORDERS.index(latents.order), 1),
        (round(latents.q_step * Q_STEP_UNITS), 8),
        (entropy.context, 3),
        (_samples_field(config) if clip else entropy.previous + 1, 3),
        (_PER_GRID.index(entropy.per_grid), 2),
        (_ACTIVATIONS.index(entropy.activation), 1),
        (entropy.log_scale_shift, 4),
        (_ACTIVATIONS.index(synthesis.activation), 1),
        (_UPSAMPLINGS.index(synthesis.upsampling), 3),
        (synthesis.residual_layers, 3),
        (len(entropy.widths), 3),
        (len(synthesis.widths), 3),
    ]
    return fields + [(width - 1, 6) for width in entropy.widths + synthesis.widths]


def _samples_field(config: C3Config) -> int:
    return _FORMATS.index(config.samples.format) + _MOVES * any(config.latents.margin)


def _clip_fields(code: Code) -> list[tuple[int, int]]:
    """Those that follow in the header of a clip."""
    entropy = code.config.entropy
    fields = [
        (entropy.frame + 1, 6),
        (entropy.mask, 3),
        (entropy.mask_grids, 4),
        (int(code.config.synthesis.per_frame), 1),
    ]
    fields += [(place + _MASK_ORIGIN, 7) for mask in code.masks for place in mask]
    margin = code.config.latents.margin
    if any(margin):
        fields += [(more, _MARGIN_BITS) for more in margin]
        pairs = (zip(place, margin, strict=True) for place in code.places)
        fields += [(n, more.bit_length()) for pair in pairs for n, more in pair]
    return fields


def _write_header(code: Code) -> bytes:
    channels, *size = code.shape
    fields = _fields(code.config, channels, len(size) == 3)
    if len(size) == 3:
        fields += _clip_fields(code)
        size = [*_CLIP, *size]
    else:
        size = size[::-1]
    packed, length = 0, 0
    for value, bits in fields:
        packed, length = packed << bits | value, length + bits
    packed <<= -length % 8
    return b"".join(map(write_varint, size)) + packed.to_bytes(-(-length // 8), "big")


class _Bits:
    """Reads big-endian bit fields."""

    def __init__(self, data: bytes):
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise UserError("the file's header is too short: it is truncated or damaged")
        return self._value >> self._left & ((1 << count) - 1)

    def choose(self, count: int, names: tuple[str, ...]) -> Any:
        index = self.take(count)
        if index >= len(names):
            raise UserError("the file's header names an option that this version does not know")
        return names[index]


def _is_size(*size: int) -> bool:
    return all(1 <= n <= MAX_SIDE for n in size) and math.prod(size) <= MAX_PIXELS


def check_size(size: Sequence[int], config: C3Config) -> None:
    """Raises UserError for ((frames,) height, width) of a signal that a C3 file cannot hold."""
    *frames, height, width = size
    if not _is_size(*frames, *config.latents.canvas(height, width)):
        what = "image" if len(size) == 2 else "clip"
        raise UserError(
            f"the {what} has {'x'.join(map(str, size[::-1]))} pixels; a C3 file holds up to "
            f"{MAX_SIDE} on a side and {MAX_PIXELS} in all: cut it into parts"
        )


def _read_size(data: bytes) -> tuple[tuple[int, ...], int]:
    """(((frames,) height, width), position of the bit fields)."""
    width, position = read_varint(data, 0)
    height, position = read_varint(data, position)
    size: tuple[int, ...] = height, width
    if size == _CLIP:
        frames, position = read_varint(data, position)
        height, position = read_varint(data, position)
        width, position = read_varint(data, position)
        size = frames, height, width
    if not _is_size(*size):
        raise UserError(
            f"the file's header says {'x'.join(map(str, size[::-1]))} pixels, which no C3 file "
            "has: it is damaged"
        )
    return size, position


def _read_header(data: bytes) -> Code:
    """What the header says, without parameters and latents."""
    size, position = _read_size(data)
    bits = _Bits(data[position:])
    channels = 3 if bits.take(1) else 1
    num_grids, first_octave, order = bits.take(4), bits.take(4), bits.choose(1, _ORDERS)
    q_step = bits.take(8) / Q_STEP_UNITS
    context, previous, form, moves = bits.take(3), -1, "rgb", False
    if len(size) == 3:
        moves = bool(bits.take(1))
        form = bits.choose(2, _FORMATS)
    else:
        previous = bits.take(3) - 1
    per_grid = bits.choose(2, _PER_GRID)
    entropy_activation, log_scale_shift = bits.choose(1, _ACTIVATIONS), bits.take(4)
    synthesis_activation, upsampling = bits.choose(1, _ACTIVATIONS), bits.choose(3, _UPSAMPLINGS)
    residual_layers, *depths = bits.take(3), bits.take(3), bits.take(3)
    entropy_widths, synthesis_widths = (
        tuple(bits.take(6) + 1 for _ in range(depth)) for depth in depths
    )
    clip = ()
    per_frame = True
    if len(size) == 3:
        clip = bits.take(6) - 1, bits.take(3), bits.take(4)
        per_frame = bool(bits.take(1))
    try:
        config = C3Config(
            latents=Latents(num_grids, first_octave, q_step, order),
            entropy=Entropy(
                entropy_widths, context, previous, per_grid, entropy_activation, log_scale_shift,
                *clip,
            ),
            synthesis=Synthesis(
                synthesis_widths, residual_layers, synthesis_activation, upsampling, per_frame
            ),
            samples=Samples(form),
        )  # fmt: skip
        check_rank(size, config)
    except (ValueError, UserError) as error:
        raise UserError(f"the file's header is damaged: {error}") from error
    if form == "yuv420" and channels != 3:
        raise UserError("the file's header is damaged: a 4:2:0 clip has three channels")
    masks = tuple(
        (_read_place(bits, config), _read_place(bits, config)) for _ in range(num_masks(config))
    )
    code = Code(config, (channels, *size), {}, [], masks)
    return _with_motion(bits, code) if moves else code


def _with_motion(bits: _Bits, code: Code) -> Code:
    """The code with the canvas and the places of the frames on it."""
    frames, rows, columns = code.shape[1:]
    margin = bits.take(_MARGIN_BITS), bits.take(_MARGIN_BITS)
    latents = dataclasses.replace(code.config.latents, margin=margin)
    if not any(margin) or not _is_size(frames, *latents.canvas(rows, columns)):
        raise UserError("the file's header is damaged: the canvas of its frames cannot be")
    places = tuple(
        (bits.take(margin[0].bit_length()), bits.take(margin[1].bit_length()))
        for _ in range(frames)
    )
    if any(row > margin[0] or column > margin[1] for row, column in places):
        raise UserError("the file's header is damaged: a frame lies outside its canvas")
    return code._replace(config=dataclasses.replace(code.config, latents=latents), places=places)


def _read_place(bits: _Bits, config: C3Config) -> int:
    place = bits.take(7) - _MASK_ORIGIN
    reach = config.entropy.frame
    if not -reach <= place <= reach + 1 - config.entropy.mask:
        raise UserError("the file's header is damaged: a mask lies outside its window")
    return place


def _code_parameters(coder, parameters, config: C3Config, channels: int, base: Base | None):
    if base is not None:
        check_base(base.shapes(), config, channels)

    def code(network: str, name: str, shape: tuple[int, ...]):
        array = parameters and parameters[network][name]
        if base is None:
            return code_array(coder, array, shape)
        return code_change(coder, array, base.arrays[f"{network}/{name}"])

    return {
        network: {name: code(network, name, shape) for name, shape in arrays.items()}
        for network, arrays in parameter_shapes(config, channels).items()
    }


def check_base(shapes: dict[str, dict], config: C3Config, channels: int) -> None:
    """Raises UserError unless a base, {network: {array: shape}}, has those of a configuration."""
    if shapes != parameter_shapes(config, channels):
        raise UserError(
            "the base has other networks than this: another preset, --set or number of channels"
        )


def entropy_network(parameters: dict[str, dict[str, Quantized | Change]]) -> dict[str, Quantized]:
    """The entropy network itself, which is exact only for parameters of bounded size."""
    network = {name: array.absolute() for name, array in parameters["entropy"].items()}
    for k, e in network.values():
        if np.abs(k).max(initial=0) << (integer_network.WEIGHT_BITS - e) > (
            integer_network.MAX_PARAMETER
        ):
            raise UserError("the file is damaged: a parameter of the entropy network is too large")
    return network


def write(code: Code, base=None) -> dict[str, bytes]:
    """{section: bytes}, in file order. Raises UserError for a signal that is too large."""
    channels, *size = code.shape
    check_size(size, code.config)
    networks, latents = laplace.Encoder(), laplace.Encoder()
    _code_parameters(networks, code.parameters, code.config, channels, base)
    shapes = code.config.latents.shapes(*size)
    entropy = entropy_network(code.parameters)
    latent_coding.code_latents(latents, code.latents, shapes, entropy, code.config, code.masks)
    return {
        "header": _write_header(code),
        "networks": networks.finish(),
        "latents": latents.finish(),
    }


def read_networks(sections: list[bytes], base=None) -> Code:
    """All but the latents: what `info` needs."""
    code = _read_header(sections[0])
    coder = laplace.Decoder(sections[1])
    parameters = _code_parameters(coder, None, code.config, code.shape[0], base)
    return code._replace(parameters=parameters)


def _read_steps(sections: list[bytes], base) -> Iterator[Code]:
    """The code after every step of `latent_coding.code_steps`."""
    code = read_networks(sections, base)
    shapes = code.config.latents.shapes(*code.shape[1:])
    coder, entropy = laplace.Decoder(sections[2]), entropy_network(code.parameters)
    for latents in latent_coding.code_steps(coder, None, shapes, entropy, code.config, code.masks):
        yield code._replace(latents=latents)


def read(sections: list[bytes], base=None) -> Code:
    """The inverse of `write`. Raises UserError on damaged data."""
    *_, code = _read_steps(sections, base)
    return code


def reconstruct(code: Code, base=None) -> np.ndarray | Planes:
    """uint8 [(frames,) height, width, 3], without the last axis for a grey signal; or y, u, v of
    a 4:2:0 clip, uint8 [frames, rows, columns]."""
    del base
    weights = {name: array.value() for name, array in code.parameters["synthesis"].items()}
    if len(code.shape) == 4:
        known = itertools.repeat(code.latents, code.shape[1])
        clip = synthesize_clip(weights, known, code.shape, code.config, code.places)
        shown = [_shown(x) for x in clip]
        if isinstance(shown[0], tuple):
            return tuple(np.stack(planes) for planes in zip(*shown, strict=True))
        return np.stack(shown)
    return _shown(synthesize(weights, code.latents, code.shape, code.config))


def _shown(image: np.ndarray | Planes) -> np.ndarray | Planes:
    """[channels, height, width] as [height, width, 3], or [height, width] for grey."""
    if isinstance(image, tuple):
        return image
    return image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))


def frames(sections: list[bytes], base=None) -> Iterator[np.ndarray | Planes]:
    """The frames of a clip, each as soon as its latents are decoded: uint8 as by `reconstruct`.

    Raises UserError on damaged data, at the frame that needs them.
    """
    steps = _read_steps(sections, base)
    first = next(steps)
    weights = {name: array.value() for name, array in first.parameters["synthesis"].items()}
    known = (code.latents for code in itertools.chain([first], steps))
    shape, config, places = first.shape, first.config, first.places
    return map(_shown, synthesize_clip(weights, known, shape, config, places))


def describe(sections: list[bytes], base=None) -> dict:
    """What the header and the networks say, for `overfit info`."""
    code = read_networks(sections, base)
    channels, *frames, height, width = code.shape
    arrays = [a for network in code.parameters.values() for a in network.values()]
    return {
        "width": width,
        "height": height,
        "frames": frames[0] if frames else 1,
        "channels": channels,
        "macs_per_pixel": macs(code.shape, code.config)["total"],
        "params": sum(array.k.size for array in arrays),
        "settings": {
            path: value
            for path, value in settings.paths(code.config).items()
            if path.split(".")[0] in ("latents", "entropy", "synthesis") or path in _CARRIED
        },
    }
