"""C3 files: what is in each section, and the way back to pixels. NumPy only.

Sections: "header" (13 bytes for two hidden layers in each network), "networks", "latents".
docs/format.md is the specification.
"""

from typing import Any, NamedTuple

import numpy as np

from overfit import settings
from overfit.bases.base import Base
from overfit.coding import integer_network, laplace
from overfit.coding.container import read_varint, write_varint
from overfit.coding.parameters import Change, Quantized, code_array, code_change
from overfit.errors import UserError
from overfit.methods.c3 import latent_coding
from overfit.methods.c3.architecture import parameter_shapes
from overfit.methods.c3.complexity import macs
from overfit.methods.c3.config import Q_STEP_UNITS, C3Config, Entropy, Latents, Synthesis
from overfit.methods.c3.synthesis import synthesize

MAX_PIXELS, MAX_SIDE = 1 << 25, 1 << 14  # of one image: bounds what a damaged header can ask for


class Code(NamedTuple):
    """Exactly what a file carries: integers and the architecture they belong to."""

    config: C3Config
    shape: tuple[int, int, int]  # channels, height, width
    parameters: dict[str, dict[str, Quantized | Change]]  # {network: {array}}
    latents: list[np.ndarray]  # int32 [rows, columns] per grid, finest first, in bins


_ORDERS = ("fine_to_coarse", "coarse_to_fine")
_PER_GRID = ("shared", "film", "separate")
_ACTIVATIONS = ("gelu", "relu")
_UPSAMPLINGS = ("bilinear", "nearest", "bicubic", "lanczos3", "learned")


def _fields(config: C3Config, channels: int) -> list[tuple[int, int]]:
    """(value, bits) of every field of the architecture, in file order; see `_parse`."""
    latents, entropy, synthesis = config.latents, config.entropy, config.synthesis
    fields = [
        (0 if channels == 1 else 1, 1),
        (latents.num_grids, 4),
        (latents.first_octave, 4),
        (_ORDERS.index(latents.order), 1),
        (round(latents.q_step * Q_STEP_UNITS), 8),
        (entropy.context, 3),
        (entropy.previous + 1, 3),
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


def _write_header(code: Code) -> bytes:
    channels, height, width = code.shape
    packed, length = 0, 0
    for value, bits in _fields(code.config, channels):
        packed, length = packed << bits | value, length + bits
    packed <<= -length % 8
    return write_varint(width) + write_varint(height) + packed.to_bytes(-(-length // 8), "big")


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


def _is_size(width: int, height: int) -> bool:
    return 1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAX_PIXELS


def check_size(width: int, height: int) -> None:
    """Raises UserError for an image that a C3 file cannot hold."""
    if not _is_size(width, height):
        raise UserError(
            f"the image has {width}x{height} pixels; a C3 file holds up to {MAX_SIDE} on a side "
            f"and {MAX_PIXELS} in all: cut it into parts"
        )


def _read_header(data: bytes) -> tuple[C3Config, tuple[int, int, int]]:
    width, position = read_varint(data, 0)
    height, position = read_varint(data, position)
    if not _is_size(width, height):
        raise UserError(
            f"the file's header says {width}x{height} pixels, which no C3 file has: it is damaged"
        )
    bits = _Bits(data[position:])
    channels = 3 if bits.take(1) else 1
    num_grids, first_octave, order = bits.take(4), bits.take(4), bits.choose(1, _ORDERS)
    q_step = bits.take(8) / Q_STEP_UNITS
    context, previous, per_grid = bits.take(3), bits.take(3) - 1, bits.choose(2, _PER_GRID)
    entropy_activation, log_scale_shift = bits.choose(1, _ACTIVATIONS), bits.take(4)
    synthesis_activation, upsampling = bits.choose(1, _ACTIVATIONS), bits.choose(3, _UPSAMPLINGS)
    residual_layers, *depths = bits.take(3), bits.take(3), bits.take(3)
    entropy_widths, synthesis_widths = (
        tuple(bits.take(6) + 1 for _ in range(depth)) for depth in depths
    )
    try:
        config = C3Config(
            latents=Latents(num_grids, first_octave, q_step, order),
            entropy=Entropy(
                entropy_widths, context, previous, per_grid, entropy_activation, log_scale_shift
            ),
            synthesis=Synthesis(
                synthesis_widths, residual_layers, synthesis_activation, upsampling
            ),
        )
    except ValueError as error:
        raise UserError(f"the file's header is damaged: {error}") from error
    return config, (channels, height, width)


def _code_parameters(coder, parameters, config: C3Config, channels: int, base: Base | None):
    if base is not None:
        check_base(base, config, channels)

    def code(network: str, name: str, shape: tuple[int, ...]):
        array = parameters and parameters[network][name]
        if base is None:
            return code_array(coder, array, shape)
        return code_change(coder, array, base.arrays[f"{network}/{name}"])

    return {
        network: {name: code(network, name, shape) for name, shape in arrays.items()}
        for network, arrays in parameter_shapes(config, channels).items()
    }


def check_base(base: Base, config: C3Config, channels: int) -> None:
    """Raises UserError unless the base has the networks of a configuration."""
    shapes = {
        f"{network}/{name}": shape
        for network, arrays in parameter_shapes(config, channels).items()
        for name, shape in arrays.items()
    }
    if {path: prior.center.k.shape for path, prior in base.arrays.items()} != shapes:
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
    """{section: bytes}, in file order. Raises UserError for an image that is too large."""
    channels, height, width = code.shape
    check_size(width, height)
    networks, latents = laplace.Encoder(), laplace.Encoder()
    _code_parameters(networks, code.parameters, code.config, channels, base)
    shapes = code.config.latents.shapes(height, width)
    latent_coding.code_latents(
        latents, code.latents, shapes, entropy_network(code.parameters), code.config
    )
    return {
        "header": _write_header(code),
        "networks": networks.finish(),
        "latents": latents.finish(),
    }


def read_networks(sections: list[bytes], base=None) -> Code:
    """All but the latents: what `info` needs."""
    config, shape = _read_header(sections[0])
    parameters = _code_parameters(laplace.Decoder(sections[1]), None, config, shape[0], base)
    return Code(config, shape, parameters, [])


def read(sections: list[bytes], base=None) -> Code:
    """The inverse of `write`. Raises UserError on damaged data."""
    code = read_networks(sections, base)
    shapes = code.config.latents.shapes(*code.shape[1:])
    latents = latent_coding.code_latents(
        laplace.Decoder(sections[2]), None, shapes, entropy_network(code.parameters), code.config
    )
    return code._replace(latents=latents)


def reconstruct(code: Code, base=None) -> np.ndarray:
    """uint8 [height, width, 3], or [height, width] for a grey image."""
    del base
    weights = {name: array.value() for name, array in code.parameters["synthesis"].items()}
    image = synthesize(weights, code.latents, code.shape, code.config)
    return image[0] if code.shape[0] == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))


def describe(sections: list[bytes], base=None) -> dict:
    """What the header and the networks say, for `overfit info`."""
    code = read_networks(sections, base)
    channels, height, width = code.shape
    arrays = [a for network in code.parameters.values() for a in network.values()]
    return {
        "width": width,
        "height": height,
        "frames": 1,
        "channels": channels,
        "macs_per_pixel": macs(code.shape, code.config)["total"],
        "params": sum(array.k.size for array in arrays),
        "settings": {
            path: value
            for path, value in settings.paths(code.config).items()
            if path.split(".")[0] in ("latents", "entropy", "synthesis")
        },
    }
