"""What a clip is, in memory. Nothing that reads one is imported here."""

from fractions import Fraction
from typing import NamedTuple

import numpy as np


class ClipShape(NamedTuple):
    """All of a clip but its samples; what a decoder needs to know to give back the same kind."""

    format: str  # "rgb" or "yuv420"
    frames: int
    height: int  # px
    width: int  # px
    fps: Fraction

    @property
    def plane_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of each plane of one frame."""
        if self.format == "rgb":
            return ((self.height, self.width, 3),)
        chroma = (-(-self.height // 2), -(-self.width // 2))
        return ((self.height, self.width), chroma, chroma)


class Clip(NamedTuple):
    """Frames of one size.

    planes: one uint8 [T, H, W, 3] ("rgb"), or y [T, H, W] with u and v
        [T, ceil(H/2), ceil(W/2)] ("yuv420"), 0..255; they may be views of one buffer.
    fps: frames per second.
    """

    planes: tuple[np.ndarray, ...]
    fps: Fraction

    @property
    def format(self) -> str:
        return "rgb" if len(self.planes) == 1 else "yuv420"

    @property
    def frames(self) -> int:
        return self.planes[0].shape[0]

    @property
    def height(self) -> int:
        return self.planes[0].shape[1]

    @property
    def width(self) -> int:
        return self.planes[0].shape[2]

    @property
    def shape(self) -> ClipShape:
        return ClipShape(self.format, self.frames, self.height, self.width, self.fps)
