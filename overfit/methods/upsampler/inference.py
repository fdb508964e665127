"""The folded networks as the decoder runs them: NumPy, float32, one frame at a time.

Their twin in the fit is model.py. Nothing that is decoded depends on the result, so that another
machine may round a pixel differently without harm; on one machine all runs agree.
"""

import numpy as np

from overfit.methods.upsampler import wiring
from overfit.methods.upsampler.config import Config
from overfit.methods.upsampler.wiring import Place

Network = dict[str, dict[str, np.ndarray]]  # {network: {array: float32}}


def _pointwise(weights: np.ndarray, shift: np.ndarray | None, x: np.ndarray) -> np.ndarray:
    y = weights @ x.reshape(len(x), -1)
    if shift is not None:
        y -= (weights @ shift)[:, None]
    return y.reshape(-1, *x.shape[1:])


def _channelwise(weights: np.ndarray, shift: np.ndarray | None, x: np.ndarray) -> np.ndarray:
    """Channel by channel, whose plane stays in the cache."""
    y = np.empty_like(x)
    _, batch, rows, columns = x.shape
    padded = np.zeros((batch, rows + 2, columns + 2), np.float32)
    product = np.empty(x.shape[1:], np.float32)
    for channel in range(len(x)):
        inside = padded[:, 1:-1, 1:-1]
        np.subtract(x[channel], 0 if shift is None else shift[channel], out=inside)
        np.multiply(inside, weights[channel, 4], out=y[channel])
        for tap in (0, 1, 2, 3, 5, 6, 7, 8):
            dy, dx = divmod(tap, 3)
            source = padded[:, dy : dy + rows, dx : dx + columns]
            np.multiply(source, weights[channel, tap], out=product)
            y[channel] += product
    return y


_OPS = wiring.Ops(np, _pointwise, _channelwise)


@np.errstate(over="ignore", invalid="ignore")
def restore(
    network: Network | None,
    decoded: np.ndarray,
    blocks: np.ndarray,
    frame: int,
    frames: int,
    config: Config,
) -> np.ndarray:
    """Phases of one frame of a group, as pixels.

    Args:
      network: None for a group that has none: the base, enlarged.
      decoded: uint8 [6, rows, columns], the base's phases (see wiring.py).
      blocks: float16 [6, rows, columns], or no planes at all where they are not used.
      frame, frames: its index in its group, and the group's length.

    Returns:
      uint8 [6, 2 rows, 2 columns], or of the base's own size if that is the clip's. Where
      parameters of a damaged file overflow, pixels are arbitrary.
    """
    rows, columns = decoded.shape[1:]
    base = decoded[:, None].astype(np.float32) / np.float32(255)
    if network is None:
        predicted = wiring.enlarged(base, np, config)
    else:
        place = Place([frame], [0], [0], frames, rows, columns)
        predicted = wiring.predict(
            _OPS,
            lambda name, i, x: (network[name][f"w{i}"], network[name].get(f"shift{i}")),
            base,
            blocks[:, None].astype(np.float32),
            place,
            config,
        )
    pixels = np.nan_to_num(predicted[:, 0], nan=0.0).clip(0, 1) * np.float32(255)
    return np.rint(pixels).astype(np.uint8)
