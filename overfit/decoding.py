"""From the bytes of an .ovf file back to a signal, and what a file says of itself. No JAX."""

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from overfit import clip_decoding, method
from overfit.coding import clip_container, container
from overfit.io.clip import ClipShape

_PAYLOADS = ("networks", "latents", "base_stream")


def open_sections(data: bytes) -> tuple[method.Method, list[bytes]]:
    """The file's method and sections. Raises UserError for damaged data."""
    codec = method.load(container.method_of(data))
    return codec, container.unpack(data, len(codec.sections))


def base_of(data: bytes) -> Any:
    """The base (`bases.base.Base`) that a file was made with, None for none.

    Raises:
      UserError: it is not here, or belongs to another method.
    """
    prefix = container.base_of(data)
    if not prefix:
        return None
    from overfit.bases import library  # only here: most files need none

    return library.needed(prefix, container.method_of(data))


def decode(data: bytes) -> Any:
    """uint8 [height, width, 3], or [height, width] for grey; a clip has the frames before these.

    One of 4:2:0 samples is an `io.clip.Clip`.

    Raises UserError for anything but an intact .ovf file.
    """
    if clip_container.is_clip(data):
        head = clip_decoding.opened(io.BytesIO(data)).head
        frames = clip_decoding.decode_frames(io.BytesIO(data))
        if head.format == "rgb":
            return np.stack(list(frames))
        from overfit.io.clips import clip_of

        return clip_of(frames, clip_decoding.shape_of(head))
    codec, sections = open_sections(data)
    base = base_of(data)
    return codec.reconstruct(codec.read(sections, base), base)


def planes(data: bytes) -> tuple[ClipShape, Iterator[tuple[np.ndarray, ...]]]:
    """The shape of a clip that is not in patches, and the planes of each frame."""
    codec, sections = open_sections(data)
    base = base_of(data)
    about = codec.describe(sections, base)
    fps = Fraction(about["fps"]).limit_denominator(1 << 16)
    form = "rgb" if codec.groups is None else "yuv420"
    shape = ClipShape(form, about["frames"], about["height"], about["width"], fps)
    assert codec.frames is not None
    return shape, codec.frames(sections, base)


def info(data: bytes) -> dict[str, Any]:
    """What the file says without decoding its latents; the keys are those of CONTRACT.md."""
    if clip_container.is_clip(data):
        return clip_decoding.info(io.BytesIO(data))
    codec, sections = open_sections(data)
    about = codec.describe(sections, base_of(data))
    pixels = about["width"] * about["height"] * about["frames"]
    return {
        "method": codec.name,
        "base": container.base_of(data).hex() or None,
        **about,
        "pixels": pixels,
        "bytes": len(data),
        "bpp": 8 * len(data) / pixels,
        "bits": _bits(data, dict(zip(codec.sections, sections, strict=True))),
    }


def _bits(data: bytes, sections: dict[str, bytes]) -> dict[str, int]:
    """Bits of the file by purpose; "header" is all that is no payload."""
    payloads = {name: 8 * len(sections.get(name, b"")) for name in _PAYLOADS}
    return {"header": 8 * len(data) - sum(payloads.values())} | payloads
