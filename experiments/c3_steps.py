"""BD-rate of C3 against the number of steps, on small central crops (Figure 23 of the paper).

    python experiments/c3_steps.py KODAK_FOLDER

Every number of steps is a whole run with its own schedule. BD-rates refer to hevc-intra on the same
crops. The networks weigh more in a small crop than in a picture, so that all BD-rates are worse
than on pictures; their decrease with the steps is what this shows.
"""

import argparse

import common

from overfit.display import batch_display
from overfit.evaluation import Plan, jobs
from overfit.io.datasets import find_all
from overfit.jobs.drive import drive
from overfit.jobs.store import read_results
from overfit.report.comparison import compare
from overfit.report.plot import save_figure, steps_figure
from overfit.report.summary import AVERAGING, average_curves, common_names

ANCHOR = "hevc-intra"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of the Kodak images")
    parser.add_argument("--images", nargs="+", default=["kodim05", "kodim23"])
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--lmbdas", type=float, nargs="+", default=[4e-4, 1e-3, 4e-3])
    parser.add_argument("--steps", type=int, nargs="+", default=[250, 500, 1000, 2000, 4000])
    parser.add_argument("-o", "--output", default="runs/c3_steps", help="of files and records")
    arguments = parser.parse_args()
    members = find_all([f"kodak:{arguments.folder}"], arguments.images)
    plans = [Plan((ANCHOR,), crop=arguments.crop)] + [
        Plan(("c3-kodak",), tuple(arguments.lmbdas), steps=steps, crop=arguments.crop)
        for steps in arguments.steps
    ]
    for plan in plans:
        with batch_display(False) as show:
            _, failures = drive(jobs(members, plan), arguments.output, progress=show)
        if failures:
            raise SystemExit(str(failures[0]))
    records = read_results(arguments.output)[0]
    anchor, *curves = average_curves(records)
    longest = curves[-1]
    rows = [
        {
            "steps": steps,
            "points": list(zip(curve.bpp, curve.psnr, strict=True)),
            "against_anchor": to_anchor._asdict(),
            "against_longest": to_longest._asdict(),
            "seconds": curve.encoding_time,
        }
        for steps, curve, to_anchor, to_longest in zip(
            arguments.steps, curves, compare(anchor, curves), compare(longest, curves), strict=True
        )
    ]
    for row in rows:
        print(row["steps"], row["against_anchor"]["bd_rate"], row["against_longest"]["bd_rate"])
    common.save("c3_steps", rows, pictures=common_names(records), averaging=AVERAGING["mean"])
    figure = steps_figure(
        [(row["steps"], row["against_anchor"]["bd_rate"]) for row in rows], ANCHOR,
        f"c3-kodak on {arguments.crop} px crops of {', '.join(arguments.images)}",
    )  # fmt: skip
    save_figure(str(common.RESULTS / "c3_steps.svg"), figure)


if __name__ == "__main__":
    main()
