"""`overfit plot`: files of curves in, a figure and a table of BD-rates out."""

import sys
from collections import Counter
from pathlib import Path

from overfit.commands.common import raise_failures, text_stream
from overfit.errors import UserError

_LITTLE_OVERLAP = 0.5  # of the anchor's range of quality; below it, the table warns
HELP = "draw rate-distortion curves, compare them with an anchor"


def add_arguments(parser) -> None:
    parser.add_argument(
        "inputs", nargs="+", metavar="CURVES", help="JSON files of curves, or folders of them"
    )
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help=".png or .svg")
    parser.add_argument("--metric", choices=["psnr", "ms-ssim", "psnr-yuv"], default="psnr")
    parser.add_argument("--log-rate", action="store_true", help="logarithmic axis of the rate")
    parser.add_argument(
        "--anchor", metavar="NAME", help="print BD-rates against this curve (its name, or a file)"
    )
    parser.add_argument("--title", default="")
    parser.add_argument(
        "--pixels-per-second", type=float, metavar="N",
        help="width x height x frames per second, for files that have kbit/s",
    )  # fmt: skip


def run(arguments) -> dict:
    """Draws the curves that can be read.

    Raises:
      UserError: no file is good, there is no such anchor, or the figure cannot be written.
      PartialFailure: some files cannot be read.
    """
    from overfit.report import plot
    from overfit.report.comparison import compare
    from overfit.report.curves import points

    if arguments.pixels_per_second is not None and not arguments.pixels_per_second > 0:
        raise UserError("--pixels-per-second must be above 0; say width x height x frames")
    plot.check_figure_output(arguments.output)
    metric = arguments.metric.replace("-", "_")
    curves, failed = _read(_files(arguments.inputs), arguments.pixels_per_second)
    anchor = None
    if arguments.anchor is not None:
        anchor, curves = _find(arguments.anchor, curves, arguments.pixels_per_second)
    drawn = [curve for curve in curves if points(curve, metric)]
    if anchor and anchor not in drawn:
        raise UserError(f"the anchor {anchor.name} has no {plot.label(metric)}; choose another")
    figure = plot.rd_figure(drawn, metric, arguments.log_rate, arguments.title)
    plot.save_figure(arguments.output, figure)
    others = [curve for curve in drawn if curve is not anchor]
    comparisons = compare(anchor, others, metric) if anchor else []
    if not arguments.quiet:
        if anchor:
            print(_table(anchor.name, comparisons), file=text_stream(arguments))
        missing = ", ".join(curve.name for curve in curves if curve not in drawn)
        if missing:
            print(f"not drawn, without {plot.label(metric)}: {missing}", file=sys.stderr)
    about = {
        "output": arguments.output,
        "metric": metric,
        "curves": [curve.name for curve in drawn],
        "bd_rates": [comparison._asdict() for comparison in comparisons],
        "failed": failed,
    }
    raise_failures([item["error"] for item in failed], about)
    return about


def _files(inputs: list[str]) -> list[Path]:
    """The files named, and those of each folder named, each once."""
    paths = []
    for name in inputs:
        path = Path(name)
        found = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not found:
            raise UserError(f"the folder '{name}' has no .json files; name another")
        paths += found
    return list(dict.fromkeys(paths))


def _read(paths: list[Path], pixels_per_second: float | None) -> tuple[list, list[dict]]:
    """The curves of the good files, under different names, and what is wrong with the others."""
    from overfit.report.curves import read_curve

    good, failed = [], []
    for path in paths:
        try:
            good.append((path, read_curve(path, pixels_per_second)))
        except UserError as error:
            failed.append({"input": str(path), "error": str(error)})
    if not good:
        more = f" (nor is any of the {len(failed) - 1} others a curve)" if failed[1:] else ""
        raise UserError(failed[0]["error"] + more)
    uses = Counter(curve.name for _, curve in good)
    return [
        curve if uses[curve.name] == 1 else curve._replace(name=f"{curve.name} ({path.stem})")
        for path, curve in good
    ], failed


def _find(name: str, curves: list, pixels_per_second: float | None) -> tuple:
    """The anchor and all curves with it: one of the given by its name, or a file of its own."""
    from overfit.report.curves import read_curve

    named = [curve for curve in curves if curve.name.lower() == name.lower()]
    if named:
        return named[0], curves
    if not Path(name).is_file():
        names = ", ".join(curve.name for curve in curves)
        raise UserError(f"there is no anchor '{name}'; give a file or one of: {names}")
    anchor = read_curve(name, pixels_per_second)
    for curve in curves:
        if curve == anchor:
            return curve, curves
    return anchor, [anchor, *curves]


def _table(anchor: str, comparisons: list) -> str:
    """BD-rates from the best to the worst, then what could not be compared."""
    width = max((len(c.name) for c in comparisons), default=0)
    lines = [f"BD-rate against {anchor} (pchip; the part of its quality range compared)"]
    for c in sorted((c for c in comparisons if c.error is None), key=lambda c: c.bd_rate):
        few = "  little overlap" if c.overlap < _LITTLE_OVERLAP else ""
        lines.append(f"  {c.name:<{width}}  {c.bd_rate:+8.2f} %  {c.overlap:5.0%}{few}")
    lines += [f"  {c.name:<{width}}  {c.error}" for c in comparisons if c.error is not None]
    return "\n".join(lines)
