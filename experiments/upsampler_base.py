"""The meta-learned base against random networks, by the number of steps (section 3.4 of the
upsampler's paper).

    python experiments/upsampler_base.py CLIPS... --base upsampler-klopp21 --steps-of 100 300 1250

The clips must be none that the base was learned from.
"""

from upsampler_study import HALF, Variant, arguments_of, collect, study


def main() -> None:
    parser = arguments_of(__doc__ or "")
    parser.add_argument("--group", type=int, default=32)
    parser.add_argument("--base", default="upsampler-klopp21", help="name of one that is kept here")
    parser.add_argument("--steps-of", type=int, nargs="+", default=[100, 300, 1250])
    arguments = parser.parse_args()
    variants = [
        Variant(steps=steps, set={"group": arguments.group}, base=base)
        for steps in arguments.steps_of
        for base in (None, arguments.base)
    ]
    folder = study(arguments, variants, (HALF,))
    start = tuple(f"klopp21, {steps} steps" for steps in arguments.steps_of)
    collect("upsampler_base", folder, (f"{HALF}, bilinear",), lambda k: k.startswith(start))


if __name__ == "__main__":
    main()
