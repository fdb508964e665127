"""Quality of a decoded signal, by the conventions that are named."""

import numpy as np

from overfit.io.clip import Clip
from overfit.io.clips import as_rgb, as_yuv420
from overfit.metrics.ms_ssim import ms_ssim
from overfit.metrics.psnr import clip_psnr, mse, planes_psnr, psnr


def quality(signal, decoded) -> dict[str, float | None]:
    """mse, psnr and ms_ssim, as they stand in a record.

    Images, uint8 [H, W, C], and RGB clips: over all samples and channels; of a clip the mean over
    its frames of the frames' PSNR. 4:2:0 clips: PSNR per plane likewise and weighted 6:1:1, and no
    RGB figures. So also for RGB clips that were coded in 4:2:0; 4:2:0 clips that were coded in RGB
    are compared in RGB.
    """
    if not isinstance(signal, Clip):
        return {
            "mse": mse(signal, decoded),
            "psnr": psnr(signal, decoded),
            "ms_ssim": ms_ssim(signal, decoded),
        }
    if decoded.format == "yuv420":
        signal = as_yuv420(signal)
    else:
        signal = as_rgb(signal)
    if signal.format == "rgb":
        (a,), (b,) = signal.planes, decoded.planes
        values = [ms_ssim(x, y) for x, y in zip(a, b, strict=True)]
        defined = [value for value in values if value is not None]
        return {
            "mse": mse(a, b),
            "psnr": clip_psnr(a, b),
            "ms_ssim": float(np.mean(defined)) if defined else None,
        }
    figures = planes_psnr(signal.planes, decoded.planes)
    return {"mse": None, "psnr": None, "ms_ssim": None} | figures
