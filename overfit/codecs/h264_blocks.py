"""The prediction blocks of H.264 streams, as FFmpeg exports them.

The stand-in where HEVC blocks cannot be read. Blocks below 8x8 px are reported as 8x8 ones with the
first one's vectors.
"""

from collections.abc import Iterator

import numpy as np

from overfit.codecs import base_stream
from overfit.codecs.base_stream import BaseStream
from overfit.codecs.blocks import BLOCK, QUARTER, block_map
from overfit.codecs.codec import damaged
from overfit.io.clip import ClipShape

_MACROBLOCK = 16  # px


def read(stream: BaseStream, shape: ClipShape) -> Iterator[np.ndarray]:
    """The blocks of each frame, [n] of `BLOCK`, in the order in which frames are shown.

    Raises:
      UserError: the stream is damaged or not of this shape.
    """
    size = base_stream.coded_size(shape)
    for picture in base_stream.pictures(stream, shape, flags2="+export_mvs"):
        exported = picture.side_data.get("MOTION_VECTORS")
        rows = np.empty(0, _EXPORTED) if exported is None else exported.to_ndarray()
        blocks = _blocks(rows, *size)
        if block_map(blocks, shape.height, shape.width) is None:
            raise damaged(stream.codec, "its blocks do not cover a frame")
        yield blocks


_EXPORTED = np.dtype(
    [
        *(("source", "i4"), ("w", "u1"), ("h", "u1"), ("dst_x", "i2"), ("dst_y", "i2")),
        *(("motion_x", "i4"), ("motion_y", "i4"), ("motion_scale", "u2")),
    ]
)  # AVMotionVector: those of its fields that are used here


def _blocks(rows: np.ndarray, height: int, width: int) -> np.ndarray:
    """One block from the one or two rows (one per list) of each; the rest is intra macroblocks."""
    corners = np.stack(
        [rows["dst_x"] - rows["w"] // 2, rows["dst_y"] - rows["h"] // 2, rows["w"], rows["h"]], -1
    )
    places, which = np.unique(corners.reshape(-1, 4), axis=0, return_inverse=True)
    inter = _at(places)
    second = (rows["source"] > 0).astype(np.int64)  # list 1 comes from later frames
    scale = np.maximum(rows["motion_scale"], 1)
    inter["uses"][which, second] = True
    for axis, name in enumerate(("motion_x", "motion_y")):
        inter["vectors"][which, second, axis] = rows[name] * QUARTER // scale
    return np.concatenate([inter, _uncovered(inter, height, width)])


def _at(places: np.ndarray) -> np.ndarray:
    """Blocks without motion at (x, y, width, height) px each."""
    blocks = np.zeros(len(places), BLOCK)
    for name, values in zip(("x", "y", "width", "height"), places.T, strict=True):
        blocks[name] = values
    return blocks


def _uncovered(blocks: np.ndarray, height: int, width: int) -> np.ndarray:
    """Macroblocks where no block begins: intra."""
    shape = (-(-height // _MACROBLOCK), -(-width // _MACROBLOCK))
    free = np.ones(shape, bool)
    free[blocks["y"] // _MACROBLOCK, blocks["x"] // _MACROBLOCK] = False
    y, x = np.nonzero(free)
    size = np.full_like(x, _MACROBLOCK)
    return _at(np.stack([_MACROBLOCK * x, _MACROBLOCK * y, size, size], -1))
