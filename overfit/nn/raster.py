"""How a stack of planes lies in one 1-D array so that every neighbor is a constant offset away.

Each plane is stored row after row with `margin` zeros to the right of every row (they serve as the
left margin of the next row, too) and `margin` zero rows above the first. The neighbor (dy, dx) of
the value at index i is then at i + dy * pitch + dx. The frames of a plane that has several follow
each other, `margin` zero rows apart. One loop over equal strips of this array visits all planes,
whatever their number and sizes: one compiled body, and a working set that stays in the cache
(measured on CPU: experiments/bench_fit.py). Accelerators want few and large operations instead: a
strip is as long as its plane there, and no loop is needed.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Shape = tuple[int, ...]  # (rows, columns), or (frames, rows, columns)


class Strips(NamedTuple):
    """Strips of one length, which one loop visits; indices are positions in the 1-D array."""

    starts: np.ndarray  # [strips] int32: index of each strip's first position
    pitches: np.ndarray  # [strips] int32: row pitch of the plane that the strip lies in
    planes: np.ndarray  # [strips] int32: which plane that is
    valid: np.ndarray  # [strips, length] float32: 1 where a position holds a value, 0 in margins


class Raster(NamedTuple):
    """Static layout."""

    shapes: tuple[Shape, ...]  # of each plane
    margin: int  # largest |dy| and |dx| of any neighbor
    size: int  # length of the 1-D array
    begins: tuple[int, ...]  # index of each plane's first value
    loops: tuple[Strips, ...]  # together all planes


@functools.lru_cache(maxsize=64)
def raster(shapes: tuple[Shape, ...], margin: int, strip: int | None) -> Raster:
    """The layout of planes of the given shapes, in strips of `strip` positions.

    Strips never cross from one plane to the next. None: one strip per plane, of the plane's length.
    """
    begins, strips, position = [], [], 0
    for plane, (*frames, rows, columns) in enumerate(shapes):
        pitch = columns + margin
        begin = position + margin * pitch + margin
        height = math.prod(frames) * (rows + margin) - margin  # rows of all frames together
        length = strip or height * pitch
        count = -(-height * pitch // length)
        row, column = np.divmod(np.arange(count * length), pitch)
        valid = (column < columns) & (row % (rows + margin) < rows) & (row < height)
        strips.append(
            Strips(
                begin + length * np.arange(count, dtype=np.int32),
                np.full(count, pitch, np.int32),
                np.full(count, plane, np.int32),
                valid.reshape(count, length).astype(np.float32),
            )
        )
        begins.append(begin)
        # Neighbors below the last row are read by nobody with a causal context, but a full
        # neighborhood (the one of another plane) reaches them.
        position = begin + count * length + margin * pitch + margin
    if strip is not None:
        strips = [Strips(*map(np.concatenate, zip(*strips, strict=True)))]
    return Raster(shapes, margin, position, tuple(begins), tuple(strips))


def to_raster(planes: list[jax.Array], layout: Raster) -> jax.Array:
    """Stores planes in the layout: [layout.size], zero in the margins.

    Planes may have up to `margin` rows and columns more than their shapes: these go into the
    margins below and to the right, for neighbors that lie in that direction only.
    """
    pieces, position = [], 0
    for plane, shape, begin in zip(planes, layout.shapes, layout.begins, strict=True):
        pieces.append(jnp.zeros((begin - position,), plane.dtype))
        margins = [
            (0, n + layout.margin - size)
            for n, size in zip(shape[-2:], plane.shape[-2:], strict=True)
        ]
        padded = jnp.pad(plane, [(0, 0)] * (plane.ndim - 2) + margins).reshape(-1)
        pieces.append(padded)
        position = begin + padded.size
    pieces.append(jnp.zeros((layout.size - position,), planes[0].dtype))
    return jnp.concatenate(pieces)
