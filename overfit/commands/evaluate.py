"""`overfit evaluate`: codecs over a data set, as real files, resumable."""

import re

from overfit.commands.common import (
    add_clip_arguments,
    add_fit_arguments,
    add_many_arguments,
    numbers,
    prepare_jax,
    raise_failures,
    text_stream,
    watching,
    workers,
)

HELP = "run codecs over a data set and average their curves"


def add_arguments(parser) -> None:
    parser.add_argument(
        "dataset", nargs="+",
        help="a folder, a file, a glob, or kodak:FOLDER, clic2020:FOLDER, uvg:FOLDER, "
        "mcl-jcv:FOLDER",
    )  # fmt: skip
    parser.add_argument(
        "--methods", default="c3-kodak,jpeg,webp", metavar="A,B,...",
        help="presets (c3-kodak, c3-clic, ...) and classical codecs (jpeg, avif, x265-...); "
        "default: c3-kodak,jpeg,webp",
    )  # fmt: skip
    parser.add_argument(
        "--lmbdas", default="4e-4,1e-3,4e-3", metavar="L,L,...",
        help="for presets; default: 4e-4,1e-3,4e-3",
    )  # fmt: skip
    parser.add_argument(
        "--ladder", action="append", default=[], metavar="CODEC=V,V,...",
        help="settings of a classical codec instead of its own",
    )  # fmt: skip
    add_fit_arguments(parser)
    add_many_arguments(parser)
    add_clip_arguments(parser)
    parser.add_argument(
        "--averaging", default="mean", choices=("mean", "pooled"),
        help="over pictures: mean of PSNRs (default), or PSNR of the pooled squared error",
    )  # fmt: skip


def _ladders(assignments: list[str]) -> dict[str, tuple[float, ...]]:
    ladders = {}
    for assignment in assignments:
        codec, _, values = assignment.partition("=")
        ladders[codec] = numbers(values, "the settings in --ladder CODEC=V,V,...")
    return ladders


def run(arguments) -> dict:
    prepare_jax()
    from overfit import settings
    from overfit.evaluation import Plan, jobs
    from overfit.io.datasets import find_all
    from overfit.io.patches import parse_size
    from overfit.jobs.drive import drive
    from overfit.report.summary import summarize

    who = workers(arguments)
    instances = find_all(arguments.dataset, arguments.only)
    plan = Plan(
        tuple(filter(None, re.split(r"[,\s]+", arguments.methods))),
        numbers(arguments.lmbdas, "--lmbdas"),
        _ladders(arguments.ladder),
        arguments.steps,
        arguments.seed,
        settings.parse_assignments(arguments.set),
        arguments.crop,
        arguments.frames,
        parse_size(arguments.patch) if arguments.patch else None,
        arguments.base,
    )
    todo = jobs(instances, plan)
    with watching(arguments) as watch:
        _, failures = drive(todo, arguments.output, who, watch)
    summary = summarize(arguments.output, failures, arguments.averaging)
    if not arguments.quiet:
        print(_table(summary), file=text_stream(arguments))
    raise_failures([str(failure) for failure in failures], summary)
    return summary


def _table(summary: dict) -> str:
    names = summary["averaged_over"]
    if not names:
        return "no picture has a result for every curve and setting yet: no averages"
    lines = [f"averages over {len(names)} ({summary['averaging_means']}):"]
    for curve in summary["curves"]:
        lines.append(curve["name"])
        columns = (curve[key] for key in ("bpp", "psnr", "ms_ssim", "psnr_yuv"))
        for bpp, psnr, ms_ssim, psnr_yuv in zip(*columns, strict=True):
            figures = [f"{bpp:7.4f} bpp"]
            figures += [] if psnr is None else [f"{psnr:6.2f} dB"]
            figures += [] if ms_ssim is None else [f"MS-SSIM {ms_ssim:.4f}"]
            figures += [] if psnr_yuv is None else [f"YUV 6:1:1 {psnr_yuv:6.2f} dB"]
            lines.append("  " + "  ".join(figures))
    return "\n".join(lines)
