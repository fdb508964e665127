"""Video codecs inside PyAV's wheels: x264, x265 and SVT-AV1; and HEVC for single images.

A file is the raw stream without a container: Annex B (.264, .265) or AV1's OBUs (.obu); these are
the smallest that FFmpeg and players open. Encoders write their settings into the stream as text
(some 0.7 kB); this is switched off or taken out, as it would weigh on small pictures.

The same input gives the same bytes whatever the number of cores, with one version of PyAV.
"""

import contextlib
import functools
import io
import itertools
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple, cast

import numpy as np

from overfit.codecs import planes
from overfit.codecs.codec import Codec, damaged
from overfit.errors import UserError
from overfit.io.clip import Clip, ClipShape
from overfit.io.clips import plane_samples

_EXTENSIONS = {"libx264": ".264", "libx265": ".265", "libsvtav1": ".obu"}
_MUXERS = {"libx264": "h264", "libx265": "hevc", "libsvtav1": "obu"}

# What holds for every stream of an encoder.
_FIXED = {
    # With AVX-512, mbtree in PyAV 18.1's x264 reads what it has not written, and at some widths (96
    # and 176 px, say) the bytes change from run to run. The instruction sets agree otherwise.
    "libx264": "asm=SSE42" if platform.machine().lower() in ("x86_64", "amd64") else "",
    # With more frames at a time, rate control depends on their number. Rows in parallel are safe.
    "libx265": "frame-threads=1:info=0:log-level=none",
    "libsvtav1": "lp=1",
}


class Preset(NamedTuple):
    """Settings of an encoder, but for the value of the knob."""

    name: str
    encoder: str  # FFmpeg's name
    preset: str
    tune: str | None
    parameters: str  # of the encoder itself, "key=value:key=value"
    knob: str  # "qp" (constant quantizer) or "crf" (constant rate factor)
    ladder: tuple[float, ...]
    pixels: str = "yuv420p"  # of clips


def missing(encoder: str) -> str | None:
    """None, or how to get PyAV with that encoder."""
    try:
        import av
    except ImportError:
        return "video codecs and hevc-intra need PyAV; run: pip install 'overfit[anchors]'"
    if encoder not in av.codecs_available:
        return f"this PyAV was built without {encoder}; install its wheel: pip install av"
    return None


# -- Streams ---------------------------------------------------------------------------------------


def encode_frames(
    frames: Iterable[planes.Planes],
    size: tuple[int, int],
    fps: Fraction,
    layout: planes.Layout,
    preset: Preset,
    value: float,
    progress: Callable[[int], None] = lambda coded: None,
) -> bytes:
    """The stream of padded frames; size is (height, width) in px, progress gets frames coded."""
    import av
    from av.bitstream import BitStreamFilterContext
    from av.error import FFmpegError

    # SVT-AV1 prints its configuration to stderr unless told otherwise before it starts; 1: errors.
    os.environ.setdefault("SVT_LOG", "1")
    options = _options(preset, value, layout)
    buffer = io.BytesIO()
    try:
        with (
            _usual_priority(),
            av.open(buffer, "w", format=_MUXERS[preset.encoder]) as container,
        ):
            added = container.add_stream(preset.encoder, rate=fps, options=options)
            stream = cast("av.VideoStream", added)
            stream.height, stream.width = size
            stream.pix_fmt = layout.pixels
            # NAL units of type 6 hold nothing but the settings of x264 in these streams.
            text = "filter_units=remove_types=6" if preset.encoder == "libx264" else "null"
            without_text = BitStreamFilterContext(text, stream)
            pictures = (_frame(frame, layout, index) for index, frame in enumerate(frames))
            coded = itertools.count(1)
            for picture in itertools.chain(pictures, [None]):  # None: hand out what is held back
                # One by one, since what is held back can take longer than all before.
                for packet in stream.codec_context.encode_lazy(picture):
                    packet.stream = stream
                    container.mux(without_text.filter(packet))
                    progress(next(coded))
    except FFmpegError as error:
        raise UserError(
            f"{preset.name} cannot encode {size[1]}x{size[0]} px at {fps} frames per second: "
            f"{error.strerror}; compare on a part of it"
        ) from error
    return buffer.getvalue()


@contextlib.contextmanager
def _usual_priority() -> Iterator[None]:
    """Leaves this thread as it was: of root's, SVT-AV1 makes a real-time one.

    All that it does and starts afterwards would go before everything else on the machine, and
    threads that wait for each other, as those of BLAS, could do so for ever.
    """
    if not hasattr(os, "sched_getscheduler"):  # Linux only
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != policy:
            os.sched_setscheduler(0, policy, parameters)


def _options(preset: Preset, value: float, layout: planes.Layout) -> dict[str, str]:
    parameters = [f"{preset.knob}={value:g}", _FIXED[preset.encoder], preset.parameters]
    options = {
        "preset": preset.preset,
        preset.encoder.removeprefix("lib") + "-params": ":".join(filter(None, parameters)),
    }
    if preset.tune:
        options["tune"] = preset.tune
    if layout.matrix:
        options["colorspace"] = layout.matrix.name
    if layout.matrix or layout.full_range:
        options["color_range"] = "pc" if layout.full_range else "tv"
    return options


def _frame(samples: planes.Planes, layout: planes.Layout, index: int):
    import av

    frame = av.VideoFrame(samples[0].shape[1], samples[0].shape[0], layout.pixels)
    for plane, part in zip(frame.planes, samples, strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : part.shape[1]] = part
        plane.update(rows.tobytes())
    frame.pts = index
    return frame


def decode_frames(data: bytes, muxer: str, name: str) -> Iterator[planes.Planes]:
    """The padded frames of a stream, uint8; deeper samples are rounded to 8 bits.

    Raises UserError where FFmpeg finds the stream damaged; a few broken bytes inside a slice of
    HEVC it conceals without a word.
    """
    import av
    from av.error import FFmpegError

    try:
        with av.open(io.BytesIO(data), "r", format=muxer) as container:
            stream = container.streams.video[0]
            stream.codec_context.options = {"err_detect": "explode"}
            for frame in container.decode(stream):
                excess = frame.format.components[0].bits - 8
                yield tuple(_eight_bits(plane, excess) for plane in frame.planes)
    except (FFmpegError, IndexError) as error:
        raise damaged(name) from error


def _eight_bits(plane, excess: int) -> np.ndarray:
    """uint8 [h, w] of a plane whose samples have `excess` bits more than 8."""
    if not excess:
        return plane_samples(plane)
    samples = plane_samples(plane, "<u2")
    return np.minimum((samples + (1 << (excess - 1))) >> excess, 255).astype(np.uint8)


# -- Clips -----------------------------------------------------------------------------------------


def _video(preset: Preset) -> Codec:
    def encode(clip: Clip, value: float) -> bytes:
        layout = planes.clip_layout(preset.pixels, clip.shape, preset.name)
        frames = planes.clip_planes(clip, layout)
        size = layout.padded(clip.height, clip.width)
        return encode_frames(frames, size, clip.fps, layout, preset, value)

    def decode(data: bytes, shape: ClipShape) -> Clip:
        layout = planes.clip_layout(preset.pixels, shape, preset.name)
        frames = decode_frames(data, _MUXERS[preset.encoder], preset.name)
        return planes.planes_clip(frames, shape, layout, preset.name)

    return Codec(
        preset.name,
        "video",
        _EXTENSIONS[preset.encoder],
        preset.knob,
        preset.ladder,
        range(63 if preset.encoder == "libsvtav1" else 51, -1, -1),
        encode,
        decode,
        functools.partial(missing, preset.encoder),
    )


_CRF = (47, 42, 37, 32, 27, 22, 20, 17)  # CompressAI's points on UVG, results/video
_QP = (37, 32, 27, 22)  # Klopp et al., section 4.3; the common test conditions of HEVC and VVC

# Named after what differs from the encoder's defaults. Sources:
#   CompressAI: InterDigitalInc/CompressAI, compressai/utils/video/bench: FFmpeg with -preset medium
#     -tune zerolatency -threads 4 and no B-frames.
#   Klopp et al., "Online-trained Upsampler for Deep Low Complexity Video Compression", ICCV 2021:
#     sections 4.1 (veryslow, tuned for the metric) and 4.3; figure 8 has medium and veryslow in
#     4:4:4 and a fifth point.
#   Yang et al., "Hierarchical Autoregressive Modeling for Neural Video Compression" (STAT-SSF),
#     ICLR 2021, appendix A.1: bframes=0 and a CRF, once from 4:2:0 and once from RGB images, which
#     FFmpeg hands to x265 as RGB. C3's "HEVC (medium, no B-frames)" has the same name.
PRESETS = (
    Preset("x264-medium", "libx264", "medium", None, "threads=1", "crf", _CRF),
    Preset("x264-medium-nobframes", "libx264", "medium", None, "threads=1:bframes=0", "crf", _CRF),
    # With this tune, threads are slices and so a part of the setting.
    Preset("x264-medium-zerolatency", "libx264", "medium", "zerolatency", "threads=4", "crf", _CRF),
    Preset("x265-medium-nobframes", "libx265", "medium", None, "bframes=0", "crf", _CRF),
    Preset(
        "x265-medium-nobframes-rgb", "libx265", "medium", None, "bframes=0", "crf", _CRF, "gbrp"
    ),
    Preset("x265-medium-zerolatency", "libx265", "medium", "zerolatency", "", "crf", _CRF),
    Preset("x265-veryslow", "libx265", "veryslow", "psnr", "", "qp", _QP),
    Preset("x265-veryslow-nobframes", "libx265", "veryslow", "psnr", "bframes=0", "qp", _QP),
    Preset(
        "x265-medium-nobframes-444",
        *("libx265", "medium", "psnr", "bframes=0", "qp", (*_QP, 15), "yuv444p"),
    ),
    Preset(
        "x265-veryslow-nobframes-444",
        *("libx265", "veryslow", "psnr", "bframes=0", "qp", (*_QP, 15), "yuv444p"),
    ),
    # In none of these papers: AV1 at a preset that is still affordable, tuned for PSNR.
    Preset("svtav1-4", "libsvtav1", "4", None, "tune=1", "crf", (63, 55, 47, 39, 31, 23)),
)

# -- Images ----------------------------------------------------------------------------------------

# As BPG does it, so that figures can be set beside published "BPG 4:4:4" ones: x265, one intra
# frame, YCbCr in BT.601 and full range.
INTRA = Preset("hevc-intra", "libx265", "veryslow", "psnr", "", "qp", (47, 42, 37, 32, 27, 22))


def _encode_intra(image: np.ndarray, value: float) -> bytes:
    layout = planes.image_layout(image.shape)
    frames = [planes.image_planes(image, layout)]
    size = layout.padded(*image.shape[:2])
    return encode_frames(frames, size, Fraction(1), layout, INTRA, value)


def _decode_intra(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    layout = planes.image_layout(shape)
    frames = decode_frames(data, _MUXERS[INTRA.encoder], INTRA.name)
    return planes.planes_image(frames, shape, layout, INTRA.name)


CODECS = (
    Codec(
        INTRA.name,
        "image",
        ".hevc",
        INTRA.knob,
        INTRA.ladder,
        range(51, -1, -1),
        _encode_intra,
        _decode_intra,
        functools.partial(missing, INTRA.encoder),
    ),
    *(_video(preset) for preset in PRESETS),
)
