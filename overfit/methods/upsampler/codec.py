"""Upsampler files: what is in each section, and the way back to a clip. NumPy only.

Sections:
    "header"       the clip's shape, the architecture, what a decoder must have
    "networks"     one folded network per group, as integers added to the network known before it
    "base_stream"  x265's or x264's stream

Known before a network is the base, or nothing; with zero latency, the network before it.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from overfit import settings
from overfit.coding import laplace
from overfit.coding.parameters import Quantized, code_array
from overfit.errors import UserError
from overfit.io.clips import Clip, ClipShape
from overfit.methods.upsampler import preparation
from overfit.methods.upsampler.architecture import parameter_shapes
from overfit.methods.upsampler.complexity import macs
from overfit.methods.upsampler.config import Config
from overfit.methods.upsampler.header import Header, identity, read_header, write_header
from overfit.methods.upsampler.inference import Network, restore

Delta = dict[str, dict[str, Quantized]]  # {network: {array: integers}}


class Code(NamedTuple):
    """Exactly what a file carries."""

    config: Config  # as far as a decoder needs it
    shape: ClipShape
    base: preparation.Base
    networks: list[Delta]  # of the groups; with zero latency of all but the last


def networks_due(frames: int, config: Config) -> int:
    """How many networks a file of so many frames carries.

    With zero latency the last group's network comes too late for anything.
    """
    groups = len(preparation.group_starts(frames, config))
    return groups - 1 if config.latency == "zero" else groups


def assemble(
    clip_shape: ClipShape, base: preparation.Base, networks: list[Delta], config: Config
) -> Code:
    """The code of a clip from what `quantize` gave for each of its groups, in order."""
    return Code(config, clip_shape, base, networks[: networks_due(clip_shape.frames, config)])


def _code_networks(coder, networks: list[Delta] | None, count: int, config: Config) -> list[Delta]:
    """Writes the networks with an encoder, or reads `count` of them with a decoder (None)."""

    def one(delta: Delta | None) -> Delta:
        return {
            name: {
                array: code_array(coder, None if delta is None else delta[name][array], shape)
                for array, shape in own.items()
            }
            for name, own in parameter_shapes(config).items()
        }

    return [one(delta) for delta in networks or [None] * count]


def write(code: Code, base: Network | None) -> dict[str, bytes]:
    """{section: bytes}, in file order. Raises UserError for a clip that is too large."""
    networks = laplace.Encoder()
    _code_networks(networks, code.networks, len(code.networks), code.config)
    stream = code.base.stream
    header = Header(
        code.config, code.shape, stream.codec, code.base.blocks, stream.checksum, identity(base)
    )
    return {
        "header": write_header(header),
        "networks": networks.finish(),
        "base_stream": stream.data,
    }


def _read_networks(sections: list[bytes]) -> tuple[Header, list[Delta]]:
    header = read_header(sections[0], len(sections[2]))
    count = networks_due(header.shape.frames, header.config)
    return header, _code_networks(laplace.Decoder(sections[1]), None, count, header.config)


def read(sections: list[bytes], base: Network | None) -> Code:
    """The inverse of `write`. Raises UserError on damaged data, and for another base."""
    header, networks = _read_networks(sections)
    if header.base != identity(base):
        raise UserError(
            f"the file builds on the base {header.base.hex() or 'none'}, and the one given is "
            f"{identity(base).hex() or 'none'}; install the version of overfit that has it"
        )
    return Code(header.config, header.shape, header.stream(sections[2]), networks)


# -- Back to a clip --------------------------------------------------------------------------------


def add(delta: Delta, known: Network | None) -> Network:
    """The network of a group: float32, known before it or nothing, plus its own integers."""
    return {
        name: {
            array: value.value() if known is None else known[name][array] + value.value()
            for array, value in own.items()
        }
        for name, own in delta.items()
    }


def decoders(code: Code, base: Network | None) -> Iterator[Network | None]:
    """The network that each group is decoded with; None: the base picture, enlarged."""
    if code.config.latency == "zero":
        known = base
        yield known
        for delta in code.networks:
            known = add(delta, known)
            yield known
    else:
        for delta in code.networks:
            yield add(delta, base)


def frames(code: Code, base: Network | None) -> Iterator[tuple[np.ndarray, ...]]:
    """y, u, v of each frame, uint8. Raises UserError for a damaged stream."""
    count, group = code.shape.frames, code.config.group
    networks, network = decoders(code, base), None
    for index, (decoded, blocks) in enumerate(preparation.seen(code.base, code.shape, code.config)):
        start = index - index % group
        if index == start:
            network = next(networks)
        length = min(group, count - start)
        phases = restore(network, decoded, blocks, index - start, length, code.config)
        yield preparation.planes(phases, code.shape.height, code.shape.width)


def reconstruct(code: Code, base: Network | None) -> Clip:
    """The clip as the decoder shows it."""
    planes = tuple(np.empty((code.shape.frames, *one), np.uint8) for one in code.shape.plane_shapes)
    for index, frame in enumerate(frames(code, base)):
        for plane, samples in zip(planes, frame, strict=True):
            plane[index] = samples
    return Clip(planes, code.shape.fps)


def describe(sections: list[bytes], base: Network | None = None) -> dict:
    """What the header and the networks say, for `overfit info`."""
    del base
    header, networks = _read_networks(sections)
    shape, config = header.shape, header.config
    return {
        "width": shape.width,
        "height": shape.height,
        "frames": shape.frames,
        "channels": 3,
        "fps": float(shape.fps),
        "base": header.base.hex() or None,
        "base_codec": header.codec,
        "blocks": header.blocks,
        "macs_per_pixel": macs((3, shape.height, shape.width), config)["total"],
        "params": sum(
            array.k.size for delta in networks for own in delta.values() for array in own.values()
        ),
        "settings": {
            path: value
            for path, value in settings.paths(config).items()
            if path.split(".")[0] not in ("base", "training", "fit")
        },
    }
