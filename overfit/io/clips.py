"""Short video clips as uint8 arrays, read from what data sets come as.

The samples are those of the file: 4:2:0 stays 4:2:0 and RGB stays RGB, without any conversion.
Only the frames that are asked for are read, one by one.
"""

import contextlib
import itertools
import lzma
import math
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import IO, NamedTuple, cast

import numpy as np

from overfit.errors import UserError
from overfit.io import colour
from overfit.io.clip import Clip, ClipShape
from overfit.io.datasets import CLIPS as EXTENSIONS_OF_CLIPS
from overfit.io.datasets import natural
from overfit.io.images import EXTENSIONS, load_image

_MAX_SIDE = 16384  # px; more in a header means that it is damaged
IN_MEMORY = 1 << 28  # bytes of a clip; the frames of a larger one are kept in a file
_FPS = Fraction(25)  # where a source does not know its own: FFmpeg's choice for image sequences

# Pixel formats of PyAV that are 8-bit RGB in another order.
_RGB_FORMATS = ("rgb24", "bgr24", "gbrp", "rgb0", "bgr0", "0rgb", "0bgr")


def rgb_frames(clip: Clip) -> Iterator[np.ndarray]:
    """uint8 [H, W, 3] of each frame; 4:2:0 ones by BT.709, limited range.

    That is what HD video has, and what a 4:2:0 file does not say.
    """
    for frame in zip(*clip.planes, strict=True):
        yield frame[0] if clip.format == "rgb" else rgb_frame(frame)


def rgb_frame(frame: tuple[np.ndarray, ...]) -> np.ndarray:
    """uint8 [H, W, 3] of y, u, v, as by `rgb_frames`."""
    return colour.yuv420_to_rgb(*frame, matrix=colour.BT709, full_range=False)


def as_rgb(clip: Clip) -> Clip:
    """The clip in RGB, see `rgb_frames`."""
    return clip if clip.format == "rgb" else Clip((gathered(rgb_frames(clip)),), clip.fps)


def gathered(frames: Iterable[np.ndarray]) -> np.ndarray:
    """Frames one after the other: uint8 [T, *shape of a frame], read-only where they are many.

    What is beyond IN_MEMORY goes to a temporary file without a name, which is mapped: whoever works
    patch by patch has in memory what he works on. It lies in $TMPDIR, and ends with the array.

    Raises:
      UserError: there is no room for it.
    """
    frames = iter(frames)
    kept, size = [], 0
    for frame in frames:
        kept.append(frame)
        size += frame.nbytes
        if size > IN_MEMORY:
            return _mapped(itertools.chain(kept, frames))
    return np.stack(kept) if kept else np.empty((0, 0), np.uint8)


def _mapped(frames: Iterable[np.ndarray]) -> np.ndarray:
    count, shape = 0, ()
    with tempfile.TemporaryFile(buffering=0) as file:
        for frame in frames:
            count, shape, data = count + 1, frame.shape, memoryview(frame.tobytes())
            try:
                while data:  # a full disk takes a part first
                    data = data[file.write(data) :]
            except OSError as error:
                raise UserError(
                    f"cannot keep the clip in '{tempfile.gettempdir()}': {error.strerror}; let "
                    "TMPDIR name a folder with more room, or take fewer --frames"
                ) from error
        return np.memmap(file, np.uint8, "r", shape=(count, *shape))


def as_yuv420(clip: Clip) -> Clip:
    """The clip in 4:2:0, by BT.709 and limited range as in `rgb_frames`."""
    if clip.format == "yuv420":
        return clip
    frames = [colour.rgb_to_yuv420(f, colour.BT709, full_range=False) for f in clip.planes[0]]
    return Clip(tuple(np.stack(planes) for planes in zip(*frames, strict=True)), clip.fps)


def is_clip(path: str) -> bool:
    """Whether a path is that of a clip, by its name: a folder, or an extension of clips."""
    return os.path.isdir(path) or path.lower().endswith(EXTENSIONS_OF_CLIPS)


class _Source(NamedTuple):
    """An open file. Each frame is uint8 [samples]: the planes one after the other, flat."""

    format: str
    height: int
    width: int
    fps: Fraction
    frames: Iterator[np.ndarray]

    @property
    def shape(self) -> ClipShape:
        return ClipShape(self.format, 0, self.height, self.width, self.fps)


def load_clip(
    path: str | os.PathLike[str],
    frames: int | None = None,
    size: str | None = None,
    fps: str | None = None,
) -> Clip:
    """Reads a clip, or the first `frames` frames of it.

    Args:
      path: a folder of numbered images (RGB, in natural order of their names; grey ones get three
        equal channels; 25 frames per second), a .y4m file, a raw .yuv file with its size and
        frame rate in its name (`name_416x240_50fps.yuv`; vooya's convention, which most data sets
        follow), either of these compressed by xz, or any video that PyAV decodes to 8-bit 4:2:0
        or RGB.
      size, fps: of a raw file, say "416x240" and "29.97", instead of what its name has.

    Raises:
      UserError: the file cannot be read, is damaged, is not 8-bit 4:2:0 or RGB, or is shorter
        than `frames`; there is no such size or frame rate.
    """
    name = os.fspath(path)
    if frames is not None and frames < 1:
        raise UserError(f"cannot read {frames} frames of '{name}'; ask for at least one")
    with _open(name, _RawName(size, fps)) as source:
        samples = gathered(itertools.islice(source.frames, frames))
    if not len(samples):
        raise UserError(f"'{name}' holds no frames; check how it was made")
    if frames is not None and len(samples) < frames:
        raise UserError(f"'{name}' holds {len(samples)} frames, not {frames}; ask for fewer")
    return Clip(_planes(samples, source.shape), source.fps)


@contextlib.contextmanager
def open_clip(
    path: str | os.PathLike[str],
) -> Iterator[tuple[ClipShape, Iterator[tuple[np.ndarray, ...]]]]:
    """A clip of any length, frame by frame.

    Yields its shape, which says 0 for the frames as nobody has counted them, and an iterator over
    the planes of each frame, as `Clip` has them.

    Raises:
      UserError: as `load_clip`; in the iterator too.
    """
    with _open(os.fspath(path), _RawName(None, None)) as source:
        yield source.shape, (_planes(frame, source.shape) for frame in source.frames)


def has_sound(path: str | os.PathLike[str]) -> bool:
    """Whether a clip that `load_clip` has read has sound as well, which it leaves out."""
    name = os.fspath(path)
    if os.path.isdir(name) or os.path.splitext(name)[1].lower() in (".y4m", ".yuv", ".xz"):
        return False
    import av

    with av.open(name) as container:
        return bool(container.streams.audio)


def _planes(samples: np.ndarray, shape: ClipShape) -> tuple[np.ndarray, ...]:
    """Views of uint8 [..., samples of a frame]: uint8 [..., *shape of the plane] each."""
    ends = np.cumsum([math.prod(plane) for plane in shape.plane_shapes])
    return tuple(
        part.reshape(*samples.shape[:-1], *plane)
        for part, plane in zip(
            np.split(samples, ends[:-1], axis=-1), shape.plane_shapes, strict=True
        )
    )


def clip_of(frames: Iterable[np.ndarray | tuple[np.ndarray, ...]], shape: ClipShape) -> Clip:
    """A clip of decoded frames, kept as by `gathered`: RGB, or y, u, v each. shape: all of it."""
    if shape.format == "rgb":
        return Clip((gathered(cast(Iterable[np.ndarray], frames)),), shape.fps)
    flat = (np.concatenate([plane.reshape(-1) for plane in frame]) for frame in frames)
    return Clip(_planes(gathered(flat), shape), shape.fps)


class _RawName(NamedTuple):
    """What is known of a raw file beside its name."""

    size: str | None
    fps: str | None


@contextlib.contextmanager
def _open(name: str, raw: _RawName) -> Iterator[_Source]:
    """The reader for a file of that name; what goes wrong inside becomes a UserError."""
    plain, packed = os.path.splitext(name)
    packed = packed.lower() == ".xz"
    extension = os.path.splitext(plain if packed else name)[1].lower()
    if any(raw) and extension != ".yuv":
        raise UserError(f"a size and a frame rate are for raw .yuv files, and not for '{name}'")
    try:
        if os.path.isdir(name):
            yield _folder(name)
        elif extension in (".y4m", ".yuv"):
            opened = lzma.open(name) if packed else open(name, "rb")
            with cast(IO[bytes], opened) as file:
                yield _y4m(file, name) if extension == ".y4m" else _raw(file, name, raw)
        elif packed:
            raise UserError(
                f"cannot read '{name}': of the files compressed by xz only .yuv.xz and .y4m.xz are "
                "supported; unpack it first"
            )
        else:
            with _video(name) as source:
                yield source
    except FileNotFoundError as error:
        raise UserError(f"cannot read '{name}': there is no such file; check the path") from error
    except (lzma.LZMAError, EOFError) as error:
        raise UserError(
            f"'{name}' is damaged: its xz data end early or are not valid; fetch it again"
        ) from error
    except OSError as error:
        raise UserError(
            f"cannot read '{name}': {error.strerror or error}; check that it is readable"
        ) from error


# -- A folder of images ----------------------------------------------------------------------------


def frame_files(folder: str) -> list[str]:
    """The frames of a clip that is a folder, in the natural order of their names.

    Raises:
      UserError: it has none.
    """
    files = [
        os.path.join(folder, file)
        for file in sorted(os.listdir(folder), key=natural)
        if file.lower().endswith(EXTENSIONS) and not file.startswith(".")
    ]
    if not files:
        raise UserError(
            f"the folder '{folder}' has no images ({', '.join(EXTENSIONS)}); give a folder "
            "with one image per frame"
        )
    return files


def _folder(name: str) -> _Source:
    files = frame_files(name)
    height, width = load_image(files[0]).shape[:2]

    def frames() -> Iterator[np.ndarray]:
        for file in files:
            image = load_image(file)
            if image.shape[:2] != (height, width):
                raise UserError(
                    f"'{file}' has {image.shape[1]}x{image.shape[0]} px and the first image of its "
                    f"folder {width}x{height}; the frames of a clip need one size"
                )
            yield np.broadcast_to(image, (height, width, 3)).reshape(-1)

    return _Source("rgb", height, width, _FPS, frames())


# -- YUV4MPEG2 and raw 4:2:0 -----------------------------------------------------------------------


def _y4m(file: IO[bytes], name: str) -> _Source:
    """Format: https://wiki.multimedia.cx/index.php/YUV4MPEG2."""
    header = file.readline(1024)
    if not header.startswith(b"YUV4MPEG2 ") or not header.endswith(b"\n"):
        raise UserError(f"'{name}' does not start as a YUV4MPEG2 file; check how it was made")
    tags = {tag[:1]: tag[1:] for tag in header.decode("latin-1").split()[1:]}
    # A missing C means 4:2:0; the variants with 8 bits differ in the place of chroma only.
    chroma = tags.get("C", "420")
    if chroma not in ("420", "420jpeg", "420paldv", "420mpeg2"):
        raise UserError(
            f"'{name}' holds samples of kind C{chroma}, and only 8-bit 4:2:0 is supported; "
            "convert it (ffmpeg -pix_fmt yuv420p)"
        )
    if tags.get("I", "p") not in ("p", "?"):
        raise UserError(f"'{name}' is interlaced, which is not supported; deinterlace it first")
    try:
        height, width = int(tags["H"]), int(tags["W"])
        rate, _, per = tags.get("F", f"{_FPS}:1").partition(":")
        fps = Fraction(int(rate), int(per))
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise UserError(
            f"'{name}' has no valid size and frame rate in its first line; check how it was made"
        ) from error
    _check_geometry(height, width, fps, name)

    def frames() -> Iterator[np.ndarray]:
        while line := file.readline(1024):
            if not line.startswith(b"FRAME") or not line.endswith(b"\n"):
                raise UserError(
                    f"'{name}' is damaged: a frame does not start with FRAME; fetch it again"
                )
            frame = _read_frame(file, height, width, name)
            if frame is None:
                raise _truncated(name)
            yield frame

    return _Source("yuv420", height, width, fps, frames())


def _raw(file: IO[bytes], name: str, known: _RawName) -> _Source:
    """Name convention: https://www.offminor.de/vooya-usage.html."""
    stem = os.path.basename(name)
    if known.size is not None and not re.fullmatch(r"\d+x\d+", known.size):
        raise UserError(f"a size is WxH, say 416x240, not '{known.size}'")
    if known.fps is not None and not re.fullmatch(r"\d+(\.\d+)?", known.fps):
        raise UserError(f"a frame rate is a number, say 50 or 29.97, not '{known.fps}'")
    found = re.search(r"(\d+)x(\d+)", known.size or stem)
    if not found:
        raise UserError(
            f"'{name}' has no size in its name, and a raw file tells it nowhere else; rename it, "
            "say name_416x240_50fps.yuv, or give its size"
        )
    number = r"(\d+(?:\.\d+)?)"
    rate = re.search(number + "(?:fps|hz)", stem, re.IGNORECASE) or re.match(
        f"_(?!420[_.]){number}[_.]", stem[found.end() :] if known.size is None else ""
    )
    if not rate and known.fps is None:
        raise UserError(
            f"'{name}' has no frame rate in its name, and a raw file tells it nowhere else; rename "
            f"it, say name_{found[0]}_50fps.yuv"
        )
    other = re.search(
        r"(?<!\d)(?:9|1[0-6])[-_ ]?bit|[p_]1[0-6][lb]e(?![a-z])|[piv_]4(?:00|22|44)(?![0-9x])",
        stem,
        re.IGNORECASE,
    )
    if other:
        raise UserError(
            f"'{name}' is '{other[0].lstrip('_')}' by its name, and only 8-bit 4:2:0 is supported; "
            "convert it (ffmpeg -pix_fmt yuv420p)"
        )
    fps = _frame_rate(known.fps or (rate[1] if rate else ""))
    height, width = int(found[2]), int(found[1])
    _check_geometry(height, width, fps, name)

    def frames() -> Iterator[np.ndarray]:
        while (frame := _read_frame(file, height, width, name)) is not None:
            yield frame

    return _Source("yuv420", height, width, fps, frames())


def _frame_rate(text: str) -> Fraction:
    """The rate that a name means: 23.976, 29.97 and the like stand for N * 1000 / 1001."""
    fps = Fraction(text)
    ntsc = Fraction(math.ceil(fps) * 1000, 1001)
    return ntsc if fps.denominator != 1 and abs(fps - ntsc) < Fraction(1, 100) else fps


def _check_geometry(height: int, width: int, fps: Fraction, name: str) -> None:
    if not (0 < height <= _MAX_SIDE and 0 < width <= _MAX_SIDE and fps > 0):
        raise UserError(
            f"'{name}' claims {width}x{height} px at {fps} frames per second; check how it was made"
        )


def _read_frame(file: IO[bytes], height: int, width: int, name: str) -> np.ndarray | None:
    """The next 4:2:0 frame, uint8 [samples]; None at the end of the file."""
    size = height * width + 2 * (-(-height // 2) * -(-width // 2))
    data = file.read(size)
    if 0 < len(data) < size:
        raise _truncated(name)
    return np.frombuffer(data, np.uint8) if data else None


def _truncated(name: str) -> UserError:
    return UserError(
        f"'{name}' ends within a frame: it was cut off, or its frames have another size; check it"
    )


# -- Everything else, by PyAV ----------------------------------------------------------------------


@contextlib.contextmanager
def _video(name: str) -> Iterator[_Source]:
    try:
        import av
        from av.error import FFmpegError
    except ImportError as error:
        raise UserError(
            f"reading '{name}' needs PyAV; run: pip install 'overfit[video]'"
        ) from error
    if not os.path.exists(name):  # PyAV would take it for the address of a stream
        raise FileNotFoundError(name)
    try:
        with av.open(name) as container:
            if not container.streams.video:
                raise UserError(f"'{name}' has no video in it; check that it is the right file")
            stream = container.streams.video[0]
            stream.codec_context.options = {"err_detect": "explode"}
            decoded = container.decode(stream)
            first = next(decoded, None)
            if first is None:
                raise UserError(f"'{name}' holds no frames; check how it was made")
            pixels = first.format.name
            if pixels not in (*_RGB_FORMATS, "yuv420p", "yuvj420p"):
                raise UserError(
                    f"'{name}' holds {pixels} pictures, and only 8-bit 4:2:0 and RGB are "
                    "supported; convert it (ffmpeg -pix_fmt yuv420p)"
                )
            form = "rgb" if pixels in _RGB_FORMATS else "yuv420"

            def frames() -> Iterator[np.ndarray]:
                for frame in itertools.chain([first], decoded):
                    if (frame.format.name, frame.width, frame.height) != (
                        (pixels, first.width, first.height)
                    ):
                        raise UserError(
                            f"'{name}' changes its picture size or kind on the way, which is not "
                            "supported; cut it there"
                        )
                    yield _samples(frame, form)

            yield _Source(form, first.height, first.width, stream.average_rate or _FPS, frames())
    except FFmpegError as error:
        raise UserError(
            f"cannot read '{name}': {error.strerror or error}; check that it is a complete video"
        ) from error


def _samples(frame, form: str) -> np.ndarray:
    """uint8 [samples] of a PyAV frame."""
    if form == "rgb":
        return frame.to_ndarray(format="rgb24").reshape(-1)
    return np.concatenate([plane_samples(plane).reshape(-1) for plane in frame.planes])


def plane_samples(plane, dtype: str = "u1") -> np.ndarray:
    """[height, width] of one plane of a PyAV frame, without the padding of its rows."""
    rows = np.frombuffer(plane, dtype).reshape(plane.height, -1)
    return rows[:, : plane.width]
