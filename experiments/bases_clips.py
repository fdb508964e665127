"""What the shipped base gains for clips: C3 from it and from random networks, at equal steps.

    python experiments/bases_clips.py ../shared/data/video [--steps 300] [--only foreman]

The crops of c3_video.py, 7 frames of 128x128 pixels of four clips, of which training saw nothing,
with the default preset at four lambdas. Every file is real and decoded again; beside them x264 and
x265 of the same frames. Cost is MSE (pixels in 0..1) + lambda * bpp of the whole file. What is done
is found in --output and not done again; what is saved are the lines of one run, so that the last
one asks for everything.
"""

import argparse
from pathlib import Path

import common
import numpy as np
from bases import mean_ratio
from c3_video import ANCHORS, CLIPS, FRAMES, PRESET, SIDE, bd_rates, crops, evaluated

from overfit.commands.common import prepare_jax
from overfit.evaluation import Plan as Evaluation
from overfit.jobs.backends import Workers
from overfit.sweeping.space import rd_cost

LMBDAS = (2e-4, 5e-4, 1e-3, 4e-3)
ARMS = ("none", "auto")
NONE = "random networks"  # what a curve is called that the others are compared with


def compared(lines: list[dict], anchors: list[dict], steps: int) -> dict:
    """The base against none, and both against the classical codecs."""
    arms = {arm: [r for r in lines if (r["steps"], r["arm"]) == (steps, arm)] for arm in ARMS}
    plain = {(r["name"], r["setting"]["lmbda"]): r for r in arms["none"]}
    pairs = [
        (plain[key], r)
        for r in arms["auto"]
        if (key := (r["name"], r["setting"]["lmbda"])) in plain
    ]
    if not pairs:
        return {}
    costs = [b["cost"] / a["cost"] for a, b in pairs]
    return {
        "bd_rates": bd_rates([a | {"label": NONE} for a, _ in pairs], arms["auto"], (NONE,)),
        "against_anchors": {arm: bd_rates(anchors, some) for arm, some in arms.items()},
        "cost_ratio": mean_ratio(costs),
        "worst_cost_ratio": max(costs),
        "networks_bytes": [
            float(np.mean([pair[i]["bits"]["networks"] / 8 for pair in pairs])) for i in (0, 1)
        ],
        "pairs": len(pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of the clips")
    parser.add_argument("--steps", type=int, nargs="+", default=[300, 1000])
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
    parser.add_argument("--only", nargs="+", default=list(CLIPS), choices=list(CLIPS))
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--output", default="runs/bases_clips", help="of the files")
    arguments = parser.parse_args()
    prepare_jax()
    output, workers = Path(arguments.output), Workers(count=arguments.workers)
    names = list(arguments.only)
    instances = crops(arguments.folder, output, names, FRAMES, dict.fromkeys(names, SIDE))
    anchors = evaluated(instances, output / "anchors", Evaluation(ANCHORS))
    lines: list[dict] = []
    for steps in arguments.steps:
        for arm in arguments.arms:
            plan = Evaluation((PRESET,), LMBDAS, steps=steps, base=arm)
            more = ("steps", "base", "mse")
            found = evaluated(instances, output / "curves", plan, more, workers)
            lines += [r | {"arm": arm, "cost": rd_cost(r)} for r in found]
    results = {
        "summary": {f"{steps} steps": compared(lines, anchors, steps) for steps in arguments.steps},
        "anchors": anchors,
        "curves": lines,
    }
    settings = {"frames": FRAMES, "side": SIDE, "clips": CLIPS, "preset": PRESET}
    common.save("bases_clips", results, settings=settings)


if __name__ == "__main__":
    main()
