"""Zero latency, by the number of frames per network (table 5 of the upsampler's paper).

    python experiments/upsampler_signalling.py CLIPS... --every 8 16 32

Beside x265 without B-frames. Each group is decoded with the network of the one before it.
"""

from upsampler_study import ZERO, Variant, arguments_of, collect, study

PRESET = "klopp21-zero-latency"


def main() -> None:
    parser = arguments_of(__doc__ or "", steps=200)
    parser.add_argument("--every", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--base", help="name of one that is kept here, for the first group")
    arguments = parser.parse_args()
    variants = [
        Variant(PRESET, arguments.steps, {"group": every}, arguments.base)
        for every in arguments.every
    ]
    folder = study(arguments, variants, (ZERO,))
    collect("upsampler_signalling", folder, (ZERO,), lambda label: label.startswith(PRESET))


if __name__ == "__main__":
    main()
