"""C3 at equal steps beside the official code (google-deepmind/c3_neural_compression @e63e751).

    python experiments/c3_parity.py KODAK_FOLDER

Crop: top-left 256x256, lambda 1e-3, c3-kodak. The official figures were measured with its own code
under jax 0.4.24 at the same step counts (stage 2 at most 300): `loss` = MSE + lambda * latent bpp
at the end of stage 2 before the networks are quantized; `bpp` = estimated latents and networks,
without any header. Ours are of the decoded file, all bytes counted. Cool-chic 5.0.1's decoded files
at 2000 iterations in all stand beside. Expected: a loss within 1.5 % of the official, or better.
"""

import argparse

import common

from overfit.fitting.encode import encode
from overfit.fitting.groups import Options, Request

OFFICIAL = {
    "kodim23": {"loss": 4.712e-4, "psnr": 35.85, "bpp": 0.4020, "latent_bpp": 0.2375,
                "network_bpp": 0.1641},
    "kodim05": {"loss": 1.5216e-3, "psnr": 31.98, "bpp": 1.0827, "latent_bpp": 0.8961,
                "network_bpp": 0.1865},
}  # fmt: skip
COOLCHIC_5 = {
    "kodim23": {"psnr": 37.81, "bpp": 0.3990},
    "kodim05": {"psnr": 33.38, "bpp": 1.0466},
}
LMBDA = 1e-3


def cost(figures: dict) -> float:
    return 10 ** (-figures["psnr"] / 10) + LMBDA * figures["bpp"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of the Kodak images")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each crop")
    arguments = parser.parse_args()
    names = list(OFFICIAL)
    crops = [common.crop(arguments.folder, name) for name in names]
    rows = []
    for seed in range(arguments.seeds):
        # Stage 2 has a tenth of 2000 steps here, 300 in the official run.
        results = encode(
            [Request(crop, Options(steps=2000, lmbda=LMBDA, seed=seed)) for crop in crops]
        )
        for name, result in zip(names, results, strict=True):
            about, official = result.about, OFFICIAL[name]
            pixels = about["pixels"]
            row = {
                "image": name,
                "seed": seed,
                "loss": about["loss"],
                "loss_over_official": about["loss"] / official["loss"],
                "psnr": about["psnr"],
                "bpp": about["bpp"],
                "latent_bpp": about["bits"]["latents"] / pixels,
                "network_bpp": about["bits"]["networks"] / pixels,
                "cost": cost(about),
                "cost_over_official": cost(about) / cost(official),
                "cost_over_coolchic_5": cost(about) / cost(COOLCHIC_5[name]),
            }
            rows.append(row)
            print(row, flush=True)
    common.save("c3_parity", rows, official=OFFICIAL, coolchic_5_0_1=COOLCHIC_5)


if __name__ == "__main__":
    main()
