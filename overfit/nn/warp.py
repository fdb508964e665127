"""Scale-space warping: a frame seen at places that move, each more or less blurred.

Agustsson et al., "Scale-space flow for end-to-end optimized video compression", CVPR 2020; the
pyramid is Algorithm 1 of Yang et al., ICLR 2021. One convention throughout: sample (i, j) lies at
row i and column j, in pixels; sample j of a level lies at pixel 2^level j; beyond the edges the
last sample goes on. NumPy and JAX arrays alike.
"""

import functools
import math

import numpy as np

_AT_ONCE = 1 << 19  # pixels that NumPy warps at a time
SIGMA, REACH = 1.0, 2  # of the Gaussian before each halving, px of its level: a 5x5 kernel


def _kernel() -> list[float]:
    weights = [math.exp(-0.5 * (d / SIGMA) ** 2) for d in range(-REACH, REACH + 1)]
    return [w / sum(weights) for w in weights]


_KERNEL = _kernel()


def _blurred(x: np.ndarray) -> np.ndarray:
    """Along the last axis; edges are mirrored, as in the released code."""
    size = x.shape[-1]
    around = [(0, 0)] * (x.ndim - 1) + [(REACH, REACH)]
    padded = np.pad(x, around, mode="reflect" if size > REACH else "edge")
    total = np.zeros_like(x)
    for d, w in enumerate(_KERNEL):
        total += x.dtype.type(w) * padded[..., d : d + size]
    return total


def _enlarged(x: np.ndarray, factor: int) -> np.ndarray:
    """Likewise: [.., n] -> [.., factor * n], samples where they were, linear between them."""
    following = np.concatenate([x[..., 1:], x[..., -1:]], axis=-1)
    share = np.arange(factor, dtype=x.dtype) / x.dtype.type(factor)
    x = x[..., None] * (1 - share) + following[..., None] * share
    return x.reshape(*x.shape[:-2], -1)


@functools.cache
def _operators(size: int, levels: int) -> list[np.ndarray]:
    """What each level does along an axis of that size: float32 [size, size]."""
    small, found = np.eye(size, dtype=np.float32), []
    for level in range(levels):
        small = _blurred(small)
        found.append(_enlarged(small, 2**level))
        small = small[..., ::2]
    return found


def scale_space(x, levels: int):
    """[channels, rows, columns] -> [levels + 1, channels, rows, columns], ever more blurred.

    rows and columns are multiples of 2^(levels - 1). The variances are those of the paper's A.3: 0,
    s^2, s^2 (1 + 4), s^2 (1 + 4 + 16), ... and a little from the interpolation.
    """
    xp = x.__array_namespace__()
    if xp is not np:  # products, which XLA compiles in no time; sums of slices take it seconds
        pairs = zip(*(_operators(side, levels) for side in x.shape[1:]), strict=True)
        pairs = [[xp.asarray(a, dtype=x.dtype) for a in pair] for pair in pairs]
        return xp.stack([x, *(down.T @ x @ across for down, across in pairs)])
    volume, small = [x], x
    for level in range(levels):
        small = _blurred(_blurred(small).mT).mT
        volume.append(_enlarged(_enlarged(small, 2**level).mT, 2**level).mT)
        small = small[..., ::2, ::2]
    return np.stack(volume)


def warp(volume, flow):
    """The volume at every pixel's place: [channels, rows, columns], interpolated linearly.

    volume: of `scale_space`, [slices, channels, rows, columns]. flow: [3, rows, columns]: columns
    and rows to the right and down (px), and depth, -1 for the sharp frame to 1 for the last slice.
    """
    strip = max(1, _AT_ONCE // flow.shape[2])
    if volume.__array_namespace__() is np and strip < flow.shape[1]:
        starts = range(0, flow.shape[1], strip)
        return np.concatenate([_strip(volume, flow[:, t : t + strip], t) for t in starts], axis=1)
    return _strip(volume, flow, 0)


def _strip(volume, flow, top: int):
    """Rows of `warp` from `top` on, as many as the flow has."""
    xp = volume.__array_namespace__()
    slices, channels, rows, columns = volume.shape
    sizes = (columns, rows, slices)
    kind = volume.dtype.type
    grid = (
        xp.arange(columns, dtype=volume.dtype)[None, :] + flow[0],
        xp.arange(top, top + flow.shape[1], dtype=volume.dtype)[:, None] + flow[1],
        (flow[2] + kind(1)) * kind((slices - 1) / 2),
    )
    near, share = [], []
    for place, size in zip(grid, sizes, strict=True):
        place = xp.clip(place, 0, size - 1)
        whole = xp.clip(xp.floor(place), 0, max(size - 2, 0))
        near.append(whole.astype("int32"))
        share.append((place - whole).reshape(-1, 1))
    samples = volume.transpose(0, 2, 3, 1).reshape(-1, channels)
    first = ((near[2] * rows + near[1]) * columns + near[0]).reshape(-1)
    parts = []
    for depth in range(min(slices, 2)):
        for below in range(2):
            for right in range(2):
                steps = (right, below, depth)
                weight = kind(1)
                for s, step, size in zip(share, steps, sizes, strict=True):
                    weight = weight * (s if step else kind(1) - s if size > 1 else kind(1))
                down = depth * rows + min(below, rows - 1)
                index = first + (down * columns + min(right, columns - 1))
                parts.append(weight * xp.take(samples, index, axis=0, mode="clip"))
    return sum(parts[1:], parts[0]).T.reshape(channels, *flow.shape[1:])
