"""`overfit encode`: an image to an .ovf file."""

from overfit.commands.common import add_fit_arguments, check_writable, prepare_jax, text_stream
from overfit.errors import UserError

HELP = "fit a model to an image and write it as an .ovf file"


def add_arguments(parser) -> None:
    parser.add_argument("input", help="an image, or sample:NAME (say sample:astronaut)")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.ovf")
    parser.add_argument("--method", default="c3", help="default: c3")
    parser.add_argument("--preset", help="c3-kodak (default), c3-clic, coolchic-v2")
    parser.add_argument("--base", help="what to start from, as `bases list` has it; default: none")
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument(
        "--lmbda", type=float, help="squared error per bit per pixel, 1e-4 (large file) to 2e-2; "
        "default: 1e-3"
    )  # fmt: skip
    rate.add_argument("--qp", type=int, help="for methods over a classical codec")
    rate.add_argument("--target-bpp", type=float, help="search lambda for this size")
    rate.add_argument("--target-psnr", type=float, help="search lambda for this PSNR in dB")
    add_fit_arguments(parser)
    parser.add_argument("--checkpoint", metavar="DIR", help="save the run there and continue it")


def run(arguments) -> dict:
    from overfit.io.atomic import atomic_write
    from overfit.io.images import load_image

    if arguments.qp is not None:
        raise UserError(f"method {arguments.method} has no --qp; use --lmbda or a target")
    image = load_image(arguments.input)
    check_writable(arguments.output)
    prepare_jax()
    from overfit import settings
    from overfit.display import display
    from overfit.fitting.encode import encode, forget
    from overfit.fitting.groups import Options, Request
    from overfit.fitting.target import checked_target

    target = checked_target(arguments.target_bpp, arguments.target_psnr)
    options = Options(
        arguments.method,
        arguments.preset,
        1e-3 if arguments.lmbda is None else arguments.lmbda,
        arguments.steps,
        arguments.seed,
        settings.parse_assignments(arguments.set),
        target,
        None if arguments.base == "none" else arguments.base,
        arguments.checkpoint,
    )
    request = Request(image, options)
    with display(arguments.quiet) as show:
        (result,) = encode([request], show)
    with atomic_write(arguments.output) as file:
        file.write(result.data)
    forget(request)
    about = result.about | {"input": arguments.input, "output": arguments.output}
    if not arguments.quiet:
        print(_summary(about, image), file=text_stream(arguments))
    return about


def _summary(about: dict, image) -> str:
    from overfit.codecs.nearest import FAMILIAR, nearest_size

    lines = [
        f"{about['output']}: {about['bytes']} bytes, {about['bpp']:.4f} bpp, "
        f"{about['psnr']:.2f} dB after decoding ({about['width']}x{about['height']}, "
        f"lambda {about['lmbda']:.3g}, {about['steps']} steps, {about['seconds']:.0f} s)"
    ]
    for codec in FAMILIAR:
        try:
            anchor = nearest_size(image, codec, about["bytes"])
        except UserError:  # too large for that codec
            continue
        lines.append(f"  {codec} at its nearest size: {anchor.bytes} bytes, {anchor.psnr:.2f} dB")
    return "\n".join(lines)
