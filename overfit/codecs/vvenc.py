"""VVC by Fraunhofer's VVenC, through the FFmpeg program of imageio-ffmpeg; decoded by PyAV.

VVenC takes 10-bit 4:2:0 only, so that 8-bit samples are multiplied by 4, and divided with rounding
after decoding. The file is a raw Annex B stream (.266).
"""

import subprocess
from collections.abc import Iterator

from overfit.codecs import libav, planes
from overfit.codecs.codec import Codec
from overfit.errors import UserError
from overfit.io.clip import Clip, ClipShape

_NAME = "vvenc-medium"


def _missing() -> str | None:
    try:
        import imageio_ffmpeg  # pyright: ignore[reportMissingImports]

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):  # the second: there is no program for this platform
        return "VVenC needs imageio-ffmpeg; run: pip install 'overfit[anchors]'"
    return libav.missing("vvc")  # its decoder


def _encode(clip: Clip, value: float) -> bytes:
    import imageio_ffmpeg  # pyright: ignore[reportMissingImports]

    layout = planes.clip_layout("yuv420p", clip.shape, _NAME)
    height, width = layout.padded(clip.height, clip.width)
    # A label on the frames: given as options of the output, FFmpeg would convert to them.
    label = ["-vf", f"setparams=colorspace={layout.matrix.name}:range=tv"] if layout.matrix else []
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"),
        *("-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-s", f"{width}x{height}"),
        *("-r", str(clip.fps), "-i", "-"),
        # qpa off: for PSNR, not for perceived quality. The stream depends on the threads.
        *("-c:v", "libvvenc", "-preset", "medium", "-qp", f"{value:g}", "-qpa", "0"),
        *("-threads", "1", *label, "-f", "vvc", "-"),
    ]
    raw = b"".join(_ten_bits(planes.clip_planes(clip, layout)))
    done = subprocess.run(command, input=raw, capture_output=True)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip() or "it gives no reason"
        raise UserError(f"VVenC failed: {reason.splitlines()[0]}; check the size of the clip")
    return done.stdout


def _ten_bits(frames: Iterator[planes.Planes]) -> Iterator[bytes]:
    for frame in frames:
        for plane in frame:
            yield (plane.astype("<u2") << 2).tobytes()


def _decode(data: bytes, shape: ClipShape) -> Clip:
    layout = planes.clip_layout("yuv420p", shape, _NAME)
    return planes.planes_clip(libav.decode_frames(data, "vvc", _NAME), shape, layout, _NAME)


# The common test conditions' four points (JVET-T2010), random access.
CODECS = (
    Codec(
        _NAME,
        "video",
        ".266",
        "qp",
        (37, 32, 27, 22),
        range(63, -1, -1),
        _encode,
        _decode,
        _missing,
    ),
)
