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

from overfit.display import batch_display
from overfit.evaluation import Plan, jobs
from overfit.io.datasets import LAYOUTS, find_all
from overfit.jobs.drive import drive
from overfit.jobs.store import read_results
from overfit.report.comparison import compare
from overfit.report.curves import points
from overfit.report.plot import Cost, complexity_figure, rd_figure, save_figure
from overfit.report.published import read_published
from overfit.report.summary import AVERAGING, average_curves, common_names, summarize

PUBLISHED = Path(__file__).parent / "published"
# The weights of the rate in C3's paper (appendix A.4), from large files to small ones.
PAPER_LMBDAS = (
    1e-4, 2e-4, 3e-4, 4e-4, 5e-4, 8e-4, 1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 8e-3, 1e-2, 2e-2,
)  # fmt: skip
CONTEXT = ("VTM", "BPG", "C3 (adaptive)")  # averages worth a line beside curves of a few pictures
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
            _, failures = drive(jobs(members, plan), arguments.output, progress=show)
        summarize(arguments.output, failures)
        records = [
            record | {"input": os.path.basename(record["input"])}
            for record in read_results(arguments.output)[0]
        ]
        common.save(dataset, records)
    stored = common.RESULTS / f"{dataset}.json"
    draw(dataset, json.loads(stored.read_text())["results"] if stored.exists() else [], anchor)


def draw(dataset: str, records: list[dict], anchor: str) -> None:
    """Figures 5 and 6 (rate and distortion) and 1 (complexity) of C3's paper, and BD-rates.

    Without records the published curves alone are drawn.
    """
    folder = PUBLISHED / dataset
    published = read_published([folder, folder / "per_image"], records)
    ours, names = average_curves(records), common_names(records)
    comparable = ours + published.same
    title = dataset
    if published.others:
        title = f"{dataset}, {', '.join(names)}"
    else:
        anchor = "VTM"
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
    whole_set = f"all {LAYOUTS[dataset].count}"
    drawn = comparable + [
        curve._replace(name=f"{curve.name} ({whole_set})")
        for curve in published.others
        if curve.name in CONTEXT
    ]
    for metric in ("psnr", "ms_ssim"):
        if any(points(curve, metric) for curve in drawn):
            figure = rd_figure(drawn, metric, title=title)
            save_figure(str(common.RESULTS / f"{dataset}_{metric}.svg"), figure)
    macs = {curve.name: curve.macs_per_pixel for curve in others}
    costs = [Cost(c.name, macs[c.name], c.bd_rate) for c in comparisons if c.bd_rate is not None]
    figure = complexity_figure(costs, anchor, title)
    save_figure(str(common.RESULTS / f"{dataset}_complexity.svg"), figure)
