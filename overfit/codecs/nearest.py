"""What would a classical codec give in as many bytes?

Every number is measured: the image is really encoded, its bytes are counted and decoded again.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from overfit.codecs import codec as registry
from overfit.metrics.ms_ssim import ms_ssim
from overfit.metrics.psnr import psnr

FAMILIAR = ("jpeg", "webp")  # need no further package; shown beside every image that is encoded


class Anchor(NamedTuple):
    """One image through one classical codec."""

    codec: str
    bytes: int  # size of the whole file
    psnr: float  # dB, 8-bit; infinite when lossless
    ms_ssim: float | None  # 0..1; None for images too small for it
    value: int  # of the codec's knob


def nearest_size(image: np.ndarray, codec: str, target_bytes: int) -> Anchor:
    """Encodes at the integer value of the knob whose file size is nearest to `target_bytes`.

    Sizes grow along the codec's scale, apart from ripples of a few bytes, so a bisection finds the
    two values around the target; the nearer one is taken (the smaller file of two equally near).
    A target out of the codec's reach gives a file from the end of its scale.

    Args:
      image: uint8 [H, W, 3] or [H, W, 1].
      codec: the name of an image codec, one of `overfit.codecs.codec.names("image")`.
      target_bytes: bytes.

    Raises:
      UserError: there is no such codec, its package is missing, or the image is too large for it.
    """
    chosen = registry.load(codec)
    value, data = _search(lambda value: chosen.encode(image, value), chosen.scale, target_bytes)
    decoded = chosen.decode(data, image.shape)
    return Anchor(codec, len(data), psnr(image, decoded), ms_ssim(image, decoded), value)


def _search(encode: Callable[[int], bytes], scale: range, target_bytes: int) -> tuple[int, bytes]:
    """Returns the value whose file is nearest in size to the target, and that file."""
    files: dict[int, bytes] = {}
    low, high = 0, len(scale) - 1
    while low < high:  # the first value on the scale that reaches the target is in low..high
        middle = (low + high) // 2
        files[middle] = encode(scale[middle])
        if len(files[middle]) < target_bytes:
            low = middle + 1
        else:
            high = middle
    for index in (low - 1, low):
        if index >= 0 and index not in files:
            files[index] = encode(scale[index])
    nearest = min(files, key=lambda i: (abs(len(files[i]) - target_bytes), len(files[i])))
    return scale[nearest], files[nearest]
