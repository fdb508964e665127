"""Clips: cut into patches, each a fit of its own, which become one file.

They are RGB, or 4:2:0 as they are where the settings say `samples.format=yuv420`.
"""

import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from overfit import clip_decoding, method, settings
from overfit.coding import clip_container
from overfit.errors import UserError
from overfit.fitting.files import Encoded, described, frames_quality
from overfit.fitting.frame_groups import quality
from overfit.fitting.groups import (
    Fit,
    Fitted,
    Options,
    candidates_for,
    configuration,
    started,
)
from overfit.io.clip import Clip
from overfit.io.clips import as_rgb, as_yuv420, clip_of
from overfit.io.patches import Size, cut, patches, size_for, splits_chroma

DEFAULT_PRESET = {"c3": "c3-uvg-shared"}


def patch_fits(clip: Clip, options: Options) -> list[Fit]:
    """A fit per patch, in the order of the file.

    Raises:
      UserError: bad options, a base that is not here or of other networks, a method without clips,
        or a clip of other samples than the settings.
    """
    codec, preset, config = configuration(options, DEFAULT_PRESET)
    if codec.frames is None:
        raise UserError(f"method {codec.name} cannot encode clips this way")
    _check(clip, format_of(config), patch_size(options))
    candidates = tuple(candidates_for(options, DEFAULT_PRESET))
    fits = []
    for patch in patches(size_of(clip), patch_size(options)):
        signal = _signal(cut(clip, patch))
        own = codec.specialized(signal, config) if codec.specialized else config
        one = Fit(codec, preset, own, signal, options, math.prod(patch.size), candidates)
        fits.append(started(one, candidates[0]) if len(candidates) == 1 else one)
    return fits


def format_of(config) -> str:
    """The samples that clips are fitted in with this configuration, as `Clip.format`."""
    return settings.paths(config).get("samples.format", "rgb")


def as_fitted(clip: Clip, options: Options) -> Clip:
    """The clip in the samples that the options ask for, converted if need be."""
    _, _, config = configuration(options, DEFAULT_PRESET)
    return as_yuv420(clip) if format_of(config) == "yuv420" else as_rgb(clip)


def _check(clip: Clip, wanted: str, patch: Size) -> None:
    """Raises UserError for a clip that cannot be fitted so."""
    frames = clip.planes[0]
    if clip.format != wanted:
        raise UserError(
            f"samples.format is {wanted}, and this clip is {clip.format}: convert it, or set "
            f"samples.format={clip.format}"
        )
    if {plane.dtype for plane in clip.planes} != {np.dtype(np.uint8)} or 0 in frames.shape:
        raise UserError(f"a clip must be uint8, not {frames.dtype} of shape {frames.shape}")
    shapes = [plane.shape for plane in clip.planes]
    if shapes != [(clip.frames, *shape) for shape in clip.shape.plane_shapes]:
        raise UserError(
            "a clip must be [T, H, W, 3], or y [T, H, W] with u and v of half the rows and "
            f"columns, not of shapes {', '.join(map(str, shapes))}"
        )
    if wanted == "yuv420" and splits_chroma(size_of(clip), patch):
        raise UserError(
            f"patches of a 4:2:0 clip need even rows and columns, not {patch[1]},{patch[2]}"
        )


def _signal(patch: Clip) -> np.ndarray | tuple[np.ndarray, ...]:
    """As methods take it: uint8 [3, frames, rows, columns], or y, u, v. Views."""
    return np.moveaxis(patch.planes[0], -1, 0) if patch.format == "rgb" else patch.planes


def size_of(clip: Clip) -> Size:
    return clip.frames, clip.height, clip.width


def patch_size(options: Options) -> Size:
    return options.patch or size_for(options.lmbda)


def joined(clip: Clip, patch: Size, files: Sequence[bytes]) -> tuple[bytes, dict[str, Any]]:
    """(the file of a clip, what it says of itself), from files of its patches in their order.

    Each of these is that of a clip of one patch. patch: the size that the clip was cut by.
    """
    readers = [clip_container.Reader(io.BytesIO(file)) for file in files]
    codec = method.load(readers[0].head.method)
    head = clip_container.Head(codec.name, size_of(clip), clip.fps, patch, clip.format)
    data = clip_container.pack(head, [reader.patch(0, len(codec.sections)) for reader in readers])
    return data, clip_decoding.info(io.BytesIO(data))


def clip_file(clip: Clip, fits: Sequence[Fit], results: Sequence[Fitted]) -> Encoded:
    """The file of a clip, decoded again frame by frame.

    psnr and ms_ssim are means over the frames, of 8-bit RGB; a 4:2:0 clip has those of its planes
    instead, as in `frame_groups.quality`.
    """
    options = fits[0].options
    head = clip_container.Head(
        options.method, size_of(clip), clip.fps, patch_size(options), clip.format
    )
    patches = [
        clip_container.Coded(result.coded, one.base_prefix)
        for one, result in zip(fits, results, strict=True)
    ]
    data = clip_container.pack(head, patches)
    shown = clip_decoding.decode_frames(io.BytesIO(data))
    measured = _rgb_quality if clip.format == "rgb" else _yuv420_quality
    about = clip_decoding.info(io.BytesIO(data))
    return Encoded(data, about | measured(clip, shown) | described(fits, results))


def _rgb_quality(clip: Clip, shown: Iterable[Any]) -> dict[str, Any]:
    return frames_quality(clip.planes[0], shown)


def _yuv420_quality(clip: Clip, shown: Iterable[Any]) -> dict[str, Any]:
    return quality(clip, clip_of(shown, clip.shape))
