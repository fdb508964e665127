"""What the experiments on data sets share: run codecs, keep the records, draw the paper's figures.

The records of a run are kept in experiments/results/NAME.json, and the figures are drawn from
there, so that they can be drawn again without the data. Published curves are averages over the
whole set: they are drawn beside, but compared with ours by BD-rate only where ours are of the whole
set too. Published results per image are averaged over the same pictures as ours, and compared.
"""

import argparse
import json
import os
from pathlib import Path

import common
import numpy as np

from overfit.display import batch_display
from overfit.evaluation.datasets import LAYOUTS, find_all
from overfit.evaluation.evaluate import Plan, evaluate
from overfit.jobs.store import read_results
from overfit.report.comparison import compare
from overfit.report.curves import Curve, points, read_curve
from overfit.report.plot import Cost, complexity_figure, rd_figure, save_figure
from overfit.report.summary import AVERAGING, average_curves, common_names, summarize

PUBLISHED = Path(__file__).parent / "published"
# The weights of the rate in C3's paper (appendix A.4), from large files to small ones.
PAPER_LMBDAS = (
    1e-4, 2e-4, 3e-4, 4e-4, 5e-4, 8e-4, 1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 8e-3, 1e-2, 2e-2,
)  # fmt: skip
IMAGE_CODECS = ("jpeg", "webp", "jpeg2000", "avif", "jxl", "hevc-intra")


def main(dataset: str, plan: Plan, subset: Plan, names: tuple[str, ...], anchor: str) -> None:
    """One experiment: `plan` over the whole set, or `subset` over some of its members.

    anchor: the measured codec that BD-rates refer to where ours are not of the whole set.
    """
    parser = argparse.ArgumentParser(description=f"Rate-distortion curves on {dataset}.")
    parser.add_argument(
        "folder", nargs="?", help=f"of {dataset}; without it the figures are drawn again"
    )
    parser.add_argument("-o", "--output", default=f"runs/{dataset}", help="of files and records")
    parser.add_argument("--subset", action="store_true", help=f"{', '.join(names)} only")
    parser.add_argument("--crop", type=int, help="px; the central part of each picture")
    parser.add_argument("--steps", type=int)
    arguments = parser.parse_args()
    if arguments.folder:
        plan = subset if arguments.subset else plan
        plan = plan._replace(crop=arguments.crop, steps=arguments.steps or plan.steps)
        members = find_all([f"{dataset}:{arguments.folder}"], names if arguments.subset else ())
        with batch_display(False) as show:
            failures = evaluate(members, plan, arguments.output, show)
        summarize(arguments.output, failures)
        records = [
            record | {"input": os.path.basename(record["input"])}
            for record in read_results(arguments.output)[0]
        ]
        common.save(dataset, records)
    stored = common.RESULTS / f"{dataset}.json"
    draw(dataset, json.loads(stored.read_text())["results"] if stored.exists() else [], anchor)


def same_pictures(dataset: str, names: list[str]) -> list[Curve]:
    """Published results per image, averaged over the pictures of these names."""
    curves = []
    for path in sorted((PUBLISHED / dataset / "per_image").glob("*.json")):
        document = json.loads(path.read_text())
        chosen = [document["images"].get(name) for name in names]
        if None in chosen:
            continue
        averages = {
            key: tuple(float(mean) for mean in np.mean([c[key] for c in chosen], axis=0))
            for key in ("bpp", "psnr-rgb")
        }
        curve = Curve(
            document["name"], averages["bpp"], averages["psnr-rgb"], (None,) * len(averages["bpp"])
        )
        curves.append(
            curve._replace(source=document["source"], macs_per_pixel=document["macs_per_pixel"])
        )
    return curves


def draw(dataset: str, records: list[dict], anchor: str) -> None:
    """Figures 5 and 6 (rate and distortion) and 1 (complexity) of C3's paper, and BD-rates.

    Without records the published curves alone are drawn.
    """
    names = common_names(records)
    ours = average_curves(records)
    whole = len(names) in (0, LAYOUTS[dataset].count)
    published = [read_curve(path) for path in sorted((PUBLISHED / dataset).glob("*.json"))]
    title = f"{dataset}, {', '.join(names)}"
    if whole:
        comparable, anchor, title = ours + published, "VTM", dataset
    else:
        comparable = ours + same_pictures(dataset, names)
        published = [c._replace(name=f"{c.name} (all {LAYOUTS[dataset].count})") for c in published]
    reference = next(curve for curve in comparable if curve.name == anchor)
    others = [curve for curve in comparable if curve is not reference]
    comparisons = compare(reference, others)
    for comparison in comparisons:
        rate = comparison.bd_rate
        print(f"{comparison.name:40s}", comparison.error if rate is None else f"{rate:+.1f} %")
    common.save(
        f"{dataset}_bd_rates",
        [comparison._asdict() for comparison in comparisons],
        pictures=names,
        averaging=AVERAGING["mean"],
    )
    drawn = comparable if whole else comparable + _context(published)
    for metric in ("psnr", "ms_ssim"):
        if any(points(curve, metric) for curve in drawn):
            figure = rd_figure(drawn, metric, title=title)
            save_figure(str(common.RESULTS / f"{dataset}_{metric}.svg"), figure)
    macs = {curve.name: curve.macs_per_pixel for curve in others}
    costs = [Cost(c.name, macs[c.name], c.bd_rate) for c in comparisons if c.bd_rate is not None]
    figure = complexity_figure(costs, anchor, title)
    save_figure(str(common.RESULTS / f"{dataset}_complexity.svg"), figure)


def _context(published: list[Curve]) -> list[Curve]:
    """The averages of other systems that are worth a line beside curves of a few pictures."""
    return [c for c in published if c.name.split(" (all")[0] in ("VTM", "BPG", "C3 (adaptive)")]
