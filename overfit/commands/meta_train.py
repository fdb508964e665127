"""`overfit meta-train`: a base, learned from many images."""

from pathlib import Path

from overfit.commands.common import check_base_output, numbers, prepare_jax, write_base

HELP = "learn a base from many images"


def add_arguments(parser) -> None:
    parser.add_argument("inputs", nargs="+", help="images, as for evaluate")
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
        "--lmbdas", default="2e-4,2e-2", metavar="LOW,HIGH",
        help="each fit has a lambda between these; default: 2e-4,2e-2",
    )  # fmt: skip
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
    from overfit.io.datasets import find_all
    from overfit.meta.train import Plan, train

    lmbdas = numbers(arguments.lmbdas, "--lmbdas")
    plan = Plan(
        arguments.method,
        arguments.preset,
        settings.parse_assignments(arguments.set),
        arguments.outer_steps,
        arguments.batch,
        arguments.steps,
        arguments.crop,
        (lmbdas[0], lmbdas[-1]),
        seed=arguments.seed,
    )
    saved = Path(arguments.checkpoint) if arguments.checkpoint else None
    with training_display(arguments.quiet) as show:
        base = train(find_all(arguments.inputs), plan, saved, show)
    return write_base(base, arguments)
