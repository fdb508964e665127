"""Clips written without loss: .y4m, raw .yuv and folders of PNG frames, whole or not at all.

What `clips.load_clip` reads back is the same clip, but for 4:2:0 ones in folders, which become RGB
(BT.709, limited range: what HD video has, and what a 4:2:0 file does not say).
"""

import os
from collections.abc import Iterable

import numpy as np

from overfit.errors import UserError
from overfit.io.atomic import atomic_folder, atomic_write, check_folder_output
from overfit.io.clip import Clip, ClipShape
from overfit.io.clips import rgb_frame, rgb_frames
from overfit.io.images import save_image

_PLANAR = (".y4m", ".yuv")  # hold 4:2:0 samples as they are
_FORMATS = "a .y4m file, a raw .yuv file, or a folder for PNG frames (a name without extension)"


def check_clip_output(path: str | os.PathLike[str], form: str) -> None:
    """Raises UserError unless `save_clip` writes clips of that format to such a path.

    For use before a long computation whose result is to be saved there.

    Args:
      form: "yuv420" or "rgb".
    """
    name = os.fspath(path)
    extension = os.path.splitext(name.rstrip(os.sep))[1].lower()
    if extension in _PLANAR:
        if form != "yuv420":
            raise UserError(
                f"cannot write '{name}': {extension} holds 4:2:0 clips only, and this one is RGB; "
                "give the name of a folder"
            )
    elif extension:
        raise UserError(f"cannot write '{name}': clips are written to {_FORMATS}")
    else:
        check_folder_output(name)


def save_clip(path: str | os.PathLike[str], clip: Clip) -> None:
    """Writes a clip in the format that the extension names.

    A .yuv file says nothing of its size and frame rate: have both in its name, as in
    `name_416x240_50fps.yuv`, to read it again.

    Raises:
      UserError: `path` cannot be written, names no known format, or one that cannot hold the clip.
    """
    check_clip_output(path, clip.format)
    if clip.format == "rgb":
        save_frames(path, rgb_frames(clip))
    else:
        save_planes(path, clip.shape, zip(*clip.planes, strict=True))


def save_planes(
    path: str | os.PathLike[str], shape: ClipShape, frames: Iterable[tuple[np.ndarray, ...]]
) -> None:
    """Writes y, u, v, or RGB, of the frames of a clip as they come, like `save_clip`.

    Raises:
      UserError: as there; what raises in `frames` leaves nothing behind, either.
    """
    check_clip_output(path, shape.format)
    name = os.fspath(path)
    extension = os.path.splitext(name.rstrip(os.sep))[1].lower()
    if extension not in _PLANAR:
        rgb = (frame[0] if shape.format == "rgb" else rgb_frame(frame) for frame in frames)
        save_frames(name, rgb)
        return
    with atomic_write(name) as file:
        if extension == ".y4m":
            file.write(_y4m_header(shape))
        for frame in frames:
            if extension == ".y4m":
                file.write(b"FRAME\n")
            for plane in frame:
                file.write(np.ascontiguousarray(plane).data)


def _y4m_header(shape: ClipShape) -> bytes:
    """Chroma lies where H.264 and HEVC have it unless they say otherwise (see colour.py)."""
    rate = f"{shape.fps.numerator}:{shape.fps.denominator}"
    return f"YUV4MPEG2 W{shape.width} H{shape.height} F{rate} Ip A1:1 C420mpeg2\n".encode()


def save_frames(path: str | os.PathLike[str], frames: Iterable[np.ndarray]) -> None:
    """Writes RGB or grey frames, as they come, to a folder of PNG files.

    Raises:
      UserError: `path` cannot be written; what raises in `frames` leaves no folder either.
    """
    with atomic_folder(os.fspath(path)) as folder:
        for index, frame in enumerate(frames):
            frame = frame if frame.ndim == 3 else frame[..., None]
            save_image(os.path.join(folder, f"{index:05d}.png"), frame)
