"""Pixels, latents and bits as small pictures inside a page: arrays in, data URIs out."""

import base64
import io

import matplotlib
import numpy as np
from PIL import Image


def _uri(image: Image.Image, kind: str, **options) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _image(array: np.ndarray) -> Image.Image:
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).convert("RGB")


def lossless(array: np.ndarray) -> str:
    """uint8 [H, W, 3] or [H, W, 1], exactly as it is."""
    return _uri(_image(array), "WEBP", lossless=True, quality=80, method=4)


def overview(array: np.ndarray, side: int) -> str:
    """The same, made smaller to at most `side` px and lossy: to show where a crop lies."""
    image = _image(array)
    image.thumbnail((side, side))
    return _uri(image, "JPEG", quality=75)


def colored(plane: np.ndarray, low: float, high: float, colors: str) -> str:
    """A plane of numbers [H, W] in one of matplotlib's color maps; what is outside is clipped."""
    place = (plane - low) / (high - low or 1)
    index = np.clip(np.rint(255 * place), 0, 255).astype(np.uint8)
    image = Image.fromarray(index)
    palette = matplotlib.colormaps[colors](np.arange(256), bytes=True)[:, :3]
    image.putpalette(palette.tobytes())
    return _uri(image, "PNG", optimize=True)


def reduced(plane: np.ndarray, side: int) -> tuple[np.ndarray, int]:
    """Means over square blocks, and the side of a block: the least for `side` rows and columns."""
    block = -(-max(plane.shape) // side)
    if block == 1:
        return plane, 1
    starts = [np.arange(0, length, block) for length in plane.shape]
    sums = np.add.reduceat(np.add.reduceat(plane, starts[0], axis=0), starts[1], axis=1)
    rows, columns = (np.diff(s, append=n) for s, n in zip(starts, plane.shape, strict=True))
    return sums / np.outer(rows, columns), block
