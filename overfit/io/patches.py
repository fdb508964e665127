"""Clips cut into patches of frames, rows and columns that are coded apart (C3, 3.3)."""

import itertools
from typing import NamedTuple

from overfit.errors import UserError
from overfit.io.clip import Clip

Size = tuple[int, int, int]  # frames, rows, columns

# The larger the price of a bit, the larger the patches that code best: C3's rule for UVG (A.4).
_RULE = ((1e-3, (75, 270, 320)), (2e-4, (60, 180, 240)))
_SMALLEST = (30, 180, 240)


class Patch(NamedTuple):
    """A box of a clip."""

    start: Size
    size: Size

    @property
    def slices(self) -> tuple[slice, ...]:
        """Of an array whose first axes are frames, rows and columns."""
        return tuple(slice(a, a + n) for a, n in zip(self.start, self.size, strict=True))

    def of_planes(self, form: str) -> tuple[tuple[slice, ...], ...]:
        """`slices` of each plane of a clip, "rgb" or "yuv420"."""
        if form == "rgb":
            return (self.slices,)
        ends = [a + n for a, n in zip(self.start, self.size, strict=True)]
        chroma = [slice(a // 2, -(-b // 2)) for a, b in zip(self.start[1:], ends[1:], strict=True)]
        return self.slices, *2 * ((self.slices[0], *chroma),)

    @property
    def label(self) -> str:
        """Where it is, for names: +T+Y+X."""
        return "".join(f"+{n}" for n in self.start)


def size_for(lmbda: float) -> Size:
    """The paper's size of patches at a lambda."""
    return next((size for least, size in _RULE if lmbda > least), _SMALLEST)


def parse_size(text: str) -> Size:
    """ "T,H,W" as numbers; raises UserError for anything else."""
    try:
        frames, rows, columns = (int(part) for part in text.split(","))
    except ValueError:
        frames = rows = columns = 0
    if min(frames, rows, columns) < 1:
        raise UserError(
            f"a patch is frames,rows,columns, all at least 1, say 60,180,240, not '{text}'"
        )
    return frames, rows, columns


def splits_chroma(clip: Size, size: Size) -> bool:
    """Whether patches of that size would begin between two samples of 4:2:0 chroma."""
    return any(part % 2 and part < n for n, part in zip(clip[1:], size[1:], strict=True))


def patches(clip: Size, size: Size) -> list[Patch]:
    """The patches that cover a clip: in time first, then row by row; smaller ones at the far ends.

    A slab, all patches of the same frames, is contiguous in the list.
    """
    cuts = (
        [(a, min(step, n - a)) for a in range(0, n, step)]
        for n, step in zip(clip, size, strict=True)
    )
    return [
        Patch((t, y, x), (frames, rows, columns))
        for (t, frames), (y, rows), (x, columns) in itertools.product(*cuts)
    ]


def cut(clip: Clip, patch: Patch) -> Clip:
    """A patch as a clip: views, nothing is copied."""
    slices = patch.of_planes(clip.format)
    planes = tuple(plane[where] for plane, where in zip(clip.planes, slices, strict=True))
    return clip._replace(planes=planes)
