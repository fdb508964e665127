"""Quality of a decoded signal, by the conventions that are named."""

import numpy as np

from overfit.io.clips import Clip
from overfit.metrics.ms_ssim import ms_ssim
from overfit.metrics.psnr import clip_psnr, mse, psnr, yuv_psnr


def quality(signal, decoded) -> dict[str, float | None]:
    """mse, psnr and ms_ssim, as they stand in a record.

    Images, uint8 [H, W, C], and RGB clips: over all samples and channels; of a clip the mean over
    its frames of the frames' PSNR. 4:2:0 clips: PSNR per plane likewise and weighted 6:1:1, and no
    RGB figures.
    """
    if not isinstance(signal, Clip):
        return {
            "mse": mse(signal, decoded),
            "psnr": psnr(signal, decoded),
            "ms_ssim": ms_ssim(signal, decoded),
        }
    pairs = list(zip(signal.planes, decoded.planes, strict=True))
    if signal.format == "rgb":
        ((a, b),) = pairs
        values = [ms_ssim(x, y) for x, y in zip(a, b, strict=True)]
        defined = [value for value in values if value is not None]
        return {
            "mse": mse(a, b),
            "psnr": clip_psnr(a, b),
            "ms_ssim": float(np.mean(defined)) if defined else None,
        }
    y, u, v = (clip_psnr(a, b) for a, b in pairs)
    figures = {"psnr_y": y, "psnr_u": u, "psnr_v": v, "psnr_yuv": yuv_psnr(y, u, v)}
    return {"mse": None, "psnr": None, "ms_ssim": None} | figures
