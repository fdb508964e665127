"""`overfit meta-train`: a base, learned from many images or clips."""

from pathlib import Path

from overfit.commands.common import check_base_output, numbers, prepare_jax, write_base
from overfit.errors import UserError

HELP = "learn a base from many images or clips"


def add_arguments(parser) -> None:
    parser.add_argument(
        "inputs", nargs="+", help="images, as for evaluate, or clips: for C3 as clips:FOLDER"
    )
    parser.add_argument("-o", "--output", required=True, metavar="BASE.ovb")
    parser.add_argument("--method", default="c3", help="default: c3")
    parser.add_argument("--preset", help="as for encode: a base is for one architecture")
    parser.add_argument(
        "--outer-steps", type=int, default=150, help="batches of fits; default: 150"
    )
    parser.add_argument("--batch", type=int, default=8, help="fits of an outer step; default: 8")
    parser.add_argument(
        "--steps", type=int, default=250, help="of stage 1 of each fit; default: 250"
    )
    parser.add_argument("--crop", type=int, default=128, metavar="PX", help="default: 128")
    parser.add_argument(
        "--frames", type=int, default=8, metavar="T",
        help="of a fit of C3 for clips, or as many as the shortest clip has; default: 8",
    )  # fmt: skip
    parser.add_argument(
        "--lmbdas", default="2e-4,2e-2", metavar="LOW,HIGH",
        help="each fit has a lambda between these; default: 2e-4,2e-2",
    )  # fmt: skip
    parser.add_argument(
        "--rate", default="0.7,0.1", metavar="FIRST,LAST",
        help="how much of the way an outer step takes, at the start and at the end; default: "
        "0.7,0.1",
    )  # fmt: skip
    parser.add_argument(
        "--free", type=float, default=0.6, metavar="SHARE",
        help="of the outer steps, in whose fits changes cost nothing yet; default: 0.6",
    )  # fmt: skip
    parser.add_argument("--base", metavar="NAME", help="one to go on from; default: none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="override a setting of the preset",
    )  # fmt: skip
    parser.add_argument("--checkpoint", metavar="DIR", help="save the run there and continue it")


def run(arguments) -> dict:
    prepare_jax()
    check_base_output(arguments.output)
    from overfit import settings
    from overfit.display import training_display
    from overfit.meta.plan import Plan
    from overfit.meta.train import train

    lmbdas = numbers(arguments.lmbdas, "--lmbdas")
    rate = numbers(arguments.rate, "--rate")
    if not 0 < min(rate) <= max(rate) <= 1:
        raise UserError(f"--rate must be in (0, 1], not {arguments.rate}")
    plan = Plan(
        arguments.method,
        arguments.preset,
        settings.parse_assignments(arguments.set),
        arguments.outer_steps,
        arguments.batch,
        arguments.steps,
        arguments.crop,
        arguments.frames,
        (lmbdas[0], lmbdas[-1]),
        rate=(rate[0], rate[-1]),
        free=arguments.free,
        seed=arguments.seed,
        base=None if arguments.base == "none" else arguments.base,
    )
    saved = Path(arguments.checkpoint) if arguments.checkpoint else None
    with training_display(arguments.quiet) as show:
        base = train(_instances(arguments), plan, saved, show)
    return write_base(base, arguments)


def _instances(arguments) -> list:
    """Of a method for clips a folder of pictures is a clip; elsewhere it is many pictures."""
    from overfit import method
    from overfit.io.clips import is_clip
    from overfit.io.datasets import Instance, find_all

    if method.load(arguments.method).groups is None:
        return find_all(arguments.inputs)
    clips = [path for path in arguments.inputs if is_clip(path)]
    others = [path for path in arguments.inputs if path not in clips]
    named = [Instance("clips", Path(path).name, path, "video") for path in clips]
    return named + (find_all(others) if others else [])
