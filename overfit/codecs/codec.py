"""What a classical codec is, and the registry of those that serve as anchors, by name.

Every figure comes from a whole file that is decoded again, so that nothing rests on an encoder's
own account of its rate.
"""

import difflib
import functools
import importlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from overfit.errors import UserError

_CHANNELS = ((), (1,), (3,))  # what may follow [H, W] in the shape of an image
_MODULES = ("pillow_codecs", "libav", "vvenc")  # each defines CODECS


class Codec(NamedTuple):
    """One setting of one encoder, with one knob.

    encode(signal, value) -> bytes: a whole file; the same bytes for the same input, whatever the
        number of cores.
    decode(bytes, shape) -> signal, where shape is `signal.shape`; raises UserError for a damaged
        file, as far as its decoder notices: most formats carry no checksum.
    missing() -> None, or one sentence that names the package to install.

    An image is uint8 [H, W, 3] (RGB), [H, W, 1] or [H, W] (grey); a clip is a `Clip` of
    `overfit.io.clips`.
    """

    name: str
    kind: str  # "image" or "video"
    extension: str  # ".jpg"
    knob: str  # "quality", "qp", "crf" or "ratio" (uncompressed to compressed bytes)
    ladder: tuple[float, ...]  # values of the knob from small files to large ones
    scale: range  # integer values of the knob that are possible, from small files to large ones
    encode: Callable
    decode: Callable
    missing: Callable[[], str | None]


def names(kind: str | None = None) -> tuple[str, ...]:
    """The codecs of that kind ("image" or "video"), or all."""
    return tuple(name for name, codec in _codecs().items() if kind in (None, codec.kind))


def load(name: str) -> Codec:
    """The codec of that name, whether its package is there or not.

    Its `encode` and `decode` raise UserError when the package is missing, and `encode` also for
    a value off the scale of the knob.

    Raises:
      UserError: there is no such codec.

    >>> load("jpeg").knob
    'quality'
    """
    codecs = _codecs()
    if name not in codecs:
        near = difflib.get_close_matches(name, codecs, n=3, cutoff=0.4) or codecs
        raise UserError(f"there is no codec '{name}'; choose one of {', '.join(near)}")
    return codecs[name]


@functools.cache
def _codecs() -> dict[str, Codec]:
    modules = (importlib.import_module(f"overfit.codecs.{module}") for module in _MODULES)
    return {codec.name: _checked(codec) for module in modules for codec in module.CODECS}


def _checked(codec: Codec) -> Codec:
    """The codec with the checks that all of them need before they run."""
    low, high = sorted((codec.scale[0], codec.scale[-1]))

    def encode(signal, value: float) -> bytes:
        _require(codec)
        if codec.kind == "image":
            _check_image(signal)
        if not low <= value <= high:
            raise UserError(f"{codec.name} has a {codec.knob} from {low} to {high}, not {value}")
        return codec.encode(signal, value)

    def decode(data: bytes, shape):
        _require(codec)
        return codec.decode(data, shape)

    return codec._replace(encode=encode, decode=decode)


def _check_image(image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in _CHANNELS:
        raise ValueError(f"expected uint8 RGB or grey, got {image.dtype} {image.shape}")


def _require(codec: Codec) -> None:
    if sentence := codec.missing():
        raise UserError(sentence)


def damaged(name: str, reason: str = "it cannot be decoded to its end") -> UserError:
    """The error of a decoder for bytes that are not a file of the expected picture or clip."""
    return UserError(f"the {name} file is damaged: {reason}; encode it again")
