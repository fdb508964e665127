"""Ablations of C3 (Tables 2, 3, 9 and 10 of the paper) on small central crops, as real files.

    python experiments/c3_ablation.py KODAK_FOLDER --steps 2000 --size 128

Each row switches one feature of c3-kodak off (or one option on) and fits the same crops at the same
lambda and number of steps. `cost` is D + lambda * R of the decoded file, `loss` the same before the
networks are quantized and without their bits. The paper gives BD-rates; at one lambda the change of
rate at equal quality is close to (change of cost) / (lambda * rate), printed as `rate_equivalent`.
Rows that the results have at the same settings are kept.
Expected: soft rounding, Kumaraswamy noise and GELU matter most, the rest a per cent or two, and
coolchic-v2 is some 25 % behind (Kodak BD-rate +31.6 % against +5.2 % for C3, both against VTM).
"""

import argparse

import common

from overfit.fitting.encode import encode
from overfit.fitting.groups import Options, Request

C3 = ("c3-kodak", {})
ROWS = {
    "c3-kodak": C3,
    "coolchic-v2": ("coolchic-v2", {}),
    "no soft rounding": ("c3-kodak", {"quantizer.soft_round": False}),
    "uniform noise": ("c3-kodak", {"fit.noise_start": 1.0}),
    "ReLU": ("c3-kodak", {"entropy.activation": "relu", "synthesis.activation": "relu"}),
    "no shifted log-scale": ("c3-kodak", {"entropy.log_scale_shift": 0}),
    "no adaptive lr in stage 2": ("c3-kodak", {"fit.decay": 1.0}),
    "quantization step 1": ("c3-kodak", {"latents.q_step": 1.0}),
    "no cosine decay": ("c3-kodak", {"fit.lr_end": 1.0}),
    "linear gradient in stage 2": ("c3-kodak", {"quantizer.gradient": "linear"}),
    "previous-grid context": ("c3-kodak", {"entropy.previous": 1}),
    "no full-resolution grid": ("c3-kodak", {"latents.first_octave": 1}),
    "FiLM per grid": ("c3-kodak", {"entropy.per_grid": "film"}),
    "separate networks per grid": ("c3-kodak", {"entropy.per_grid": "separate"}),
    "coarse to fine, previous-grid context": (
        "c3-kodak", {"latents.order": "coarse_to_fine", "entropy.previous": 1},
    ),
    "learned upsampling": ("c3-kodak", {"synthesis.upsampling": "learned"}),
    "Gaussian noise": (
        "c3-kodak",
        {"quantizer.noise": "gaussian", "fit.noise_start": 0.25, "fit.noise_end": 0.15},
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of the Kodak images")
    parser.add_argument("--images", nargs="+", default=["kodim23", "kodim05"])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--lmbda", type=float, default=1e-3)
    parser.add_argument("--rows", nargs="+", default=list(ROWS))
    arguments = parser.parse_args()
    crops = [common.crop(arguments.folder, n, arguments.size, True) for n in arguments.images]

    settings = {key: value for key, value in vars(arguments).items() if key != "rows"}
    settings["folder"] = "kodak"
    rows = common.stored("c3_ablation", settings)
    for row in arguments.rows:
        if row in rows:
            continue
        preset, changes = ROWS[row]
        options = Options(preset=preset, set=changes, steps=arguments.steps, lmbda=arguments.lmbda)
        rows[row] = {}
        results = encode([Request(crop, options) for crop in crops])
        for name, result in zip(arguments.images, results, strict=True):
            about = result.about
            figures = {key: about[key] for key in ("loss", "psnr", "bpp", "bytes", "bits")}
            figures["cost"] = 10 ** (-about["psnr"] / 10) + arguments.lmbda * about["bpp"]
            reference = rows["c3-kodak"].get(name, figures)
            change = figures["cost"] - reference["cost"]
            figures["cost_change"] = change / reference["cost"]
            figures["loss_change"] = figures["loss"] / reference["loss"] - 1
            figures["rate_equivalent"] = change / (arguments.lmbda * reference["bpp"])
            rows[row][name] = figures
            print(
                f"{row:40s} {name} loss {figures['loss']:.4e} ({figures['loss_change']:+.1%}) "
                f"{figures['psnr']:.2f} dB {figures['bpp']:.4f} bpp "
                f"cost {figures['cost_change']:+.1%} rate at equal quality "
                f"{figures['rate_equivalent']:+.1%}",
                flush=True,
            )
        common.save("c3_ablation", rows, settings=settings)


if __name__ == "__main__":
    main()
