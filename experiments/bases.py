"""What the shipped bases gain: C3 from a base and from random networks, at equal steps.

    python experiments/bases.py KODAK_FOLDER CLIC_FOLDER -o runs/bases [--parts crops-1000 ...]

Every file is real and decoded again; a part that was interrupted goes on. Crops are top-left.
On an accelerator `--at-once` fits all that is alike in one program, and processes on CPUs make the
files meanwhile.
`crops-N`: the twelve Kodak images of the development set, 256x256, at N steps of stage 1;
`parity-2000`: two of them at the lambda and steps that Cool-chic 5.0.1 was measured at; `seeds-N`:
three seeds on two crops; `catch-N`: these at so many steps that random networks might catch up;
`kodak-N`: whole images; `clic-N`: 512x512 crops of CLIC images. Cost is MSE (pixels in 0..1) +
lambda * bpp of the whole file. BD-rates are per image, over the lambdas that are there (two or
more), of the base against none. Nothing here was seen in training.
"""

import argparse
import json
import math
from pathlib import Path

import common
import numpy as np
from PIL import Image

from overfit.display import batch_display
from overfit.errors import UserError
from overfit.evaluation import Plan, jobs
from overfit.io.datasets import find_all
from overfit.io.images import load_image
from overfit.jobs.backends import Workers
from overfit.jobs.drive import drive
from overfit.jobs.job import Job
from overfit.jobs.store import read_results
from overfit.metrics.bd_rate import bd_rate
from overfit.sweeping.space import rd_cost

LMBDAS = (2e-2, 4e-3, 1e-3, 2e-4)
PARITY = ("kodim23", "kodim05")
# In the order in which parts of a run are useful.
CROPS = (
    "kodim23", "kodim05", "kodim20", "kodim15", "kodim01", "kodim09", "kodim18", "kodim07",
    "kodim12", "kodim22", "kodim03", "kodim04",
)  # fmt: skip
WHOLE = ("kodim15", "kodim01")
ARMS = ("none", "auto")
PRESET = "c3-kodak"
# Of Cool-chic 5.0.1's decoded files on the crops of `PARITY` at lambda 1e-3: see c3_parity.py.
COOLCHIC_5 = {"kodim23": (37.81, 0.3990), "kodim05": (33.38, 1.0466)}  # dB, bpp
PARTS = (
    "parity-2000", "crops-1000", "crops-300", "seeds-1000", "clic-1000", "kodak-1000",
    "crops-2000", "kodak-300", "clic-300", "kodak-2000", "clic-2000", "seeds-300", "seeds-2000",
    "catch-5000", "catch-10000",
)  # fmt: skip


def cut(folder: str, names: tuple[str, ...], size: int, output: Path) -> str:
    """Writes top-left crops as PNG, which the jobs then refer to; the folder that they are in."""
    target = output / f"crops{size}"
    target.mkdir(parents=True, exist_ok=True)
    for name in names or sorted(path.stem for path in Path(folder).glob("*.png"))[:2]:
        path = target / f"{name}.png"
        if not path.exists():
            image = load_image(str(Path(folder) / path.name))
            Image.fromarray(image[:size, :size]).save(path)
    return str(target)


def jobs_of(part: str, kodak: str, clic: str, output: Path, preset: str) -> list[Job]:
    """Image by image, the arms side by side."""
    kind, steps = part.rsplit("-", 1)
    lmbdas, seeds = LMBDAS, (0,)
    if kind == "clic":
        folder, names = cut(clic, (), 512, output), ()
    elif kind == "kodak":
        folder, names = kodak, WHOLE
    else:
        folder, names = cut(kodak, CROPS, 256, output), CROPS
    if kind in ("parity", "seeds", "catch"):
        names, lmbdas = PARITY, (1e-3,)
        seeds = (0, 1, 2) if kind == "seeds" else seeds
    found = find_all([folder], names)
    if names:
        found.sort(key=lambda instance: names.index(instance.name))
    listed = []
    for instance in found:
        for seed in seeds:
            plans = [Plan((preset,), lmbdas, steps=int(steps), seed=seed, base=arm) for arm in ARMS]
            pairs = zip(*(jobs([instance], plan) for plan in plans), strict=True)
            # The files of seeds and of crops lie apart.
            place = f"files/{Path(folder).name}/seed{seed}/"
            listed += [
                job._replace(file=job.file.replace("files/", place))
                for pair in pairs
                for job in pair
            ]
    return listed


# -- What came of it -------------------------------------------------------------------------------


def row(record: dict) -> dict:
    keys = ("name", "width", "height", "steps", "seed", "psnr", "bytes", "bpp", "loss")
    short = {key: record[key] for key in keys} | record["setting"]
    return short | {
        "base": record["base"],
        "networks_bytes": record["bits"]["networks"] / 8,
        "cost": rd_cost(record),
        "seconds": record["seconds_encode"],
        "device": record["device"],
    }


def pairs(rows: list[dict]) -> list[tuple[dict, dict]]:
    """(without, with a base) of the same image, lambda, steps and seed."""
    same = ("name", "width", "height", "lmbda", "steps", "seed")
    plain = {tuple(r[key] for key in same): r for r in rows if r["base"] is None}
    found = [(plain.get(tuple(r[key] for key in same)), r) for r in rows if r["base"] is not None]
    return [(before, after) for before, after in found if before is not None]


def compared(rows: list[dict], size: tuple[int, ...] | None, steps: int) -> dict | None:
    """Of the images of a size (None: whole Kodak images): the base against none at equal steps."""
    chosen = [
        (a, b)
        for a, b in pairs(rows)
        if a["steps"] == steps and a["seed"] == 0
        and (a["width"] * a["height"] == 768 * 512 if size is None else
             (a["width"], a["height"]) == size)
    ]  # fmt: skip
    if not chosen:
        return None
    names = dict.fromkeys(a["name"] for a, _ in chosen)
    rates = {name: _bd_rate([pair for pair in chosen if pair[0]["name"] == name]) for name in names}
    known = [rate for rate in rates.values() if rate is not None]
    ratios = {lmbda: [b["cost"] / a["cost"] for a, b in chosen if a["lmbda"] == lmbda]
              for lmbda in LMBDAS}  # fmt: skip
    networks = [b["networks_bytes"] / a["networks_bytes"] for a, b in chosen]
    return {
        "lmbdas": {
            name: sorted(a["lmbda"] for a, _ in chosen if a["name"] == name) for name in names
        },
        "bd_rate": {name: rate for name, rate in rates.items() if rate is not None},
        "mean_bd_rate": float(np.mean(known)) if known else None,
        "worst_bd_rate": max(known) if known else None,
        "cost_ratio": {f"{lmbda:g}": mean_ratio(some) for lmbda, some in ratios.items() if some},
        "worst_cost_ratio": max(max(some) for some in ratios.values() if some),
        "networks_bytes_ratio": mean_ratio(networks),
        "networks_bytes": [
            float(np.mean([pair[i]["networks_bytes"] for pair in chosen])) for i in (0, 1)
        ],
        "images": len(names),
        "pairs": len(chosen),
    }


def _bd_rate(chosen: list[tuple[dict, dict]]) -> float | None:
    """Of one image, over the lambdas that are there; None for one only, or a curve that falls."""
    if len(chosen) < 2:
        return None
    curves = [[(pair[i]["bpp"], pair[i]["psnr"]) for pair in chosen] for i in (0, 1)]
    try:
        return bd_rate(*curves)
    except UserError:
        return None


def mean_ratio(ratios: list[float]) -> float:
    return math.exp(float(np.mean(np.log(ratios))))


def catching_up(rows: list[dict]) -> list[dict]:
    """Mean cost from random networks at more steps, over that from a base at fewer."""
    found = []
    counts = sorted({r["steps"] for r in rows})
    for few in counts:
        for many in (count for count in counts if count > few):
            key = lambda r: (r["name"], r["width"], r["lmbda"])  # noqa: E731
            plain = {key(r): r for r in rows if r["base"] is None and r["steps"] == many}
            ratios = [
                r["cost"] / plain[key(r)]["cost"]
                for r in rows
                if r["base"] is not None and r["steps"] == few and key(r) in plain
                and r["seed"] == 0
            ]  # fmt: skip
            if ratios:
                line = {"base_steps": few, "plain_steps": many, "pairs": len(ratios)}
                found.append(line | {"cost_ratio": mean_ratio(ratios)})
    return found


def beside_coolchic(rows: list[dict]) -> list[dict]:
    """At equal steps; plain C3 as in c3_parity.json, which is of the same crops."""
    parity = json.loads((common.RESULTS / "c3_parity.json").read_text())["results"]
    keys = ("psnr", "bpp", "cost", "cost_over_coolchic_5")
    found = [
        {"name": r["image"], "base": None, "from": "c3_parity.json"} | {k: r[k] for k in keys}
        for r in parity
        if r["seed"] == 0
    ]
    for r in rows:
        if (r["steps"], r["lmbda"], r["width"]) == (2000, 1e-3, 256) and r["name"] in COOLCHIC_5:
            psnr, bpp = COOLCHIC_5[r["name"]]
            theirs = 10 ** (-psnr / 10) + 1e-3 * bpp
            found.append({k: r[k] for k in ("name", "base", "psnr", "bpp", "cost")}
                         | {"cost_over_coolchic_5": r["cost"] / theirs})  # fmt: skip
    return found


def spread(rows: list[dict]) -> list[dict]:
    """Cost of the same fit with several seeds: what chance does."""
    alike: dict[tuple, list[float]] = {}
    for r in rows:
        key = r["name"], r["width"], r["lmbda"], r["steps"], r["base"] is not None
        alike.setdefault(key, []).append(r["cost"])
    return [
        {"name": name, "lmbda": lmbda, "steps": steps, "with_base": based, "costs": costs}
        for (name, _, lmbda, steps, based), costs in alike.items()
        if len(costs) > 1
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kodak", help="folder")
    parser.add_argument("clic", help="folder")
    parser.add_argument("-o", "--output", default="runs/bases", help="of files and records")
    parser.add_argument("--parts", nargs="*", default=PARTS, choices=PARTS, help="default: all")
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
    parser.add_argument("--lmbdas", type=float, nargs="+", default=LMBDAS)
    parser.add_argument("--images", type=int, help="of each part only so many")
    parser.add_argument("--preset", default=PRESET, help="another has results of its own")
    parser.add_argument("--at-once", action="store_true", help="all parts in one run")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    arguments = parser.parse_args()
    output = Path(arguments.output)
    parts = [arguments.parts] if arguments.at_once else [[part] for part in arguments.parts]
    for together in parts:
        where = arguments.kodak, arguments.clic, output, arguments.preset
        listed = [job for part in together for job in jobs_of(part, *where)]
        todo = list({job.key(): job for job in listed}.values())  # parts have some in common
        names = list(dict.fromkeys(job.name for job in todo))[: arguments.images]
        todo = [
            job for job in todo
            if job.name in names and job.setting["lmbda"] in arguments.lmbdas
            and ("auto" if "base" in job.options else "none") in arguments.arms
        ]  # fmt: skip
        with batch_display(False) as show:
            _, failures = drive(todo, output, Workers(count=arguments.workers), progress=show)
        for failure in failures:
            print(f"failed: {failure}")
    rows = [row(record) for record in read_results(output)[0]]
    summary = {
        f"{name}, {steps} steps": figures
        for name, size in (("256x256", (256, 256)), ("512x512", (512, 512)), ("768x512", None))
        for steps in sorted({r["steps"] for r in rows})
        if (figures := compared(rows, size, steps)) is not None
    }
    more: dict[str, list[dict]] = {
        "plain_with_more_steps": catching_up(rows),
        "seeds": spread(rows),
    }
    if arguments.preset == PRESET:
        more["beside_coolchic_5_0_1"] = beside_coolchic(rows)
    for name, figures in summary.items():
        print(name, {key: value for key, value in figures.items() if key != "bd_rate"})
    name = "bases" if arguments.preset == PRESET else f"bases_{arguments.preset}"
    common.save(name, rows, summary=summary, **more)


if __name__ == "__main__":
    main()
