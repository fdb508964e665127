"""Rate-distortion points of the online-trained upsampler beside x265 (table 2 of its paper).

    python experiments/upsampler.py ../shared/data/video/BasketballPass_416x240_50fps_rgb

For every clip and QP: x265 veryslow at full resolution; x265 at half the resolution and QP - 5,
enlarged by a bilinear, bicubic or Lanczos filter; and the method, whose base that stream is. The
paper's clips are 1080p and larger; small ones favor x265 at full resolution. Without clips the
results are collected again from the records. With --set base.tune=ssim x265 is tuned so in all of
these, and the results are in upsampler_ssim.json; the loss of the fit stays the squared error.
"""

from upsampler_study import (
    FULL,
    HALF,
    TUNE,
    Variant,
    arguments_of,
    collect,
    plain,
    study,
    tune_of,
    tuned,
)

# What other experiments leave in the folder of the records and report themselves.
OTHERS = ("klopp20", "klopp21-")


def main() -> None:
    parser = arguments_of(__doc__ or "")
    parser.add_argument("--group", type=int, default=32)
    parser.add_argument("--presets", nargs="+", default=["klopp21"])
    parser.add_argument("--base", help="name of one that is kept here")
    arguments = parser.parse_args()
    group = {"group": arguments.group}
    variants = [Variant(p, arguments.steps, group, arguments.base) for p in arguments.presets]
    folder = study(arguments, variants)
    tune = tune_of(arguments)
    anchors = tuned(FULL, tune), tuned(f"{HALF}, bilinear", tune)
    if tune == "ssim":
        collect("upsampler_ssim", folder, anchors, lambda label: TUNE in label, "ms_ssim_y")
    else:
        collect(
            "upsampler", folder, anchors,
            lambda label: plain(label) and not label.startswith(OTHERS),
        )  # fmt: skip


if __name__ == "__main__":
    main()
