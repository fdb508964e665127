"""From the .ovf file of a clip back to frames, as many as are asked for. No JAX."""

import collections
import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from overfit import method
from overfit.coding import clip_container
from overfit.errors import UserError
from overfit.io.clip import ClipShape
from overfit.io.patches import Patch, patches, splits_chroma

Planes = tuple[np.ndarray, ...]  # y, u, v
_MISSING = 128  # level of a pixel in a patch that is lost


def opened(file: BinaryIO) -> clip_container.Reader:
    """The reader of a clip; raises UserError where its head is damaged."""
    reader = clip_container.Reader(file)
    head = reader.head
    if head.format == "yuv420" and splits_chroma(head.size, head.patch):
        raise UserError("the head of the file is damaged: a 4:2:0 patch begins between samples")
    return reader


def shape_of(head: clip_container.Head) -> ClipShape:
    """What a file with that head decodes to."""
    return ClipShape(head.format, *head.size, head.fps)


def _bases(head: clip_container.Head) -> Callable[[bytes], Any]:
    """What gives the base that a patch needs, by the bytes that name it; None where these are none.

    It raises UserError where the base is not here.
    """

    @functools.cache
    def base(name: bytes) -> Any:
        if not name:
            return None
        from overfit.bases import library  # only here: most files need none

        return library.needed(name, head.method)

    return base


def decode_frames(
    file: BinaryIO,
    start: int = 0,
    stop: int | None = None,
    lost: Callable[[str], None] | None = None,
) -> Iterator[Any]:
    """Frames start .. stop - 1 of a clip, one by one: uint8 [height, width, 3], or without the 3,
    or y, u, v of a 4:2:0 clip.

    Only the patches that have a part in these frames are read, and of those only what comes before
    the last of the frames is decoded.

    Args:
      file: open for reading, at any position.
      lost: called with a sentence for every patch that is damaged, which is then grey. Without it
        a damaged patch is an error.

    Raises:
      UserError: the head or a patch is damaged, the base of a patch is not here, or the frames are
        not those of a clip.
    """
    reader = opened(file)
    head = reader.head
    stop = head.size[0] if stop is None else stop
    if not 0 <= start < stop <= head.size[0]:
        raise UserError(
            f"there are no frames {start}:{stop} in a clip of {head.size[0]} frames; the first is 0"
        )
    bases = _bases(head)
    numbered = enumerate(patches(head.size, head.patch))
    for first, slab in itertools.groupby(numbered, key=lambda item: item[1].start[0]):
        slab = list(slab)
        end = first + slab[0][1].size[0]
        if first >= stop or end <= start:
            continue
        streams = [(patch, _patch_frames(reader, i, patch, bases, lost)) for i, patch in slab]
        for t in range(first, min(stop, end)):
            parts = [(patch, next(stream)) for patch, stream in streams]
            if t >= start:
                yield _joined(parts, head)


def info(file: BinaryIO) -> dict[str, Any]:
    """What the file of a clip says without decoding its latents; keys of CONTRACT.md.

    The settings are those of the first patch, MACs the mean over pixels; where patches need several
    bases, these have commas between.
    """
    reader = opened(file)
    head = reader.head
    codec = method.load(head.method)
    pixels = math.prod(head.size)
    macs, params, bits, first, needed = 0.0, 0, collections.Counter(), {}, {}
    bases = _bases(head)
    for i, patch in enumerate(patches(head.size, head.patch)):
        coded = reader.patch(i, len(codec.sections))
        sections = coded.sections
        about = codec.describe(sections, bases(coded.base))
        needed |= {coded.base.hex(): None} if coded.base else {}
        first = first or about
        macs += about["macs_per_pixel"] * math.prod(patch.size) / pixels
        params += about["params"]
        bits.update({n: 8 * len(s) for n, s in zip(codec.sections, sections, strict=True)})
    size = file.seek(0, os.SEEK_END)
    payloads = {name: bits[name] for name in ("networks", "latents", "base_stream")}
    return {
        "method": head.method,
        "base": ",".join(needed) or None,
        **first,
        "width": head.size[2],
        "height": head.size[1],
        "frames": head.size[0],
        "fps": float(head.fps),
        "patch": list(head.patch),
        "patches": head.count,
        "format": head.format,
        "macs_per_pixel": macs,
        "params": params,
        "pixels": pixels,
        "bytes": size,
        "bpp": 8 * size / pixels,
        "bits": {"header": 8 * size - sum(payloads.values())} | payloads,
    }


def _patch_frames(
    reader: clip_container.Reader,
    i: int,
    patch: Patch,
    bases: Callable[[bytes], Any],
    lost: Callable[[str], None] | None,
) -> Iterator[np.ndarray | Planes | None]:
    """The frames of a patch; None for each from where it is lost."""
    codec = method.load(reader.head.method)
    shown = 0
    try:
        if codec.frames is None or codec.groups is not None:
            raise UserError(f"method {codec.name} has no clips: the file is damaged")
        coded = reader.patch(i, len(codec.sections))
        for frame in codec.frames(coded.sections, bases(coded.base)):
            form = "yuv420" if isinstance(frame, tuple) else "rgb"
            size = (frame[0] if isinstance(frame, tuple) else frame).shape[:2]
            if form != reader.head.format:
                raise UserError(f"patch {i + 1} has other samples than the clip: it is damaged")
            if size != patch.size[1:] or shown == patch.size[0]:
                raise UserError(f"patch {i + 1} has another size than its place: it is damaged")
            yield frame
            shown += 1
    except UserError as error:
        if lost is None:
            raise
        lost(str(error))
    yield from itertools.repeat(None, patch.size[0] - shown)


def _joined(parts: list[tuple[Patch, Any]], head: clip_container.Head) -> np.ndarray | Planes:
    """A whole frame of its patches, of which those that are None stay grey."""
    known = [(patch.of_planes(head.format), part) for patch, part in parts if part is not None]
    if head.format == "rgb":
        channels = known[0][1].shape[2:] if known else (3,)
        return _plane((*head.size[1:], *channels), [(where[0], part) for where, part in known])
    return tuple(
        _plane(shape, [(where[i], part[i]) for where, part in known])
        for i, shape in enumerate(shape_of(head).plane_shapes)
    )


def _plane(shape: tuple[int, ...], parts: list[tuple[tuple[slice, ...], np.ndarray]]) -> np.ndarray:
    plane = np.full(shape, _MISSING, np.uint8)
    for (_, *where), part in parts:
        plane[tuple(where)] = part
    return plane
