"""Classical codecs as anchors: what would JPEG or WebP give in as many bytes?

Every number is measured: the image is really encoded, its bytes are counted and decoded again.
"""

import io
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from overfit.errors import UserError
from overfit.metrics.ms_ssim import ms_ssim
from overfit.metrics.psnr import psnr


class Anchor(NamedTuple):
    """One image through one classical codec."""

    codec: str
    bytes: int  # size of the whole file
    psnr: float  # dB, 8-bit; infinite when lossless
    ms_ssim: float | None  # 0..1; None for images too small for it
    quality: int  # the codec's own scale


class _Codec(NamedTuple):
    """A codec of Pillow with one integer knob that makes larger files when turned up."""

    format: str
    options: Mapping[str, Any]
    qualities: range
    max_side: int  # px; limit of the encoder


_CODECS = {
    # The Huffman tables are optimized, chroma is halved: Pillow's default and common practice.
    "jpeg": _Codec("JPEG", {"optimize": True, "subsampling": "4:2:0"}, range(1, 101), 65500),
    # Method 6 is the slowest and smallest.
    "webp": _Codec("WEBP", {"method": 6}, range(0, 101), 16383),
}
CODECS = tuple(_CODECS)


def nearest_size(image: np.ndarray, codec: str, target_bytes: int) -> Anchor:
    """Encodes at the integer quality whose file size is nearest to `target_bytes`.

    Sizes grow with quality, apart from ripples of a few bytes, so a bisection finds the two
    qualities around the target; the nearer one is taken (the smaller file of two equally near).
    A target out of the codec's reach gives a file from the end of its scale.

    Args:
      image: uint8 [H, W, 3] or [H, W, 1].
      codec: one of `CODECS`.
      target_bytes: bytes.

    Raises:
      UserError: the image is too large for the codec.
    """
    if codec not in _CODECS:
        raise ValueError(f"unknown codec '{codec}'; choose one of {', '.join(CODECS)}")
    setting = _CODECS[codec]
    if max(image.shape[:2]) > setting.max_side:
        raise UserError(
            f"an image of {image.shape[1]} x {image.shape[0]} px is too large for {codec}, which "
            f"ends at {setting.max_side} px a side; compare on a part of it"
        )
    picture = Image.fromarray(image if image.shape[2] == 3 else image[:, :, 0])
    quality, data = _search(
        lambda quality: _encode(picture, setting, quality), setting.qualities, target_bytes
    )
    decoded = _decode(data, picture.mode).reshape(image.shape)
    return Anchor(codec, len(data), psnr(image, decoded), ms_ssim(image, decoded), quality)


def _search(
    encode: Callable[[int], bytes], qualities: range, target_bytes: int
) -> tuple[int, bytes]:
    """Returns the quality whose file is nearest in size to the target, and that file."""
    files: dict[int, bytes] = {}
    low, high = qualities[0], qualities[-1]
    while low < high:  # the lowest quality that reaches the target is in low..high
        middle = (low + high) // 2
        files[middle] = encode(middle)
        if len(files[middle]) < target_bytes:
            low = middle + 1
        else:
            high = middle
    for quality in (low - 1, low):
        if quality in qualities and quality not in files:
            files[quality] = encode(quality)
    return min(files.items(), key=lambda item: (abs(len(item[1]) - target_bytes), len(item[1])))


def _encode(picture: Image.Image, setting: _Codec, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=setting.format, quality=quality, **setting.options)
    return buffer.getvalue()


def _decode(data: bytes, mode: str) -> np.ndarray:
    """uint8 [H, W, 3] or, for mode L, [H, W]; WebP has no grey and gives three equal channels."""
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert(mode))
