"""What the parts of the upsampler are worth (figure 5 of its paper).

    python experiments/upsampler_ablation.py CLIPS... --base upsampler-klopp21

In the paper's order: all of it; without the base; without the features of the blocks; without the
position encoding, too, so that only the denoiser is left.
"""

from upsampler_study import FULL, HALF, Variant, arguments_of, collect, plain, study

PRESETS = ("klopp21", "klopp21-no-features", "klopp21-denoiser")


def main() -> None:
    parser = arguments_of(__doc__ or "")
    parser.add_argument("--group", type=int, default=32)
    parser.add_argument("--base", help="name of one that is kept here; without it: no such curve")
    arguments = parser.parse_args()
    group = {"group": arguments.group}
    variants = [Variant(preset, arguments.steps, group) for preset in PRESETS]
    if arguments.base:
        variants.insert(0, variants[0]._replace(base=arguments.base))
    folder = study(arguments, variants)
    start = tuple(f"{preset}, {arguments.steps} steps" for preset in PRESETS)
    collect(
        "upsampler_ablation", folder, (FULL, f"{HALF}, bilinear"),
        lambda k: k.startswith(start) and plain(k),
    )  # fmt: skip


if __name__ == "__main__":
    main()
