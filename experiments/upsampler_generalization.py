"""Fits that see the first frames of each group only (figure 6 of the upsampler's paper).

    python experiments/upsampler_generalization.py CLIPS... --shares 0.25 0.5 1

A share is that of the group's frames; quality is that of all of them.
"""

from upsampler_study import FULL, Variant, arguments_of, collect, study

from overfit.settings import parse_assignments


def main() -> None:
    parser = arguments_of(__doc__ or "")
    parser.add_argument("--group", type=int, default=32)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.125, 0.25, 0.5, 0.75, 1.0])
    arguments = parser.parse_args()
    variants = [
        Variant(
            steps=arguments.steps,
            set={"group": arguments.group, "fit.noise_start": share, "fit.noise_end": share},
        )
        for share in sorted(arguments.shares)
    ]
    folder = study(arguments, variants, (FULL,))
    most = variants[-1].set | parse_assignments(arguments.set)
    anchors = FULL, variants[-1]._replace(set=most).label
    collect("upsampler_generalization", folder, anchors, lambda label: "fit.noise_end" in label)


if __name__ == "__main__":
    main()
