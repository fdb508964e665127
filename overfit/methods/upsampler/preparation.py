"""From a clip to its base stream, and from a stream to what the networks see. NumPy, no JAX.

Encoder and decoder get the decoded pictures and the block features from the stream by the same
function, so that they agree to the last bit.
"""

import itertools
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from overfit.codecs import base_stream, h264_blocks, hevc_blocks, libav
from overfit.codecs.base_stream import BaseStream
from overfit.codecs.blocks import CHANNELS, features
from overfit.errors import UserError
from overfit.io.clip import Clip, ClipShape
from overfit.methods.upsampler.architecture import networks, scale, uses_features
from overfit.methods.upsampler.config import Config
from overfit.methods.upsampler.wiring import depth_to_space, space_to_depth
from overfit.nn.resize import halved

_READERS = {"x265": hevc_blocks.read, "x264": h264_blocks.read}


class Base(NamedTuple):
    """What a file has of the classical codec."""

    stream: BaseStream
    blocks: bool  # whether the networks see its blocks; zeros otherwise


class Group(NamedTuple):
    """Arrays of consecutive frames, as `model.Signal` describes them."""

    original: np.ndarray
    decoded: np.ndarray
    blocks: np.ndarray


def padded_size(shape: ClipShape) -> tuple[int, int]:
    """Height and width in px, rounded up to multiples of 4."""
    return -(-shape.height // 4) * 4, -(-shape.width // 4) * 4


def base_shape(shape: ClipShape, config: Config) -> ClipShape:
    """Of the clip that the classical codec codes."""
    height, width = (size // scale(config) for size in padded_size(shape))
    return shape._replace(height=height, width=width)


def group_starts(frames: int, config: Config) -> range:
    """Index of each group's first frame; the last group may be shorter."""
    return range(0, frames, config.group)


# -- Phases of 4:2:0 pictures ----------------------------------------------------------------------


def phases(planes: tuple[np.ndarray, ...], height: int, width: int) -> np.ndarray:
    """Of a frame's y, u, v, with edges repeated up to height and width: [6, height/2, width/2]."""
    y, u, v = (
        np.pad(plane, [(0, rows - len(plane)), (0, columns - plane.shape[1])], "edge")
        for plane, (rows, columns) in zip(planes, _plane_sizes(height, width), strict=True)
    )
    return np.concatenate([space_to_depth(y[None, None])[:, 0], u[None], v[None]])


def planes(phases: np.ndarray, height: int, width: int) -> tuple[np.ndarray, ...]:
    """The inverse of `phases`, cropped to height and width."""
    y = depth_to_space(phases[:4, None])[0, 0]
    sizes = _plane_sizes(height, width)
    return tuple(p[:h, :w] for p, (h, w) in zip((y, *phases[4:]), sizes, strict=True))


def _plane_sizes(height: int, width: int) -> tuple[tuple[int, int], ...]:
    chroma = (-(-height // 2), -(-width // 2))
    return (height, width), chroma, chroma


# -- Encoding the base -----------------------------------------------------------------------------


def smaller(clip: Clip, config: Config) -> Clip:
    """The clip that the classical codec codes: padded, and at half the resolution."""
    shape = base_shape(clip.shape, config)
    result = tuple(np.empty((clip.frames, *one), np.uint8) for one in shape.plane_shapes)
    for index, frame in enumerate(zip(*clip.planes, strict=True)):
        padded = planes(phases(frame, *padded_size(clip.shape)), *padded_size(clip.shape))
        for plane, out in zip(padded, result, strict=True):
            if scale(config) == 2:
                plane = np.rint(halved(plane, config.base.downsampling)).clip(0, 255)
            out[index] = plane
    return Clip(result, clip.fps)


def encode_base(
    clip: Clip, qp: int, config: Config, progress: Callable[[int], None] = lambda coded: None
) -> Base:
    """Codes the clip's base at the quantizer qp + config.base.qp_offset.

    Raises:
      UserError: the clip is not 4:2:0, the quantizer is out of range, a package is missing, the
        layers of the configuration do not fit together.
    """
    if clip.format != "yuv420":
        raise UserError("the upsampler takes 4:2:0 clips, not RGB ones; convert it to .y4m")
    try:
        networks(config)
    except ValueError as error:
        raise UserError(f"the layers do not fit together: {error}") from error
    below = config.base.qp_offset
    if not 0 <= qp + below <= base_stream.MAX_QP:
        raise UserError(
            f"the quantizer must be from {-below} to {base_stream.MAX_QP - below}, since the base "
            f"has {below:+} beside it; not {qp}"
        )
    codec, blocks = choose_blocks(config)
    stream = base_stream.encode(
        smaller(clip, config),
        qp + below,
        codec,
        config.base.speed,
        config.base.tune,
        bframes=config.latency == "offline",
        progress=progress,
    )
    return Base(stream, blocks)


def choose_blocks(config: Config) -> tuple[str, bool]:
    """(codec, whether its blocks are used): what the configuration asks for, or works here.

    Raises UserError where what is asked for does not work.
    """
    reasons = {
        "hevc": hevc_blocks.missing,
        "h264": lambda: libav.missing("libx264"),
        "none": lambda: None,
    }
    kind = config.base.blocks if uses_features(config) else "none"
    if kind == "best":
        kind = next(name for name, missing in reasons.items() if missing() is None)
    if sentence := reasons[kind]():
        raise UserError(sentence)
    return "x264" if kind == "h264" else "x265", kind != "none"


# -- Checkpoints -----------------------------------------------------------------------------------

_CODECS = ("x265", "x264")  # by their numbers in checkpoints
_SAVED = struct.Struct(">B?I")  # codec, whether blocks are used, checksum; the stream follows


def save_base(base: Base) -> bytes:
    """The base as `restore_base` takes it."""
    codec, checksum, data = base.stream
    return _SAVED.pack(_CODECS.index(codec), base.blocks, checksum) + data


def restore_base(saved: bytes, config: Config) -> Base | None:
    """The inverse of `save_base`; None where this machine would choose another kind of base."""
    codec, blocks, checksum = _SAVED.unpack_from(saved)
    if (_CODECS[codec], blocks) != choose_blocks(config):
        return None
    return Base(BaseStream(_CODECS[codec], checksum, saved[_SAVED.size :]), blocks)


# -- What the networks see -------------------------------------------------------------------------


def seen(base: Base, shape: ClipShape, config: Config) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each frame of a clip of that shape, in order, the decoded phases and block features.

    Raises:
      UserError: the stream is damaged; libde265 is needed and missing.
    """
    own = base_shape(shape, config)
    clip = base_stream.decode(base.stream, own)
    grid = (own.height // 2, own.width // 2)
    if uses_features(config) and base.blocks:
        pictures = _READERS[base.stream.codec](base.stream, own)
        found = (features(blocks, own.height, own.width) for blocks in pictures)
    else:
        channels = CHANNELS if uses_features(config) else 0
        found = (np.zeros((channels, *grid), np.float16) for _ in range(own.frames))
    for frame, blocks in zip(zip(*clip.planes, strict=True), found, strict=True):
        yield phases(frame, own.height, own.width), blocks


def groups(clip: Clip, base: Base, config: Config) -> Iterator[Group]:
    """The groups of a clip with its base, as the fit takes them, each made when it is asked for."""
    height, width = padded_size(clip.shape)
    own = base_shape(clip.shape, config)
    channels = CHANNELS if uses_features(config) else 0
    frames = zip(zip(*clip.planes, strict=True), seen(base, clip.shape, config), strict=True)
    for start in group_starts(clip.frames, config):
        count = min(config.group, clip.frames - start)
        original = np.empty((count, 6, height // 2, width // 2), np.uint8)
        decoded = np.empty((count, 6, own.height // 2, own.width // 2), np.uint8)
        blocks = np.empty((count, channels, own.height // 2, own.width // 2), np.float16)
        for index, (frame, inputs) in enumerate(itertools.islice(frames, count)):
            original[index] = phases(frame, height, width)
            decoded[index], blocks[index] = inputs
        yield Group(original, decoded, blocks)
    next(frames, None)  # checks that the stream ends here
