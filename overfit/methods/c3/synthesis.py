"""The synthesis as the decoder runs it: NumPy, float32, in bands of rows of bounded memory.

Its float twin in the fit is `model.synthesize`. Pixels are float, so other machines may round one
differently; the latents, which are exact, do not depend on them.
"""

import numpy as np

from overfit.methods.c3.config import C3Config
from overfit.nn.resize import resize_matrix

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
    """3x3, edge-padded: [channels, rows, columns] -> the same shape."""
    channels, rows, columns = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (rows, columns), axis=(1, 2))
    taps = windows.reshape(9 * channels, rows * columns)  # in the order (channel, dy, dx)
    y = w @ taps
    y += b[:, None]
    return y.reshape(x.shape)


@np.errstate(over="ignore", invalid="ignore")
def synthesize(weights, latents: list[np.ndarray], shape, config: C3Config) -> np.ndarray:
    """uint8 [channels, height, width] from int32 latents in bins and float32 weights.

    Where parameters of a damaged file overflow, pixels are arbitrary.
    """
    channels, height, width = shape
    synthesis, octaves = config.synthesis, config.latents.octaves()
    grids = [
        _Upsampler(plane, octave, height, width, weights, config)
        for plane, octave in zip(latents, octaves, strict=True)
    ]
    activate = ACTIVATIONS[synthesis.activation]
    depth, halo = len(synthesis.widths) + 1, synthesis.residual_layers
    image = np.empty(shape, np.uint8)
    rows = max(4 * halo, _BAND // width, 1)
    for start in range(0, height, rows):
        stop = min(height, start + rows)
        # Every convolution spoils a row at a cut: the band carries as many more on either side.
        first, last = max(0, start - halo), min(height, stop + halo)
        x = np.stack([grid.band(first, last).ravel() for grid in grids])
        for i in range(depth):
            x = weights[f"w{i}"] @ x
            x += weights[f"b{i}"][:, None]
            if i < depth - 1:
                x = activate(x)
        x = x.reshape(channels, last - first, width)
        for i in range(synthesis.residual_layers):
            x = x + _convolved(weights[f"residual_w{i}"], weights[f"residual_b{i}"], x)
            if i < synthesis.residual_layers - 1:
                x = activate(x)
        x = np.nan_to_num(x[:, start - first : stop - first], nan=0.0)
        x = np.clip(x, 0, 1) * np.float32(255)
        image[:, start:stop] = np.rint(x).astype(np.uint8)
    return image
