"""Successive halving against the grid: what the choice of C3's 12 settings costs, and what is lost.

    python experiments/sweep_halving.py KODAK_FOLDER --crop 128 --steps 10000 --lmbdas 1e-3,4e-3

Both strategies sweep sweeps/c3_adaptive_kodak.toml over the same central crops, each in its own
folder of --output, where an interrupted run goes on. `cost` is D + lambda * R of the chosen file,
`steps` and `seconds` what all the fits behind it took (without compilation).
Expected: halving chooses files within 0.3 % of the cost of the grid's with less than a third of its
steps.
"""

import argparse
from pathlib import Path

import common

from overfit.display import batch_display
from overfit.io.datasets import find_all
from overfit.sweeping.rungs import Plan
from overfit.sweeping.space import read_sweep
from overfit.sweeping.strategies import STRATEGIES
from overfit.sweeping.sweep import sweep

SWEEP = Path(__file__).parents[1] / "sweeps" / "c3_adaptive_kodak.toml"
KEPT = ("cost", "bpp", "psnr", "sweep_setting", "finished", "steps", "seconds", "seconds_compile")


def compare(grid: dict, halving: dict) -> dict:
    """Lines of the two summaries on one image and lambda -> figures of both and their ratios."""
    return {
        "name": grid["name"],
        "lmbda": grid["lmbda"],
        "grid": {key: grid[key] for key in KEPT},
        "halving": {key: halving[key] for key in KEPT},
        "same_setting": grid["sweep_setting"] == halving["sweep_setting"],
        "cost_excess": halving["cost"] / grid["cost"] - 1,
        "steps_ratio": halving["steps"] / grid["steps"],
        "seconds_ratio": halving["seconds"] / grid["seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of the Kodak images")
    parser.add_argument("--images", nargs="+", default=["kodim23", "kodim05"])
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--lmbdas", default="1e-3,4e-3")
    parser.add_argument("--output", default="runs/sweep_halving", help="of the files")
    arguments = parser.parse_args()
    lmbdas = [float(lmbda) for lmbda in arguments.lmbdas.split(",")]

    space = read_sweep(SWEEP).replaced(arguments.steps, lmbdas)
    instances = find_all([f"kodak:{arguments.folder}"], arguments.images)
    lines = {}
    for strategy in STRATEGIES:
        with batch_display(False) as show:
            plan = Plan(space, strategy, crop=arguments.crop)
            summary, failures = sweep(
                instances, plan, Path(arguments.output) / strategy, progress=show
            )
        if failures:
            raise SystemExit("\n".join(map(str, failures)))
        lines[strategy] = summary["results"]

    results = [compare(*pair) for pair in zip(lines["grid"], lines["halving"], strict=True)]
    for line in results:
        print(
            f"{line['name']} lambda {line['lmbda']:g}: cost {line['grid']['cost']:.4e} (grid) "
            f"{line['halving']['cost']:.4e} (halving, {line['cost_excess']:+.2%}), "
            f"{line['steps_ratio']:.1%} of the steps, {line['seconds_ratio']:.1%} of the seconds"
        )
    settings = {key: getattr(arguments, key) for key in ("images", "crop", "steps", "lmbdas")}
    common.save("sweep_halving", results, settings=settings)


if __name__ == "__main__":
    main()
