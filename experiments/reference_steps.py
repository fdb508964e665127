"""What more steps of adaptation gain: the reference codec on crops of Kodak images.

    python experiments/reference_steps.py ../shared/data/images/kodak --steps 0 30 200 1000

Central 256x256 crops with the default base; every point is a file that was decoded again. Cost is
MSE (pixels in 0..1) + lambda * bpp of the whole file, told against that of the base as it is. What
has been measured is kept, so that a run that was stopped goes on.
"""

import argparse
import itertools

import common

from overfit.bases import library
from overfit.fitting.encode import encode
from overfit.fitting.groups import Options, Request

IMAGES, LMBDAS = ("kodim05", "kodim23"), (3e-3, 4e-4)
KEPT = ("bytes", "bpp", "psnr", "adapted", "bits")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--base", default="reference-small-1")
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 30, 200, 1000])
    arguments = parser.parse_args()
    settings = {"base": library.find(arguments.base).identity}
    rows = common.stored("reference_steps", settings).get("rows", [])
    costs = {(r["image"], r["lmbda"], r["steps"]): r["cost"] for r in rows}
    for steps in sorted({0, *arguments.steps}):
        for name, lmbda in itertools.product(IMAGES, LMBDAS):
            if (name, lmbda, steps) in costs:
                continue
            image = common.crop(arguments.folder, name, center=True)
            options = Options("reference", None, lmbda, steps, base=arguments.base)
            (result,) = encode([Request(image, options)])
            row = {"image": name, "lmbda": lmbda, "steps": steps}
            row |= {key: result.about[key] for key in KEPT}
            row["cost"] = 10 ** (-row["psnr"] / 10) + lmbda * row["bpp"]
            costs[name, lmbda, steps] = row["cost"]
            row["cost_against_none"] = row["cost"] / costs[name, lmbda, 0]
            rows.append(row)
            print(row, flush=True)
            common.save("reference_steps", {"rows": rows}, settings=settings)


if __name__ == "__main__":
    main()
