"""Length of the groups, and the denoiser of 2020 (table 3 of the upsampler's paper).

python experiments/upsampler_groups.py CLIPS... --groups 32 128
"""

from upsampler_study import FULL, Variant, arguments_of, collect, plain, study

from overfit.settings import parse_assignments

PRESETS = ("klopp21", "klopp20")


def main() -> None:
    parser = arguments_of(__doc__ or "")
    parser.add_argument("--presets", nargs="+", default=PRESETS, choices=PRESETS)
    parser.add_argument("--groups", type=int, nargs="+", default=[32, 128])
    arguments = parser.parse_args()
    variants = [
        Variant(preset, arguments.steps, {"group": group})
        for preset in arguments.presets
        for group in arguments.groups
    ]
    folder = study(arguments, variants, (FULL,))
    start = tuple(f"{preset}, {arguments.steps} steps" for preset in PRESETS)
    shortest = {"group": min(arguments.groups)} | parse_assignments(arguments.set)
    anchors = [Variant(preset, arguments.steps, shortest).label for preset in PRESETS]
    collect(
        "upsampler_groups", folder, (FULL, *anchors),
        lambda label: label.startswith(start) and plain(label),
    )  # fmt: skip


if __name__ == "__main__":
    main()
