"""Compression by overfitting a small model to each image or video.

>>> import overfit
>>> data = overfit.encode(image, preset="c3-kodak", lmbda=1e-3, steps=2000)  # doctest: +SKIP
>>> image = overfit.decode(data)  # doctest: +SKIP

Importing this package imports no JAX, and decoding needs none.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from overfit.errors import UserError

__all__ = ["UserError", "decode", "encode", "info"]
__version__ = "0.1.0"


def encode(
    images: np.ndarray | list[np.ndarray],
    *,
    method: str = "c3",
    preset: str | None = None,
    lmbda: float = 1e-3,
    target_bpp: float | None = None,
    target_psnr: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    set: dict[str, Any] | None = None,
    base: str | None = "auto",
    patch: tuple[int, int, int] | None = None,
    fps: float = 25,
    qp: int | None = None,
    checkpoint: str | None = None,
    progress: Callable | None = None,
) -> bytes | list[bytes]:
    """Encodes an image or a clip to the bytes of an .ovf file, or a list of them to a list.

    Args:
      images: uint8 [H, W, 3] or [H, W], clips [T, H, W, 3]; those of a list that have equal shapes
        are fitted together. An `overfit.io.clip.Clip` may have 4:2:0 planes, for method "upsampler"
        or with `set={"samples.format": "yuv420"}`.
      lmbda: weight of the rate, in squared error (signal in [0, 1]) per bit per pixel.
      target_bpp, target_psnr: searches lmbda for this size (bits per pixel) or quality (dB).
      base: name, file or identity of a base to start from, which the decoder needs as well, or
        several with commas between, of which the best is taken; "auto" is the one shipped with this
        package for these networks, if any; "none" starts from random networks.
      patch: (frames, rows, columns) of the parts that a clip is fitted in; by default C3's rule.
      fps: frames per second of a clip.
      qp: of a method over a classical codec, instead of lmbda.
      steps: length of stage 1, by default 1000, 500 with preset "fast", and what the paper takes
        with method "upsampler"; stage 2 takes a tenth more.
      set: {dotted path: value} overrides of the preset's configuration.
      checkpoint: folder in which an interrupted run is found and continued.
      progress: called with an `overfit.fitting.run.Progress` about once a second.

    Raises:
      UserError: bad images or options.
    """
    from overfit.fitting.encode import encode, forget
    from overfit.fitting.groups import Options, Request, steps_for
    from overfit.fitting.target import checked_target
    from overfit.io.clip import Clip

    target = checked_target(target_bpp, target_psnr)
    options = Options(
        method, preset, lmbda, steps_for(steps, method, preset, set), seed, set or {}, target, base,
        patch, checkpoint, qp,
    )  # fmt: skip
    many = isinstance(images, list | tuple) and not isinstance(images, Clip)
    rate = Fraction(fps).limit_denominator(1001)
    signals: list[Any] = list(images) if many else [images]
    requests = [Request(_as_clip(signal, rate), options) for signal in signals]
    encoded = encode(requests, progress)
    for request in requests:
        forget(request)
    return [result.data for result in encoded] if many else encoded[0].data


def _as_clip(signal, fps: Fraction):
    """A clip of frames [T, H, W, 3]; images and clips stay what they are."""
    from overfit.io.clip import Clip

    return Clip((signal,), fps) if isinstance(signal, np.ndarray) and signal.ndim == 4 else signal


def decode(data: bytes) -> Any:
    """Decodes an .ovf file to uint8 [H, W, 3], or [H, W] for grey; a clip to [T, H, W, 3].

    One of 4:2:0 samples is an `overfit.io.clip.Clip`.

    Raises:
      UserError: the data are damaged or no .ovf file.
    """
    from overfit import decoding

    return decoding.decode(data)


def info(data: bytes) -> dict[str, Any]:
    """What an .ovf file says of itself, without decoding it; raises UserError like `decode`."""
    from overfit import decoding

    return decoding.info(data)
