"""The header of an upsampler file: all that a decoder has to know before it reads the rest.

    width | height | frames | frames per second (numerator, denominator) | group   varints
    flags (1 byte): 1 the denoiser of 2020, 2 zero latency, 4 x264, 8 blocks are used
    CRC-32 of the decoded base pictures (4 bytes, big-endian)
    architecture: upsampler: feature, position, denoiser | their inputs | attention
                  denoiser of 2020: luma, chroma

A network is its number of layers * 2 + (1 if the last is normalized), then a byte per layer: 0 for
"D", n for "Pn". Inputs are their number and their indices in `POSITION_INPUTS`, `DENOISER_INPUTS`.
"""

from fractions import Fraction
from typing import NamedTuple

from overfit.codecs.base_stream import BaseStream
from overfit.coding.container import read_varint, write_varint
from overfit.errors import UserError
from overfit.io.clip import ClipShape
from overfit.methods.upsampler.architecture import networks
from overfit.methods.upsampler.config import Config, DenoiserConfig, Network, UpsamplerConfig
from overfit.methods.upsampler.preparation import Base

MAX_SIDE = 1 << 14  # px
MAX_SAMPLES = 1 << 32  # of a clip: bounds what a damaged header can ask for
POSITION_INPUTS = ("features", "phasors")
DENOISER_INPUTS = ("pixels", "coordinates", "features")
_DENOISER, _ZERO, _X264, _BLOCKS = (1 << i for i in range(4))


class Header(NamedTuple):
    """See above."""

    config: Config
    shape: ClipShape
    codec: str  # "x265" or "x264"
    blocks: bool
    checksum: int

    def stream(self, data: bytes) -> Base:
        """The base that the header describes, with its stream."""
        return Base(BaseStream(self.codec, self.checksum, data), self.blocks)


def _check_size(shape: ClipShape) -> bool:
    samples = shape.frames * shape.height * shape.width * 3 // 2
    sides = (shape.height, shape.width)
    return shape.frames >= 1 and all(1 <= s <= MAX_SIDE for s in sides) and samples <= MAX_SAMPLES


def write_header(header: Header) -> bytes:
    """Raises UserError for a clip that is too large for a file."""
    shape, config = header.shape, header.config
    if not _check_size(shape):
        raise UserError(
            f"the clip has {shape.frames} frames of {shape.width}x{shape.height} px; a file holds "
            f"up to {MAX_SIDE} px a side and {MAX_SAMPLES} samples in all: cut it into parts"
        )
    numbers = (shape.width, shape.height, shape.frames)
    fps = (shape.fps.numerator, shape.fps.denominator)
    flags = (
        _DENOISER * isinstance(config, DenoiserConfig)
        | _ZERO * (config.latency == "zero")
        | _X264 * (header.codec == "x264")
        | _BLOCKS * header.blocks
    )
    out = b"".join(map(write_varint, (*numbers, *fps, config.group))) + bytes([flags])
    out += header.checksum.to_bytes(4, "big")
    if isinstance(config, DenoiserConfig):
        return out + _network(config.luma) + _network(config.chroma)
    position = [POSITION_INPUTS.index(name) for name in config.position_inputs]
    denoiser = [DENOISER_INPUTS.index(name) for name in config.denoiser_inputs]
    return (
        out
        + b"".join(map(_network, (config.feature, config.position, config.denoiser)))
        + bytes([len(position), *position, len(denoiser), *denoiser, config.attention])
    )


def _network(network: Network) -> bytes:
    layers = [0 if layer == "D" else int(layer[1:]) for layer in network.layers]
    return bytes([2 * len(layers) + network.normalize_last, *layers])


class _Reader:
    """Takes what `write_header` wrote from its beginning."""

    def __init__(self, data: bytes):
        self._data, self._position = data, 0

    def varint(self) -> int:
        value, self._position = read_varint(self._data, self._position)
        return value

    def take(self, count: int) -> bytes:
        taken = self._data[self._position : self._position + count]
        if len(taken) < count:
            raise UserError("the file's header is too short: it is truncated or damaged")
        self._position += count
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def network(self) -> Network:
        count, last = divmod(self.byte(), 2)
        layers = tuple(f"P{width}" if width else "D" for width in self.take(count))
        return Network(layers, bool(last))

    def names(self, known: tuple[str, ...]) -> tuple:
        indices = self.take(self.byte())
        if any(index >= len(known) for index in indices):
            raise UserError("the file's header names an input that this version does not know")
        return tuple(known[index] for index in indices)


def read_header(data: bytes, stream_length: int) -> Header:
    """The inverse of `write_header`; raises UserError for what no file of that length can say."""
    reader = _Reader(data)
    width, height, frames, rate, per, group = (reader.varint() for _ in range(6))
    shape = ClipShape("yuv420", frames, height, width, Fraction(rate, max(per, 1)))
    if not (_check_size(shape) and rate and per and frames <= stream_length):
        raise UserError(
            f"the file's header says {frames} frames of {width}x{height} px, which this file "
            "cannot have: it is damaged"
        )
    flags = reader.byte()
    checksum = int.from_bytes(reader.take(4), "big")
    latency = "zero" if flags & _ZERO else "offline"
    try:
        if flags & _DENOISER:
            config: Config = DenoiserConfig(
                reader.network(), reader.network(), group=group, latency=latency
            )
        else:
            config = UpsamplerConfig(
                *[reader.network() for _ in range(3)],
                position_inputs=reader.names(POSITION_INPUTS),
                denoiser_inputs=reader.names(DENOISER_INPUTS),
                attention=reader.byte(),
                group=group,
                latency=latency,
            )
        networks(config)
    except ValueError as error:
        raise UserError(f"the file's header is damaged: {error}") from error
    codec = "x264" if flags & _X264 else "x265"
    return Header(config, shape, codec, bool(flags & _BLOCKS), checksum)
