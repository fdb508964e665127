"""Clips: cut into patches, each a fit of its own, which become one file."""

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from overfit import clip_decoding, method
from overfit.coding import clip_container
from overfit.errors import UserError
from overfit.fitting.files import Encoded, described
from overfit.fitting.groups import (
    AUTO_BASE,
    NO_BASE,
    Fit,
    Fitted,
    Options,
    configuration,
)
from overfit.io.clip import Clip
from overfit.io.patches import Size, cut, patches, size_for
from overfit.metrics.ms_ssim import ms_ssim
from overfit.metrics.psnr import mean_psnr, psnr

DEFAULT_PRESET = {"c3": "c3-uvg-shared"}


def patch_fits(clip: Clip, options: Options) -> list[Fit]:
    """A fit per patch, in the order of the file.

    Raises:
      UserError: bad options, a method without clips, or a clip that is not RGB.
    """
    if options.base not in (None, AUTO_BASE, NO_BASE):
        raise UserError("bases are for images so far; give a clip --base none")
    frames = clip.planes[0]
    if clip.format != "rgb":
        raise UserError("only RGB clips can be fitted so far, and this one is 4:2:0: convert it")
    if frames.dtype != np.uint8 or frames.shape[3:] != (3,) or 0 in frames.shape:
        raise UserError(
            f"a clip must be uint8 [T, H, W, 3], not {frames.dtype} of shape {frames.shape}"
        )
    codec, preset, config = configuration(options, DEFAULT_PRESET)
    if codec.frames is None:
        raise UserError(f"method {codec.name} cannot encode clips this way")
    return [
        Fit(codec, preset, config, cut(frames, patch), options, math.prod(patch.size))
        for patch in patches(size_of(clip), patch_size(options))
    ]


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
    head = clip_container.Head(codec.name, size_of(clip), clip.fps, patch)
    data = clip_container.pack(head, [reader.patch(0, len(codec.sections)) for reader in readers])
    return data, clip_decoding.info(io.BytesIO(data))


def clip_file(clip: Clip, fits: Sequence[Fit], results: Sequence[Fitted]) -> Encoded:
    """The file of a clip, decoded again frame by frame.

    psnr and ms_ssim are means over the frames, of 8-bit RGB.
    """
    options = fits[0].options
    head = clip_container.Head(options.method, size_of(clip), clip.fps, patch_size(options))
    data = clip_container.pack(head, [result.coded for result in results])
    psnrs, ms_ssims = [], []
    shown = clip_decoding.decode_frames(io.BytesIO(data))
    for original, frame in zip(clip.planes[0], shown, strict=True):
        psnrs.append(psnr(original, frame))
        ms_ssims.append(ms_ssim(original, frame))
    defined = [value for value in ms_ssims if value is not None]
    quality = {
        "psnr": mean_psnr(psnrs),
        "ms_ssim": float(np.mean(defined)) if defined else None,
    }
    about = clip_decoding.info(io.BytesIO(data))
    return Encoded(data, about | quality | described(fits, results))
