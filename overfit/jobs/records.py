"""What an evaluation has found: its records, and the signals behind them.

A record is one JSON object (one signal, one codec, one setting):

    key         of the job: input, codec, setting
    dataset, name, input (path), crop (px or null), kind ("image" or "video")
    label       name of the curve that it belongs to
    codec       "overfit" or the name of the classical codec
    setting     {knob: value}: what varies along the curve
    width, height, frames, channels, pixels, bytes, bpp
    psnr, mse, ms_ssim          RGB or grey, 8-bit; null where not defined
    psnr_y, psnr_u, psnr_v, psnr_yuv   of 4:2:0 clips
    seconds_encode, seconds_decode, seconds_compile, macs_per_pixel, bits, loss, steps, seed
    file        of the coded signal, relative to the folder
    device, versions
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from overfit.errors import UserError
from overfit.io.clip import Clip, ClipShape
from overfit.io.clips import load_clip
from overfit.io.datasets import Instance


def central_crop(image: np.ndarray, size: int | None) -> np.ndarray:
    """The central size x size part of [H, W, C], or all of it for None.

    Raises:
      UserError: the image is smaller.
    """
    if size is None:
        return image
    top, left = _corner(image.shape[0], image.shape[1], size)
    return np.ascontiguousarray(image[top : top + size, left : left + size])


def central_crop_of_clip(clip: Clip, size: int | None) -> Clip:
    """`central_crop` of every frame; that of a 4:2:0 clip begins at even rows and columns."""
    if size is None:
        return clip
    corner = _corner(clip.height, clip.width, size)
    if clip.format == "yuv420":
        corner = corner[0] - corner[0] % 2, corner[1] - corner[1] % 2
    planes = []
    for i, plane in enumerate(clip.planes):
        half = 2 if i else 1  # of chroma
        top, left = (n // half for n in corner)
        side = -(-size // half)
        planes.append(plane[:, top : top + side, left : left + side])
    return Clip(tuple(planes), clip.fps)


def _corner(height: int, width: int, size: int) -> tuple[int, int]:
    if min(height, width) < size:
        raise UserError(f"a picture of {width}x{height} px has no crop of {size}")
    return (height - size) // 2, (width - size) // 2


def load_signal(instance: Instance, crop: int | None, frames: int | None = None):
    """uint8 [H, W, 3] or [H, W, 1], or a Clip."""
    if instance.kind == "image":
        from overfit.io.images import load_image

        return central_crop(load_image(instance.path), crop)
    return central_crop_of_clip(load_clip(instance.path, frames), crop)


def decode_file(data: bytes, codec: str, shape) -> Any:
    """The signal in a coded file, as the codec named in a record decodes it; shape: `.shape`."""
    if codec == "overfit":
        from overfit.decoding import decode

        decoded = decode(data)
        if isinstance(decoded, Clip):
            return decoded
        if isinstance(shape, ClipShape):
            return Clip((decoded,), shape.fps)
        return np.reshape(decoded, shape)
    from overfit.codecs import codec as codecs

    return codecs.load(codec).decode(data, shape)


def original(record: dict):
    """The signal that was coded: uint8 [H, W, 3] or [H, W, 1], or a Clip.

    Raises:
      UserError: it is not where it was.
    """
    instance = Instance(record["dataset"], record["name"], record["input"], record["kind"])
    return load_signal(instance, record["crop"], record["frames"])


def decoded(record: dict, folder: str | os.PathLike[str]) -> np.ndarray:
    """The picture in the coded file of a record: uint8 [H, W, 3] or [H, W, 1].

    Raises:
      UserError: the file is missing or damaged.
    """
    path = Path(folder) / record["file"]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror}") from error
    shape = (record["height"], record["width"], record["channels"])
    return decode_file(data, record["codec"], shape)


_LONGEST = 120  # file systems take 255 bytes, and extensions and temporary names come on top


def slug(label: str) -> str:
    """A label as the name of a file."""
    name = re.sub(r"[^\w.=-]+", "_", label)
    if len(name.encode()) <= _LONGEST:
        return name
    digest = hashlib.blake2b(label.encode(), digest_size=8).hexdigest()
    return f"{name.encode()[: _LONGEST - 17].decode(errors='ignore')}-{digest}"
