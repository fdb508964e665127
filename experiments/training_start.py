"""What it gains that the pretrained codecs' transforms do not begin as random weights.

    python experiments/training_start.py clips:SEPTUPLETS STILLS [--steps 300]

Each codec is trained twice on the same crops, from the Karhunen-Loeve transform and from random
weights (`training.start=random`, as the papers have it), at the small size with parts of 128x128
pixels, 2 per step. Written are means over fiftieths of the run, of crops new at each step:
the loss, PSNR (of the mean MSE) and estimated bits per pixel, of four trade-offs together.
"""

import argparse
import math

import common  # sets up JAX's devices first

from overfit.commands.common import prepare_jax
from overfit.io.datasets import find_all
from overfit.meta.pretrain import Plan, pretrain

CODECS = {
    "stat-ssf": ("stat-ssf-small", {}),
    "reference": ("reference-small", {"transform.normalization": "gdn"}),
}
TRAINING = {"training.batch": 2, "training.crop": 128, "training.lr": 1e-3}
STARTS = ("transform", "random")


def curve(card: dict) -> list[dict]:
    return [
        {"loss": loss, "psnr": -10 * math.log10(distortion), "bpp": bpp}
        for loss, distortion, bpp in card["curve"]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("inputs", nargs="+")
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    prepare_jax()
    instances = find_all(arguments.inputs)
    results: dict[str, dict] = {}
    for method, (preset, chosen) in CODECS.items():
        for start in STARTS:
            changes = {"training.steps": arguments.steps, "training.start": start}
            plan = Plan(method, preset, chosen | TRAINING | changes)
            found = curve(pretrain(instances, plan).card)
            results.setdefault(method, {})[start] = found
            print(method, start, found[0], found[-1], flush=True)
            common.save("training_start", results, steps=arguments.steps)


if __name__ == "__main__":
    main()
