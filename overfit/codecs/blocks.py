"""Prediction blocks of a coded picture: where they lie, how they move, and both as planes.

A codec cuts each picture into rectangles that share their motion. A picture's blocks are a
structured array of `BLOCK`, in any order; they cover the picture without overlap, and all their
sides and corners are multiples of 4 px.
"""

import numpy as np

UNIT = 4  # px; the grid on which blocks begin and end
BLOCK = np.dtype(
    [
        ("x", "<u2"),  # px, left and top edge
        ("y", "<u2"),
        ("width", "u1"),  # px
        ("height", "u1"),
        ("uses", "?", 2),  # whether list 0 and list 1 predict the block; neither: intra
        ("vectors", "<i2", (2, 2)),  # per list (x, y), quarter px; 0 where the list is not used
    ]
)
CHANNELS = 6  # of `features`
QUARTER = 4  # vectors per px


def block_map(blocks: np.ndarray, height: int, width: int) -> np.ndarray | None:
    """Index of the block that covers each 4x4 px: int64 [ceil(height / 4), ceil(width / 4)].

    None unless the blocks cover the whole picture once. They may reach beyond its edges, as those
    of a picture that was coded with padding do.
    """
    x, y, columns, rows = (
        blocks[name].astype(np.int64) // UNIT for name in ("x", "y", "width", "height")
    )
    # One entry for every unit of every block: the first is at the block's corner, and so on.
    sizes = rows * columns
    block = np.repeat(np.arange(len(blocks)), sizes)
    place = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    row, column = y[block] + place // columns[block], x[block] + place % columns[block]
    shape = (-(-height // UNIT), -(-width // UNIT))
    inside = (row < shape[0]) & (column < shape[1])
    found = np.full(shape, -1)
    found[row[inside], column[inside]] = block[inside]
    covered_once = inside.sum() == found.size and (found >= 0).all()
    return found if covered_once else None


def features(blocks: np.ndarray, height: int, width: int) -> np.ndarray:
    """What the blocks tell about every second pixel of every second row.

    Klopp et al. (ICCV 2021), section 3.3: the block's vectors in px (list 0 x, y; list 1 x, y; 0
    where there is none) and the place within the block (vertical, horizontal), -1 on its first and
    1 on its last row or column. Equation 3 divides by K - 2, but figure 4, which is followed here,
    by K - 1.

    Returns:
      float16 [6, ceil(height / 2), ceil(width / 2)]: vectors up to 512 px are exact.
    """
    found = block_map(blocks, height, width)
    if found is None:
        raise ValueError("the blocks do not cover the picture once")
    rows, columns = -(-height // 2), -(-width // 2)
    per_unit = UNIT // 2
    block = found.repeat(per_unit, axis=0).repeat(per_unit, axis=1)[:rows, :columns]
    planes = np.empty((CHANNELS, rows, columns), np.float16)
    planes[:4] = np.moveaxis(blocks["vectors"].reshape(-1, 4)[block], -1, 0) / QUARTER
    y, x = np.mgrid[: 2 * rows : 2, : 2 * columns : 2]
    planes[4] = _relative(y - blocks["y"].astype(np.int64)[block], blocks["height"][block])
    planes[5] = _relative(x - blocks["x"].astype(np.int64)[block], blocks["width"][block])
    return planes


def _relative(place: np.ndarray, size: np.ndarray) -> np.ndarray:
    return -1 + 2 * place / (size.astype(np.float64) - 1)
