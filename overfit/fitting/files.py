"""From what fits came to, to files, each decoded again and measured."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from overfit import decoding
from overfit.coding import container
from overfit.fitting.groups import Fit, Fitted
from overfit.fitting.origin import device, versions
from overfit.metrics.ms_ssim import ms_ssim
from overfit.metrics.psnr import mean_psnr, psnr


class Encoded(NamedTuple):
    """A file and what is known about it; the keys of `about` are those of CONTRACT.md."""

    data: bytes
    about: dict[str, Any]


def image_file(one: Fit, result: Fitted) -> Encoded:
    data = container.pack(one.codec.name, result.coded, one.base_prefix)
    original, shown = one.signal.transpose(1, 2, 0), np.atleast_3d(decoding.decode(data))
    quality = {"psnr": psnr(original, shown), "ms_ssim": ms_ssim(original, shown)}
    return Encoded(data, decoding.info(data) | quality | described([one], [result]))


def frames_quality(frames: Iterable[np.ndarray], shown: Iterable[np.ndarray]) -> dict[str, Any]:
    """psnr and ms_ssim of an RGB clip, means over its frames, uint8 [height, width, 3] each."""
    psnrs, ms_ssims = [], []
    for original, frame in zip(frames, shown, strict=True):
        psnrs.append(psnr(original, frame))
        ms_ssims.append(ms_ssim(original, frame))
    defined = [value for value in ms_ssims if value is not None]
    return {
        "psnr": mean_psnr(psnrs),
        "ms_ssim": float(np.mean(defined)) if defined else None,
    }


def described(fits: Sequence[Fit], results: Sequence[Fitted]) -> dict[str, Any]:
    """What is known of the making of a file, from the fits that it consists of.

    Patches of a clip have one lambda; their losses are averaged, their times added up.
    """
    pixels = [one.pixels for one in fits]
    seconds = sum(result.seconds for result in results)
    return {
        "preset": fits[0].preset,
        "lmbda": results[0].lmbda,
        "qp": fits[0].options.qp,
        "steps": fits[0].options.steps,
        "seed": fits[0].options.seed,
        "seconds": seconds,
        "seconds_compile": sum(result.seconds_compile for result in results),
        "steps_per_second": sum(result.steps for result in results) / max(seconds, 1e-9),
        "loss": float(np.average([result.loss for result in results], weights=pixels)),
        "device": device(),
        "versions": versions(),
    }
