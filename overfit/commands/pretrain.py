"""`overfit pretrain`: the base of a codec whose networks are learned once, from many signals."""

import contextlib
from pathlib import Path

from overfit.commands.common import check_base_output, prepare_jax, write_base
from overfit.errors import UserError

HELP = "train the networks of a codec on many images or clips: a base"


def add_arguments(parser) -> None:
    parser.add_argument("inputs", nargs="+", help="images or clips, as for evaluate")
    parser.add_argument("-o", "--output", required=True, metavar="BASE.ovb")
    parser.add_argument("--method", default="reference", help="default: reference")
    parser.add_argument(
        "--preset", help="of method reference reference-small (default), reference-paper; of "
        "method stat-ssf stat-ssf-small (default), stat-ssf-paper"
    )  # fmt: skip
    parser.add_argument(
        "--variant", help="of method stat-ssf: tat, stat, stat-sp, dvc, ssf, ssf-sp, stat-ssf, "
        "stat-ssf-sp (default)"
    )  # fmt: skip
    parser.add_argument("--width", type=int, help="channels of inner layers; latents: 1.5 as many")
    parser.add_argument("--base", help="train this one further, or into a larger configuration")
    parser.add_argument("--steps", type=int, help="default: as the preset says")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--workers", type=int, metavar="N",
        help="processes that prepare batches ahead; default: one for each core but one where an "
        "accelerator trains, none on CPUs",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="override a setting of the preset, say transform.normalization=gdn",
    )  # fmt: skip
    parser.add_argument("--checkpoint", metavar="DIR", help="save the run there and continue it")
    parser.add_argument(
        "--distributed", metavar="HOST:PORT,NUM,ID|auto",
        help="train with other processes: address of process 0, how many, which this one is; auto: "
        "as SLURM or another cluster tells it; process 0 writes the base",
    )  # fmt: skip


def run(arguments) -> dict:
    prepare_jax()
    check_base_output(arguments.output)
    from overfit.meta.hosts import joined

    with joined(arguments.distributed) as process:
        if process > 0:
            arguments.quiet, arguments.json = True, None
        base = _trained(arguments)
        return write_base(base, arguments) if process == 0 else {}


def _trained(arguments):
    from overfit import settings
    from overfit.bases import library
    from overfit.display import display
    from overfit.fitting.groups import DEFAULT_PRESET
    from overfit.io.datasets import find_all
    from overfit.meta.pretrain import Plan, batches_of, pretrain

    assignments = _chosen(arguments) | settings.parse_assignments(arguments.set)
    if arguments.steps is not None:
        assignments["training.steps"] = str(arguments.steps)
    preset = arguments.preset or DEFAULT_PRESET.get(arguments.method, "")
    plan = Plan(arguments.method, preset, assignments, arguments.seed)
    saved = Path(arguments.checkpoint) if arguments.checkpoint else None
    start = library.find(arguments.base).load() if arguments.base else None
    instances = find_all(arguments.inputs)
    with contextlib.closing(batches_of(instances, plan, arguments.workers)) as batches:
        with display(arguments.quiet) as show:
            return pretrain(instances, plan, saved, show, start, batches)


def _chosen(arguments) -> dict:
    """Settings that have options of their own."""
    from overfit import method

    found = {}
    if arguments.variant is not None:
        variants = method.load(arguments.method).variants
        if arguments.variant not in variants:
            names = ", ".join(variants) or "none"
            raise UserError(
                f"method {arguments.method} has no variant '{arguments.variant}'; it has {names}"
            )
        found |= variants[arguments.variant]
    if arguments.width is not None:
        found |= {"transform.width": arguments.width, "transform.latents": arguments.width * 3 // 2}
    return found
