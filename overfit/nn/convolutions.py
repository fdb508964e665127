"""Convolutions between many channels: neighbors gathered once, then one product with the weights.

The functions take NumPy and JAX arrays alike, so that the float networks of a fit, those of the
decoder and their exact integer twins are wired by the same code. Arrays are [channels, rows,
columns]; beyond the edges there are zeros. Weights are [out, taps * in], the taps outermost.
"""

import numpy as np

Offsets = tuple[tuple[int, int], ...]  # (dy, dx) of each tap


def square(width: int) -> Offsets:
    """All taps of a width x width kernel around the position, row by row."""
    reach = width // 2
    return tuple((dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1))


def before(width: int) -> Offsets:
    """Those of them that precede the position in raster order (mask A of PixelCNN)."""
    return tuple(tap for tap in square(width) if tap < (0, 0))


def alternate(width: int) -> Offsets:
    """Those of the other color, if positions are the squares of a checkerboard."""
    return tuple((dy, dx) for dy, dx in square(width) if (dy + dx) % 2)


def gather(x, offsets: Offsets):
    """[channels, rows, columns] -> [taps * channels, rows * columns]: the neighbors of each."""
    xp = x.__array_namespace__()
    channels, rows, columns = x.shape
    reach = max((max(abs(dy), abs(dx)) for dy, dx in offsets), default=0)
    x = xp.pad(x, ((0, 0), (reach, reach), (reach, reach)))
    if offsets == square(2 * reach + 1):  # along the columns, then the rows: XLA has less to do
        width = 2 * reach + 1
        x = xp.concatenate([x[:, :, dx : dx + columns] for dx in range(width)])
        taps = [x[:, dy : dy + rows] for dy in range(width)]
        return xp.concatenate(taps).reshape(len(offsets) * channels, rows * columns)
    taps = [
        x[:, reach + dy : reach + dy + rows, reach + dx : reach + dx + columns]
        for dy, dx in offsets
    ]
    return xp.concatenate(taps).reshape(len(offsets) * channels, rows * columns)


def gather_down(x, width: int):
    """Likewise for the even rows and columns: [width^2 * channels, rows / 2 * columns / 2].

    Rows and columns must be even. The four phases of the plane are cut out once, so that every tap
    is a contiguous slice.
    """
    xp = x.__array_namespace__()
    channels, rows, columns = x.shape
    reach = width // 2
    around = reach + reach % 2  # even, so that phases stay what they are
    x = xp.pad(x, ((0, 0), (around, around), (around, around)))
    x = x.reshape(channels, rows // 2 + around, 2, columns // 2 + around, 2)
    x = x.transpose(2, 4, 0, 1, 3)  # (2, 2, channels, ..)
    across = []
    for dx in range(around - reach, around + reach + 1):
        across.append(x[:, dx % 2, :, :, dx // 2 : dx // 2 + columns // 2])
    x = xp.concatenate(across, axis=1)  # (2, width * channels, ..)
    taps = []
    for dy in range(around - reach, around + reach + 1):
        taps.append(x[dy % 2, :, dy // 2 : dy // 2 + rows // 2])
    return xp.concatenate(taps).reshape(width**2 * channels, rows // 2 * (columns // 2))


# A 5x5 transposed convolution of stride 2 (padding 2, output padding 1) gives output 2i + p from
# inputs i - 1 .. i + 1: input i + d lies under kernel tap p + 2 - 2d, where there is such a tap.
def _up_taps() -> np.ndarray:
    """int [4 phases, 9 neighbors]: the kernel tap that a phase sees a neighbor through; 25: none"""
    table = []
    for p in range(2):
        for q in range(2):
            taps = [(p + 2 - 2 * dy, q + 2 - 2 * dx) for dy, dx in square(3)]
            table.append([5 * u + v if 0 <= u < 5 and 0 <= v < 5 else 25 for u, v in taps])
    return np.asarray(table)


_UP_TAPS = _up_taps()


def up_kernel(w):
    """[out, 25 * in] of a transposed convolution -> [4 * out, 9 * in] of a plain 3x3 one."""
    xp = w.__array_namespace__()
    out, channels = w.shape[0], w.shape[1] // 25
    w = xp.concatenate(
        [w.reshape(out, 25, channels), xp.zeros((out, 1, channels), w.dtype)], axis=1
    )
    return w[:, _UP_TAPS].transpose(1, 0, 2, 3).reshape(4 * out, 9 * channels)


def depth_to_space(x, rows: int, columns: int):
    """[4 * channels, rows * columns], phases outermost -> [channels, 2 rows, 2 columns]."""
    x = x.reshape(2, 2, -1, rows, columns).transpose(2, 3, 0, 4, 1)
    return x.reshape(-1, 2 * rows, 2 * columns)
