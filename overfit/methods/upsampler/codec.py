"""Upsampler files: what is in each section, and the way back to a clip. NumPy only.

Sections:
    "header"       the clip's shape, the architecture, what a decoder must have
    "networks"     one folded network per group, as integers
    "base_stream"  x265's or x264's stream

Networks are coded as changes of the base, if there is one; with zero latency, all but the first as
changes of the network before.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from overfit import settings
from overfit.bases.base import Base
from overfit.coding import laplace
from overfit.coding.parameters import Change, Prior, Quantized, code_array, code_change
from overfit.io.clip import Clip, ClipShape
from overfit.methods.upsampler import preparation
from overfit.methods.upsampler.architecture import check_base, parameter_shapes
from overfit.methods.upsampler.complexity import macs
from overfit.methods.upsampler.config import Config
from overfit.methods.upsampler.header import Header, read_header, write_header
from overfit.methods.upsampler.inference import Network, restore

Parameters = dict[str, dict[str, Quantized | Change]]  # {network: {array: integers}}


class Code(NamedTuple):
    """Exactly what a file carries."""

    config: Config  # as far as a decoder needs it
    shape: ClipShape
    base: preparation.Base
    networks: list[Parameters]  # of the groups; with zero latency of all but the last


def networks_due(frames: int, config: Config) -> int:
    """How many networks a file of so many frames carries.

    With zero latency the last group's network comes too late for anything.
    """
    groups = len(preparation.group_starts(frames, config))
    return groups - 1 if config.latency == "zero" else groups


def assemble(
    clip_shape: ClipShape, base: preparation.Base, networks: list[Parameters], config: Config
) -> Code:
    """The code of a clip from what `quantize` gave for each of its groups, in order."""
    return Code(config, clip_shape, base, networks[: networks_due(clip_shape.frames, config)])


def after(network: Parameters) -> Base:
    """What the group after one with that network starts from, where groups are chained."""
    arrays = {
        f"{name}/{array}": Prior(value.absolute(), _spread(value))
        for name, own in network.items()
        for array, value in own.items()
    }
    return Base("upsampler", {}, arrays, {})


def _spread(value: Quantized | Change) -> int:
    """Of an array's next change, in integers: as before, or a quarter of the mean magnitude."""
    if isinstance(value, Change):
        return value.prior.spread
    mean = int(np.abs(value.k).sum()) // max(value.k.size, 1)
    return 4 * (mean.bit_length() - value.e - 2 + 16)


def _code_network(coder, network: Parameters | None, config: Config, known: Base | None):
    """Writes the network with an encoder, or reads one with a decoder (network None)."""

    def code(name: str, array: str, shape: tuple[int, ...]):
        value: Any = network and network[name][array]
        if known is None:
            return code_array(coder, value, shape)
        return code_change(coder, value, known.arrays[f"{name}/{array}"])

    return {
        name: {array: code(name, array, shape) for array, shape in own.items()}
        for name, own in parameter_shapes(config).items()
    }


def _code_networks(
    coder, networks: list[Parameters] | None, count: int, config: Config, base: Base | None
) -> list[Parameters]:
    """Likewise all networks, or `count` of them."""
    if base is not None:
        check_base(base.shapes(), config)
    done, known = [], base
    for network in networks or [None] * count:
        done.append(_code_network(coder, network, config, known))
        if config.latency == "zero":
            known = after(done[-1])
    return done


def write(code: Code, base: Base | None) -> dict[str, bytes]:
    """{section: bytes}, in file order. Raises UserError for a clip that is too large."""
    networks = laplace.Encoder()
    _code_networks(networks, code.networks, len(code.networks), code.config, base)
    stream = code.base.stream
    header = Header(code.config, code.shape, stream.codec, code.base.blocks, stream.checksum)
    return {
        "header": write_header(header),
        "networks": networks.finish(),
        "base_stream": stream.data,
    }


def read(sections: list[bytes], base: Base | None) -> Code:
    """The inverse of `write`. Raises UserError on damaged data."""
    header = read_header(sections[0], len(sections[2]))
    count = networks_due(header.shape.frames, header.config)
    coder = laplace.Decoder(sections[1])
    networks = _code_networks(coder, None, count, header.config, base)
    return Code(header.config, header.shape, header.stream(sections[2]), networks)


# -- Back to a clip --------------------------------------------------------------------------------


def decoders(code: Code, base: Base | None) -> Iterator[Network | None]:
    """The network that each group is decoded with; None: the base picture, enlarged."""
    if code.config.latency == "zero":
        yield None if base is None else _values(network_of(base))
    for network in code.networks:
        yield _values(network)


def network_of(base: Base) -> Parameters:
    """The network of a base itself."""
    found: Parameters = {}
    for path, prior in base.arrays.items():
        name, _, array = path.partition("/")
        if not array.startswith(("mean", "deviation")):  # of the fits that it was learned from
            found.setdefault(name, {})[array] = prior.center
    return found


def _values(network: Parameters) -> Network:
    return {
        name: {array: value.value() for array, value in own.items()}
        for name, own in network.items()
    }


def frames(sections: list[bytes], base: Base | None) -> Iterator[tuple[np.ndarray, ...]]:
    """y, u, v of each frame, uint8. Raises UserError on damaged data."""
    return _frames(read(sections, base), base)


def _frames(code: Code, base: Base | None) -> Iterator[tuple[np.ndarray, ...]]:
    count, group = code.shape.frames, code.config.group
    networks, network = decoders(code, base), None
    for index, (decoded, blocks) in enumerate(preparation.seen(code.base, code.shape, code.config)):
        start = index - index % group
        if index == start:
            network = next(networks)
        length = min(group, count - start)
        phases = restore(network, decoded, blocks, index - start, length, code.config)
        yield preparation.planes(phases, code.shape.height, code.shape.width)


def reconstruct(code: Code, base: Base | None) -> Clip:
    """The clip as the decoder shows it."""
    planes = tuple(np.empty((code.shape.frames, *one), np.uint8) for one in code.shape.plane_shapes)
    for index, frame in enumerate(_frames(code, base)):
        for plane, samples in zip(planes, frame, strict=True):
            plane[index] = samples
    return Clip(planes, code.shape.fps)


def describe(sections: list[bytes], base: Base | None = None) -> dict:
    """What the header and the networks say, for `overfit info`."""
    code = read(sections, base)
    shape, config = code.shape, code.config
    return {
        "width": shape.width,
        "height": shape.height,
        "frames": shape.frames,
        "channels": 3,
        "fps": float(shape.fps),
        "groups": len(preparation.group_starts(shape.frames, config)),
        "base_codec": code.base.stream.codec,
        "blocks": code.base.blocks,
        "macs_per_pixel": macs((3, shape.height, shape.width), config)["total"],
        "params": sum(
            array.k.size
            for own in code.networks
            for arrays in own.values()
            for array in arrays.values()
        ),
        "settings": {
            path: value
            for path, value in settings.paths(config).items()
            if path.split(".")[0] not in ("base", "training", "fit")
        },
    }
