"""From the .ovf file of a clip back to frames, as many as are asked for. No JAX."""

import collections
import itertools
import math
import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from overfit import method
from overfit.coding import clip_container
from overfit.errors import UserError
from overfit.io.patches import Patch, patches

_MISSING = 128  # level of a pixel in a patch that is lost


def decode_frames(
    file: BinaryIO,
    start: int = 0,
    stop: int | None = None,
    lost: Callable[[str], None] | None = None,
) -> Iterator[np.ndarray]:
    """Frames start .. stop - 1 of a clip, one by one: uint8 [height, width, 3], or without the 3.

    Only the patches that have a part in these frames are read, and of those only what comes before
    the last of the frames is decoded.

    Args:
      file: open for reading, at any position.
      lost: called with a sentence for every patch that is damaged, which is then grey. Without it
        a damaged patch is an error.

    Raises:
      UserError: the head or a patch is damaged, or the frames are not those of a clip.
    """
    reader = clip_container.Reader(file)
    head = reader.head
    stop = head.size[0] if stop is None else stop
    if not 0 <= start < stop <= head.size[0]:
        raise UserError(
            f"there are no frames {start}:{stop} in a clip of {head.size[0]} frames; the first is 0"
        )
    numbered = enumerate(patches(head.size, head.patch))
    for first, slab in itertools.groupby(numbered, key=lambda item: item[1].start[0]):
        slab = list(slab)
        end = first + slab[0][1].size[0]
        if first >= stop or end <= start:
            continue
        streams = [(patch, _patch_frames(reader, i, patch, lost)) for i, patch in slab]
        for t in range(first, min(stop, end)):
            parts = [(patch, next(stream)) for patch, stream in streams]
            if t >= start:
                yield _joined(parts, head.size[1:])


def info(file: BinaryIO) -> dict[str, Any]:
    """What the file of a clip says without decoding its latents; keys of CONTRACT.md.

    The settings are those of the first patch, MACs the mean over pixels.
    """
    reader = clip_container.Reader(file)
    head = reader.head
    codec = method.load(head.method)
    pixels = math.prod(head.size)
    macs, params, bits, first = 0.0, 0, collections.Counter(), {}
    for i, patch in enumerate(patches(head.size, head.patch)):
        sections = reader.patch(i, len(codec.sections))
        about = codec.describe(sections)
        first = first or about
        macs += about["macs_per_pixel"] * math.prod(patch.size) / pixels
        params += about["params"]
        bits.update({n: 8 * len(s) for n, s in zip(codec.sections, sections, strict=True)})
    size = file.seek(0, os.SEEK_END)
    payloads = {name: bits[name] for name in ("networks", "latents", "base_stream")}
    return {
        "method": head.method,
        "base": None,
        **first,
        "width": head.size[2],
        "height": head.size[1],
        "frames": head.size[0],
        "fps": float(head.fps),
        "patch": list(head.patch),
        "patches": head.count,
        "macs_per_pixel": macs,
        "params": params,
        "pixels": pixels,
        "bytes": size,
        "bpp": 8 * size / pixels,
        "bits": {"header": 8 * size - sum(payloads.values())} | payloads,
    }


def _patch_frames(
    reader: clip_container.Reader, i: int, patch: Patch, lost: Callable[[str], None] | None
) -> Iterator[np.ndarray | None]:
    """The frames of a patch; None for each from where it is lost."""
    codec = method.load(reader.head.method)
    shown = 0
    try:
        if codec.frames is None or codec.groups is not None:
            raise UserError(f"method {codec.name} has no clips: the file is damaged")
        for frame in codec.frames(reader.patch(i, len(codec.sections)), None):
            if frame.shape[:2] != patch.size[1:] or shown == patch.size[0]:
                raise UserError(f"patch {i + 1} has another size than its place: it is damaged")
            yield frame
            shown += 1
    except UserError as error:
        if lost is None:
            raise
        lost(str(error))
    yield from itertools.repeat(None, patch.size[0] - shown)


def _joined(parts: list[tuple[Patch, np.ndarray | None]], size: tuple[int, ...]) -> np.ndarray:
    """A whole frame of its patches."""
    known = [part for _, part in parts if part is not None]
    channels = known[0].shape[2:] if known else (3,)
    frame = np.full((*size, *channels), _MISSING, np.uint8)
    for patch, part in parts:
        if part is not None:
            frame[patch.slices[1:]] = part
    return frame
