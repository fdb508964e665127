"""A 4:2:0 clip as a raw x265 or x264 stream, for methods that build on a classical codec.

Streams come without a container and without the encoder's settings as text, and depend on nothing
but the clip and the arguments: not on the number of cores (see libav.py).

FFmpeg conceals most damage inside a slice without a word. A stream therefore carries a checksum of
the pictures that it decodes to, four bytes for the whole clip, by which every decoder of it (FFmpeg
here, libde265 in hevc_blocks.py) can be held to the same samples.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from overfit.codecs import libav, planes
from overfit.codecs.codec import damaged
from overfit.errors import UserError
from overfit.io.clip import Clip, ClipShape
from overfit.io.clips import plane_samples

ENCODERS = {"x265": "libx265", "x264": "libx264"}  # name here -> FFmpeg's
_DECODERS = {"x265": "hevc", "x264": "h264"}
SPEEDS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast"),
    *("medium", "slow", "slower", "veryslow", "placebo"),
)  # what both encoders call presets
TUNES = ("psnr", "ssim")
MAX_QP = 51


class BaseStream(NamedTuple):
    """A coded clip."""

    codec: str  # "x265" or "x264"
    checksum: int  # of the decoded clip, see `checksum`
    data: bytes  # Annex B


def encode(
    clip: Clip,
    qp: int,
    codec: str = "x265",
    speed: str = "veryslow",
    tune: str = "psnr",
    bframes: bool = True,
    progress: Callable[[int], None] = lambda coded: None,
) -> BaseStream:
    """Codes a 4:2:0 clip at a constant quantizer.

    Args:
      qp: of P frames, 0..51; I and B frames have the encoder's usual offsets.
      bframes: False for zero latency: every frame is shown when it is coded.
      progress: gets how many frames have been coded.

    Raises:
      UserError: PyAV is missing, an argument is not one of those that are possible, or the encoder
        refuses the clip.
    """
    _require(codec)
    for value, known in ((speed, SPEEDS), (tune, TUNES)):
        if value not in known:
            raise UserError(f"{codec} has no '{value}' here; choose one of {', '.join(known)}")
    if not 0 <= qp <= MAX_QP:
        raise UserError(f"{codec} has a qp from 0 to {MAX_QP}, not {qp}")
    if clip.format != "yuv420":
        raise UserError("the base codec takes 4:2:0 clips, not RGB ones; convert it to .y4m")
    parameters = "" if bframes else "bframes=0"
    preset = libav.Preset(codec, ENCODERS[codec], speed, tune, parameters, "qp", ())
    layout = planes.clip_layout("yuv420p", clip.shape, codec)
    size = layout.padded(clip.height, clip.width)
    frames = planes.clip_planes(clip, layout)
    data = libav.encode_frames(frames, size, clip.fps, layout, preset, qp, progress)
    coded = BaseStream(codec, 0, data)
    decoded = planes.planes_clip(_samples(coded, clip.shape), clip.shape, layout, codec)
    return coded._replace(checksum=checksum(decoded))


def decode(stream: BaseStream, shape: ClipShape) -> Clip:
    """The clip of a stream. Raises UserError for a damaged one, and for one of another shape."""
    _require(stream.codec)
    layout = planes.clip_layout("yuv420p", shape, stream.codec)
    clip = planes.planes_clip(_samples(stream, shape), shape, layout, stream.codec)
    if checksum(clip) != stream.checksum:
        raise damaged(stream.codec, "its pictures are not those that were coded")
    return clip


def coded_size(shape: ClipShape) -> tuple[int, int]:
    """(height, width) in px of the pictures in a stream, which are the clip's with padding."""
    return planes.clip_layout("yuv420p", shape, "").padded(shape.height, shape.width)


def pictures(stream: BaseStream, shape: ClipShape, **options: str) -> Iterator[Any]:
    """FFmpeg's frames of a stream in the order in which they are shown, at most as large as due.

    options: of FFmpeg's decoder. The stream is parsed here because opening it as a file would first
    decode some of it to find out what it is, whatever picture size it claims.

    Raises:
      UserError: FFmpeg finds the stream damaged.
    """
    import av
    from av.error import FFmpegError

    height, width = coded_size(shape)
    context: Any = av.CodecContext.create(_DECODERS[stream.codec], "r")
    # Encoders round the size up to whole blocks.
    limit = (height + 64) * (width + 64)
    context.options = {"err_detect": "explode", "max_pixels": str(limit)} | options
    try:
        for packet in (*context.parse(stream.data), *context.parse(None), None):
            yield from context.decode(packet)
    except FFmpegError as error:
        raise damaged(stream.codec) from error


def _samples(stream: BaseStream, shape: ClipShape) -> Iterator[planes.Planes]:
    for picture in pictures(stream, shape):
        if picture.format.name != "yuv420p":
            raise damaged(stream.codec, f"it holds {picture.format.name} pictures")
        yield tuple(plane_samples(plane) for plane in picture.planes)


def checksum(clip: Clip) -> int:
    """CRC-32 of all samples: frame by frame, in each y, u, v, row after row."""
    crc = 0
    for frame in zip(*clip.planes, strict=True):
        for plane in frame:
            crc = zlib.crc32(np.ascontiguousarray(plane).data, crc)
    return crc


def _require(codec: str) -> None:
    if sentence := libav.missing(ENCODERS[codec]):
        raise UserError(sentence)
