"""C3 on a 4:2:0 clip: fitted as it is (samples.format=yuv420), and in RGB converted back.

    python experiments/c3_yuv420.py ../shared/data/video/park_joy_480x270_50fps_420p8_10f.y4m.xz

A small crop (7 frames of 128x128 pixels from the middle) at equal lambdas and steps, one patch. A
fit lowers the MSE of RGB in one case and that of Y, U, V in the other, so that only curves can be
compared: bits per pixel and PSNR of Y, U, V and 6:1:1, of files that were decoded again.
"""

import argparse
from pathlib import Path

import common

from overfit.commands.common import prepare_jax
from overfit.display import display
from overfit.errors import UserError
from overfit.fitting.clips import as_fitted
from overfit.fitting.encode import encode
from overfit.fitting.groups import Options, Request
from overfit.io.clips import as_yuv420, load_clip
from overfit.jobs.records import central_crop_of_clip, decode_file
from overfit.metrics.bd_rate import bd_rate
from overfit.metrics.psnr import planes_psnr

FRAMES, SIDE = 7, 128
CASES = {
    "rgb": {"samples.format": "rgb"},
    "yuv420": {"samples.format": "yuv420"},
    "yuv420, weights 3,1,1": {"samples.format": "yuv420", "samples.weights": "3,1,1"},
}


def measured(clip, case: str, lmbda: float, steps: int) -> dict:
    """A file of the clip, and the quality of the 4:2:0 samples that it decodes to."""
    options = Options(lmbda=lmbda, steps=steps, set=CASES[case])
    with display(False) as show:
        (result,) = encode([Request(as_fitted(clip, options), options)], show)
    decoded = as_yuv420(decode_file(result.data, "overfit", as_fitted(clip, options).shape))
    kept = {key: result.about[key] for key in ("bytes", "bpp", "bits", "macs_per_pixel")}
    return {"case": case, "lmbda": lmbda, **kept, **planes_psnr(clip.planes, decoded.planes)}


def main() -> None:
    parser = argparse.ArgumentParser(description="C3 in 4:2:0 beside C3 in RGB.")
    parser.add_argument("clip", help="a 4:2:0 clip")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--lmbdas", type=float, nargs="+", default=[1e-3, 4e-3])
    arguments = parser.parse_args()
    prepare_jax()
    clip = central_crop_of_clip(load_clip(arguments.clip, FRAMES), SIDE)
    if clip.format != "yuv420":
        raise UserError("this needs a 4:2:0 clip")
    settings = {"clip": Path(arguments.clip).name, "frames": FRAMES, "side": SIDE}
    settings |= {"steps": arguments.steps, "lmbdas": arguments.lmbdas}
    results = common.stored("c3_yuv420", settings)
    lines = results.setdefault("lines", [])
    for lmbda in arguments.lmbdas:
        for case in CASES:
            if not any((line["case"], line["lmbda"]) == (case, lmbda) for line in lines):
                lines.append(measured(clip, case, lmbda, arguments.steps))
                common.save("c3_yuv420", results, settings=settings)
    curves = {
        case: [(line["bpp"], line["psnr_yuv"]) for line in lines if line["case"] == case]
        for case in CASES
    }
    # Per cent, against RGB.
    results["bd_rates"] = {case: bd_rate(curves["rgb"], curve) for case, curve in curves.items()}
    common.save("c3_yuv420", results, settings=settings)


if __name__ == "__main__":
    main()
