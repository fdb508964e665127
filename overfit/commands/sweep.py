"""`overfit sweep`: the best of several settings for each image, or patch of a clip, resumable."""

import collections
import contextlib
import time

from overfit.commands.common import (
    add_base_argument,
    add_clip_arguments,
    add_run_arguments,
    numbers,
    prepare_jax,
    raise_failures,
    text_stream,
    watching,
    workers,
)
from overfit.errors import UserError

HELP = "choose the settings of each image, or patch of a clip, among several"


def add_arguments(parser) -> None:
    parser.add_argument(
        "sweep", nargs="?", metavar="SWEEP.toml", help="the settings to choose from"
    )
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUTS",
        help="images and clips, as for evaluate: files, folders, ...",
    )
    parser.add_argument("-o", "--output", metavar="DIR")
    parser.add_argument(
        "--status", metavar="DIR",
        help="say what is done there, and run nothing; on a terminal again and again",
    )  # fmt: skip
    parser.add_argument(
        "--strategy", choices=("halving", "grid", "search"),
        help="halving drops settings on the way (default), grid fits all to the end, search "
        "samples them (default where SWEEP.toml has a [search])",
    )  # fmt: skip
    rate = parser.add_mutually_exclusive_group()
    for name in ("--lmbda", "--lmbdas"):
        rate.add_argument(
            name, dest="lmbdas", metavar="L,L,...", help="default: those of SWEEP.toml"
        )
    parser.add_argument("--steps", type=int, help="of stage 1; default: those of SWEEP.toml")
    add_base_argument(parser, "none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--crop", type=int, metavar="PX", help="the central part of each picture")
    add_clip_arguments(parser)
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="these names, or globs of them"
    )
    add_run_arguments(parser)


def run(arguments) -> dict:
    prepare_jax()
    if arguments.status is not None:
        return _status(arguments)
    if not (arguments.sweep and arguments.inputs and arguments.output):
        raise UserError("a sweep takes SWEEP.toml, INPUTS and -o DIR; or --status DIR alone")
    from overfit.io.datasets import find_all
    from overfit.io.patches import parse_size
    from overfit.sweeping.rungs import Plan
    from overfit.sweeping.space import read_sweep
    from overfit.sweeping.sweep import sweep

    who = workers(arguments)
    lmbdas = arguments.lmbdas and numbers(arguments.lmbdas, "--lmbdas")
    space = read_sweep(arguments.sweep).replaced(arguments.steps, lmbdas)
    plan = Plan(
        space,
        space.strategy(arguments.strategy),
        arguments.seed,
        arguments.crop,
        arguments.frames,
        parse_size(arguments.patch) if arguments.patch else None,
        arguments.base,
    )
    instances = find_all(arguments.inputs, arguments.only)
    with watching(arguments) as watch:
        summary, failures = sweep(instances, plan, arguments.output, who, watch)
    if not arguments.quiet:
        print(_table(summary), file=text_stream(arguments))
    raise_failures([str(failure) for failure in failures], summary)
    return summary


STATUS_SECONDS = 2.0


def _status(arguments) -> dict:
    """Prints what there is; on a terminal until Ctrl-C."""
    from overfit.sweeping.status import status

    lines = status(arguments.status)
    stream = text_stream(arguments)
    if not arguments.quiet and not stream.isatty():
        print(_status_table(lines), file=stream)
    elif not arguments.quiet:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        with contextlib.suppress(KeyboardInterrupt), Live(console=Console(file=stream)) as live:
            while True:
                live.update(Text(_status_table(lines), no_wrap=True), refresh=True)
                time.sleep(STATUS_SECONDS)
                lines = status(arguments.status)
    return {"results": lines}


def _setting(setting: dict) -> str:
    values = {
        path: ",".join(map(str, value)) if isinstance(value, list | tuple) else value
        for path, value in setting.items()
    }
    return " ".join(f"{path}={value}" for path, value in values.items())


def _chosen(line: dict) -> str:
    """The setting of an image; of a clip each setting with the number of its patches."""
    if "patches" not in line:
        return _setting(line["sweep_setting"])
    counts = collections.Counter(_setting(patch["sweep_setting"]) for patch in line["patches"])
    return ", ".join(f"{count} x {setting}" for setting, count in counts.most_common())


def _table(summary: dict) -> str:
    return "\n".join(
        f"{line['name']}  lambda {line['lmbda']:g}: {line['bytes']} bytes  {line['bpp']:.4f} bpp  "
        f"{line['psnr']:.2f} dB  {_chosen(line)}  "
        f"({line['finished']} of {line['settings']} settings to the end)"
        for line in summary["results"]
    )


def _status_table(lines: list[dict]) -> str:
    width = max([len("name"), *(len(line["name"]) for line in lines)])
    rows = [f"{'name':{width}}    lambda  settings  files     step       cost  best so far"]
    for line in lines:
        best = ("         -", "-")
        if line["leader"] is not None:
            best = f"{line['cost']:10.3e}", _setting(line["leader"])
        rows.append(
            f"{line['name']:{width}}  {line['lmbda']:8g}  {line['settings']:8d}  "
            f"{line['files']:5d}  {line['step']:7d} {best[0]}  {best[1]}"
        )
    return "\n".join(rows)
