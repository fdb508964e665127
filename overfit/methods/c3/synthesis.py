"""The synthesis as the decoder runs it: NumPy, float32, in bands of rows of bounded memory.

A frame of a clip is an image whose grids have been interpolated along time, so that frames come one
by one. 3x3x3 convolutions run behind it, each a frame later than what it is given.

Its float twin in the fit is `model.synthesize`. Pixels are float, so other machines may round one
differently; the latents, which are exact, do not depend on them.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from overfit.methods.c3.config import C3Config
from overfit.methods.c3.latent_coding import steps
from overfit.nn.resize import resize_matrix

Planes = tuple[np.ndarray, ...]  # uint8 y, u, v of a 4:2:0 frame
Place = tuple[int, int]  # (row, column) of a frame's upper left corner on the canvas
_BAND = 1 << 14  # pixels whose activations are held at once, about a second-level cache


def _gelu(x: np.ndarray) -> np.ndarray:
    """x * sigmoid(2u), which is the tanh form 0.5 x (1 + tanh u); NumPy's exp is the faster."""
    t = x * x
    t *= np.float32(-2 * 0.7978845608028654 * 0.044715)
    t -= np.float32(2 * 0.7978845608028654)
    t *= x
    np.exp(t, out=t)  # may be infinite, where the result is 0
    t += np.float32(1)
    return np.divide(x, t, out=t)


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, np.float32(0), out=x)


ACTIVATIONS = {"gelu": _gelu, "relu": _relu}


def _doubled(kernel: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """An 8x8 transposed convolution of stride 2: `primitives.upsample_twice` of one plane."""
    rows, columns = plane.shape
    padded = np.pad(plane, 2, mode="edge")
    out = np.zeros((2 * rows, 2 * columns), np.float32)
    for p in range(2):
        for q in range(2):
            for a in range(5):
                for b in range(5):
                    u, v = p + 7 - 2 * a, q + 7 - 2 * b
                    if 0 <= u < 8 and 0 <= v < 8:
                        shifted = padded[a : a + rows, b : b + columns]
                        out[p::2, q::2] += kernel[u, v] * shifted
    return out


class _Upsampler:
    """Gives bands of rows of one grid at the image's resolution: float32 [rows, width]."""

    def __init__(self, latents: np.ndarray, octave: int, height: int, width: int, weights, config):
        method, self._q_step = config.synthesis.upsampling, np.float32(config.latents.q_step)
        self._rows = None
        if octave == 0:  # as it is; scaled band by band to save memory
            self._plane = latents
            return
        plane = latents * self._q_step
        self._q_step = np.float32(1)
        if method == "learned":
            for k in range(octave - 1, -1, -1):
                h, w = -(-height // 2**k), -(-width // 2**k)
                plane = _doubled(weights["upsampling"], plane)[:h, :w]
        else:
            plane = plane @ resize_matrix(plane.shape[1], width, method).astype(np.float32).T
            self._rows = resize_matrix(plane.shape[0], height, method).astype(np.float32)
        self._plane = plane

    def band(self, start: int, stop: int) -> np.ndarray:
        if self._rows is None:
            return self._plane[start:stop] * self._q_step
        rows = self._rows[start:stop]
        # Only a few rows of the grid bear on a band.
        used = np.flatnonzero(rows.any(axis=0))
        return rows[:, used[0] : used[-1] + 1] @ self._plane[used[0] : used[-1] + 1]


def _convolved(w: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """3x3, edge-padded: [in, rows, columns] -> [out, rows, columns]."""
    channels, rows, columns = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (rows, columns), axis=(1, 2))
    taps = windows.reshape(9 * channels, rows * columns)  # in the order (channel, dy, dx)
    y = w @ taps
    y += b[:, None]
    return y.reshape(-1, rows, columns)


def _bands(height: int, width: int, halo: int) -> Iterator[tuple[slice, slice, slice]]:
    """(rows of a band, the same with the rows around it, where the former are in the latter).

    Every convolution spoils a row at a cut: a band carries `halo` more on either side. Bands begin
    at even rows, so that none cuts a sample of 4:2:0 chroma.
    """
    rows = max(4 * halo, _BAND // width, 2)
    rows += rows % 2
    for start in range(0, height, rows):
        stop = min(height, start + rows)
        first = max(0, start - halo)
        around = slice(first, min(height, stop + halo))
        yield slice(start, stop), around, slice(start - first, stop - first)


def _pixels(x: np.ndarray) -> np.ndarray:
    """Levels 0 to 255, uint8."""
    x = np.nan_to_num(x, nan=0.0)
    return np.rint(np.clip(x, 0, 1) * np.float32(255)).astype(np.uint8)


def _subsampled(x: np.ndarray) -> Planes:
    """y, u, v of a 4:2:0 frame, uint8, from three channels at full resolution.

    A sample of u or v is the mean of 2x2 values within 0..1, edges repeated where a size is odd.
    """
    height, width = x.shape[1:]
    x = np.clip(np.nan_to_num(x, nan=0.0), 0, 1)
    around = np.pad(x[1:], ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    rows = around[:, ::2] + around[:, 1::2]
    chroma = np.float32(0.25) * (rows[..., ::2] + rows[..., 1::2])
    return _pixels(x[0]), _pixels(chroma[0]), _pixels(chroma[1])


def _synthesized(
    weights, planes: list[np.ndarray], shape, config: C3Config, layers: int, place: Place
) -> Iterator[tuple[slice, np.ndarray]]:
    """(rows, float32 [channels, rows, width]) of all bands, after so many residual layers."""
    channels, height, width = shape
    synthesis, octaves = config.synthesis, config.latents.octaves()
    canvas, (top, left) = config.latents.canvas(height, width), place
    grids = [
        _Upsampler(plane, octave, *canvas, weights, config)
        for plane, octave in zip(planes, octaves, strict=True)
    ]
    activate = ACTIVATIONS[synthesis.activation]
    depth = len(synthesis.widths) + 1
    for rows, around, inside in _bands(height, width, layers):
        bands = [grid.band(top + around.start, top + around.stop) for grid in grids]
        x = np.stack([band[:, left : left + width].ravel() for band in bands])
        for i in range(depth):
            x = weights[f"w{i}"] @ x
            x += weights[f"b{i}"][:, None]
            if i < depth - 1:
                x = activate(x)
        x = x.reshape(channels, -1, width)
        for i in range(layers):
            x = x + _convolved(weights[f"residual_w{i}"], weights[f"residual_b{i}"], x)
            if i < layers - 1:
                x = activate(x)
        yield rows, x[:, inside]


@np.errstate(over="ignore", invalid="ignore")
def synthesize(
    weights, latents: list[np.ndarray], shape, config: C3Config, place: Place = (0, 0)
) -> np.ndarray:
    """uint8 [channels, height, width] from latents in bins and float32 weights.

    Where parameters of a damaged file overflow, pixels are arbitrary.
    """
    image = np.empty(shape, np.uint8)
    layers = config.synthesis.residual_layers
    for rows, x in _synthesized(weights, latents, shape, config, layers, place):
        image[:, rows] = _pixels(x)
    return image


# -- Clips -----------------------------------------------------------------------------------------


def synthesize_clip(
    weights,
    known: Iterator[list[np.ndarray]],
    shape,
    config: C3Config,
    places: Sequence[Place] = (),
) -> Iterator[np.ndarray | Planes]:
    """The frames of a clip, each as soon as it can be shown: uint8 [channels, height, width], or
    the planes of a 4:2:0 one.

    known: the latents [frames, rows, columns] in bins after every step of
    `latent_coding.code_steps`; no more steps are taken than a frame needs.
    places: of the frames on a canvas with a margin.
    """
    channels, total, height, width = shape
    is_rgb = config.samples.format == "rgb"
    size = channels, height, width
    planes = zip(_interpolated(known, shape, config), places or [(0, 0)] * total, strict=True)
    if config.synthesis.per_frame:
        show = synthesize if is_rgb else _synthesize_planes
        for latents, place in planes:
            yield show(weights, latents, size, config, place)
        return
    frames = (_raw(weights, latents, size, config, place) for latents, place in planes)
    for i in range(config.synthesis.residual_layers):
        layer = weights[f"residual_w{i}"], weights[f"residual_b{i}"]
        last = i == config.synthesis.residual_layers - 1
        activate = None if last else ACTIVATIONS[config.synthesis.activation]
        frames = _residual_volume(*layer, frames, activate)
    yield from map(_pixels if is_rgb else _subsampled, frames)


@np.errstate(over="ignore", invalid="ignore")
def _synthesize_planes(
    weights, latents: list[np.ndarray], shape, config: C3Config, place: Place
) -> Planes:
    """`synthesize` of a 4:2:0 frame."""
    layers = config.synthesis.residual_layers
    parts = _synthesized(weights, latents, shape, config, layers, place)
    bands = [_subsampled(x) for _, x in parts]
    return tuple(map(np.concatenate, zip(*bands, strict=True)))


def _interpolated(
    known: Iterator[list[np.ndarray]], shape, config: C3Config
) -> Iterator[list[np.ndarray]]:
    """The grids at the time of each frame: float32 [rows, columns] in bins."""
    total, shapes = shape[1], config.latents.shapes(*shape[1:])
    matrices = [resize_matrix(s[0], total, config.synthesis.upsampling) for s in shapes]
    coded = [{} for _ in shapes]  # {frame: step} of each grid
    for t, step in enumerate(steps(shapes)):
        for grid, frame in step.items():
            coded[grid][frame] = t
    taken, latents = 0, []
    for t in range(total):
        # Weights that are zero but for rounding need no latents.
        used = [np.flatnonzero(np.abs(matrix[t]) > 1e-6) for matrix in matrices]
        needed = max(coded[grid][frame] for grid, frames in enumerate(used) for frame in frames)
        while taken <= needed:
            latents, taken = next(known), taken + 1
        yield [
            np.tensordot(matrix[t, frames].astype(np.float32), plane[frames], axes=1)
            for matrix, frames, plane in zip(matrices, used, latents, strict=True)
        ]


def _raw(weights, planes: list[np.ndarray], shape, config: C3Config, place: Place) -> np.ndarray:
    """A frame before the residual layers, float32 [channels, height, width]."""
    frame = np.empty(shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for rows, x in _synthesized(weights, planes, shape, config, 0, place):
            frame[:, rows] = x
    return frame


def _residual_volume(w, b, frames: Iterator[np.ndarray], activate) -> Iterator[np.ndarray]:
    """x + 3x3x3 convolution of x, edges repeated, then the activation, if any."""
    before = now = next(frames)
    _, height, width = now.shape
    for after in itertools.chain(frames, [None]):
        after = now if after is None else after
        stacked = np.stack([before, now, after], axis=1).reshape(-1, height, width)
        y = np.empty_like(now)
        with np.errstate(over="ignore", invalid="ignore"):
            for rows, around, inside in _bands(height, width, 1):
                x = now[:, rows] + _convolved(w, b, stacked[:, around])[:, inside]
                y[:, rows] = x if activate is None else activate(x)
        yield y
        before, now = now, after
