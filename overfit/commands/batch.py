"""`overfit batch`: many images to .ovf files, in parallel, resumable."""

from pathlib import Path

from overfit.commands.common import (
    add_fit_arguments,
    add_many_arguments,
    prepare_jax,
    raise_failures,
    text_stream,
    watching,
    workers,
)

HELP = "encode many images, each to an .ovf file"


def add_arguments(parser) -> None:
    parser.add_argument(
        "inputs", nargs="+", help="images, folders, globs, or a named set as for evaluate"
    )
    parser.add_argument("--method", default="c3", help="default: c3")
    parser.add_argument("--preset", help="as for encode")
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("--lmbda", type=float, help="default: 1e-3")
    rate.add_argument("--target-bpp", type=float)
    rate.add_argument("--target-psnr", type=float)
    add_fit_arguments(parser)
    add_many_arguments(parser)


def run(arguments) -> dict:
    prepare_jax()
    from overfit import settings
    from overfit.fitting import clips, groups
    from overfit.fitting.groups import Options, configuration, steps_for
    from overfit.fitting.target import checked_target
    from overfit.io.datasets import find_all
    from overfit.io.json_file import write_json
    from overfit.jobs.drive import drive
    from overfit.jobs.job import Job, fit_label, with_base

    who = workers(arguments)
    target = checked_target(arguments.target_bpp, arguments.target_psnr)
    setting = {"lmbda": 1e-3 if arguments.lmbda is None else arguments.lmbda}
    if target is not None:
        setting = {key: value for key, value in target._asdict().items() if value is not None}
    changes = settings.parse_assignments(arguments.set)
    options = {
        "method": arguments.method,
        "preset": arguments.preset,
        "lmbda": setting.get("lmbda", 1e-3),
        "steps": steps_for(arguments.steps, arguments.method, arguments.preset, changes),
        "seed": arguments.seed,
        "set": changes,
        "target": target,
    }
    instances = find_all(arguments.inputs, arguments.only)
    fits = {}
    for kind in {instance.kind for instance in instances}:
        defaults = groups.DEFAULT_PRESET | (clips.DEFAULT_PRESET if kind == "video" else {})
        _, preset, _ = configuration(Options(**options), defaults)
        fits[kind] = with_base(options | {"preset": preset}, arguments.base)
    jobs = [
        Job(
            instance, fit_label(fits[instance.kind]), "overfit", setting, f"{instance.name}.ovf",
            fits[instance.kind], arguments.crop,
        )
        for instance in instances
    ]  # fmt: skip
    with watching(arguments) as watch:
        done, failures = drive(jobs, arguments.output, who, watch)
    about = {
        "output": arguments.output,
        "files": len(done),
        "bytes": sum(record["bytes"] for record in done),
        "bpp": _mean(done, "bpp"),
        "psnr": _mean(done, "psnr"),
        "failures": [failure._asdict() for failure in failures],
        "results": done,
    }
    write_json(Path(arguments.output) / "summary.json", about)
    if done and not arguments.quiet:
        quality = "" if about["psnr"] is None else f", {about['psnr']:.2f} dB"
        print(
            f"{arguments.output}: {len(done)} files, {about['bytes']} bytes; on average "
            f"{about['bpp']:.4f} bpp{quality}",
            file=text_stream(arguments),
        )
    raise_failures([str(failure) for failure in failures], about)
    return about


def _mean(records: list[dict], key: str) -> float | None:
    """None where there is nothing, or a lossless file without a PSNR."""
    values = [record[key] for record in records]
    return sum(values) / len(values) if values and None not in values else None
