"""Between signals and the planes that video encoders take: colour, padding, and back.

Encoders want even sides, and not too short ones. Pictures are padded by repeating their last row
and column and cropped again after decoding, which is common practice; a decoder that does not know
the size shows the padded picture.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from overfit.codecs.codec import damaged
from overfit.errors import UserError
from overfit.io import colour
from overfit.io.clip import Clip, ClipShape

_MIN_IMAGE = 16  # px a side; x265 and VVenC refuse less
# The lookahead (cutree) of x265 4.2 leaves its arrays in clips that are narrower: below 64 px wide
# it corrupts the heap, and at 64 px the bytes of one run in fifty differ.
_MIN_CLIP = 128

Planes = tuple[np.ndarray, ...]


class Layout(NamedTuple):
    """The 8-bit planes of a coded picture, and how they are made from R, G and B."""

    pixels: str  # FFmpeg's name: "gray", "yuv420p", "yuv444p" or "gbrp"
    matrix: colour.Matrix | None = None  # None: no conversion
    full_range: bool = False
    min_side: int = _MIN_CLIP  # px

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the picture that is coded."""
        return (
            max(self.min_side, height + height % 2),
            max(self.min_side, width + width % 2),
        )


def image_layout(shape: tuple[int, ...]) -> Layout:
    """4:4:4 YCbCr, BT.601, full range, as BPG has it by default; or grey in full range."""
    if len(shape) == 3 and shape[2] == 3:
        return Layout("yuv444p", colour.BT601, True, _MIN_IMAGE)
    return Layout("gray", None, True, _MIN_IMAGE)


def clip_layout(pixels: str, shape: ClipShape, name: str) -> Layout:
    """A 4:2:0 clip is coded as it is; RGB by BT.709, limited range, as HD video has it."""
    if shape.format == "yuv420":
        if pixels != "yuv420p":
            raise UserError(f"{name} takes RGB clips, not 4:2:0 ones; give a folder of images")
        return Layout("yuv420p")
    return Layout(pixels, None if pixels == "gbrp" else colour.BT709)


def clip_planes(clip: Clip, layout: Layout) -> Iterator[Planes]:
    """The padded planes of each frame."""
    for frame in zip(*clip.planes, strict=True):
        yield _pad(frame if clip.format == "yuv420" else _split(frame[0], layout), layout)


def image_planes(image: np.ndarray, layout: Layout) -> Planes:
    """The padded planes of an image."""
    if layout.pixels == "gray":
        return _pad((image.reshape(image.shape[:2]),), layout)
    return _pad(_split(image, layout), layout)


def planes_clip(frames: Iterable[Planes], shape: ClipShape, layout: Layout, name: str) -> Clip:
    """The inverse of `clip_planes`; raises UserError when `frames` are not those of the shape."""
    planes = tuple(np.empty((shape.frames, *one), np.uint8) for one in shape.plane_shapes)
    count = 0
    for count, frame in enumerate(frames, 1):
        if count > shape.frames:
            break
        cropped = _crop(frame, shape.height, shape.width, layout, name)
        result = cropped if shape.format == "yuv420" else (_join(cropped, layout),)
        for plane, samples in zip(planes, result, strict=True):
            plane[count - 1] = samples
    if count != shape.frames:
        raise damaged(name, f"it does not hold {shape.frames} whole frames")
    return Clip(planes, shape.fps)


def planes_image(
    frames: Iterable[Planes], shape: tuple[int, ...], layout: Layout, name: str
) -> np.ndarray:
    """The inverse of `image_planes`; raises UserError when there is not one frame of the shape."""
    pictures = list(frames)
    if len(pictures) != 1:
        raise damaged(name, "it does not hold one whole picture")
    cropped = _crop(pictures[0], shape[0], shape[1], layout, name)
    return (cropped[0] if layout.pixels == "gray" else _join(cropped, layout)).reshape(shape)


def _split(rgb: np.ndarray, layout: Layout) -> Planes:
    """The planes of uint8 [H, W, 3]."""
    if layout.matrix is None:
        return rgb[..., 1], rgb[..., 2], rgb[..., 0]
    if layout.pixels == "yuv420p":
        return colour.rgb_to_yuv420(rgb, layout.matrix, layout.full_range)
    return tuple(np.moveaxis(colour.rgb_to_ycbcr(rgb, layout.matrix, layout.full_range), -1, 0))


def _join(planes: Planes, layout: Layout) -> np.ndarray:
    """uint8 [H, W, 3]: the inverse of `_split`."""
    if layout.matrix is None:
        green, blue, red = planes
        return np.stack([red, green, blue], axis=-1)
    if layout.pixels == "yuv420p":
        y, cb, cr = planes
        return colour.yuv420_to_rgb(y, cb, cr, layout.matrix, layout.full_range)
    return colour.ycbcr_to_rgb(np.stack(planes, axis=-1), layout.matrix, layout.full_range)


def _pad(planes: Planes, layout: Layout) -> Planes:
    height, width = layout.padded(*planes[0].shape)
    padded = []
    for plane, step in zip(planes, _steps(layout), strict=False):
        rows, columns = height // step - plane.shape[0], width // step - plane.shape[1]
        padded.append(np.pad(plane, [(0, rows), (0, columns)], mode="edge"))
    return tuple(padded)


def _crop(planes: Planes, height: int, width: int, layout: Layout, name: str) -> Planes:
    found, due = planes[0].shape, layout.padded(height, width)
    if found != due:
        raise damaged(name, f"it holds {found[1]}x{found[0]} px instead of {due[1]}x{due[0]}")
    return tuple(
        plane[: -(-height // step), : -(-width // step)]
        for plane, step in zip(planes, _steps(layout), strict=False)
    )


def _steps(layout: Layout) -> tuple[int, int, int]:
    """How many luma samples a sample of each plane stands for, down and across."""
    return (1, 2, 2) if layout.pixels == "yuv420p" else (1, 1, 1)
