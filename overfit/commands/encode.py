"""`overfit encode`: an image or a clip to an .ovf file."""

from overfit.commands.common import add_fit_arguments, check_writable, prepare_jax, text_stream
from overfit.errors import UserError

HELP = "fit models to an image or a clip and write them as an .ovf file"


def add_arguments(parser) -> None:
    parser.add_argument(
        "input", help="an image, sample:NAME (say sample:astronaut), a clip or a folder of frames"
    )
    parser.add_argument("-o", "--output", required=True, metavar="OUT.ovf")
    parser.add_argument("--method", default="c3", help="default: c3")
    parser.add_argument(
        "--preset", help="c3-kodak (default), c3-clic, coolchic-v2; of clips c3-uvg-shared "
        "(default), c3-uvg-separate, c3-uvg-masked",
    )  # fmt: skip
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
    parser.add_argument("--frames", type=int, metavar="N", help="the first ones of a clip")
    parser.add_argument(
        "--patch", metavar="T,H,W", help="frames, rows, columns of the parts a clip is fitted in"
    )
    parser.add_argument("--checkpoint", metavar="DIR", help="save the run there and continue it")
    parser.add_argument(
        "--adapt", help="what of a pretrained codec is fitted to the image: latents, igsdn, last, "
        "adapter, all, or auto (default), which keeps what pays"
    )  # fmt: skip


def run(arguments) -> dict:
    from overfit.io.atomic import atomic_write
    from overfit.io.patches import parse_size

    if arguments.qp is not None:
        raise UserError(f"method {arguments.method} has no --qp; use --lmbda or a target")
    signal = _load(arguments)
    check_writable(arguments.output)
    prepare_jax()
    from overfit import settings
    from overfit.display import display
    from overfit.fitting.encode import encode, forget
    from overfit.fitting.groups import Options, Request
    from overfit.fitting.target import checked_target

    target = checked_target(arguments.target_bpp, arguments.target_psnr)
    assignments = settings.parse_assignments(arguments.set)
    if arguments.adapt is not None:
        assignments["adapt"] = arguments.adapt
    options = Options(
        arguments.method,
        arguments.preset,
        1e-3 if arguments.lmbda is None else arguments.lmbda,
        arguments.steps,
        arguments.seed,
        assignments,
        target,
        None if arguments.base == "none" else arguments.base,
        parse_size(arguments.patch) if arguments.patch else None,
        arguments.checkpoint,
    )
    request = Request(signal, options)
    with display(arguments.quiet) as show:
        (result,) = encode([request], show)
    with atomic_write(arguments.output) as file:
        file.write(result.data)
    forget(request)
    about = result.about | {"input": arguments.input, "output": arguments.output}
    if not arguments.quiet:
        print(_summary(about, signal), file=text_stream(arguments))
    return about


def _load(arguments):
    """The image, or the clip as RGB."""
    from overfit.io.clips import as_rgb, is_clip, load_clip
    from overfit.io.images import load_image

    if is_clip(arguments.input):
        return as_rgb(load_clip(arguments.input, arguments.frames))
    for name in ("frames", "patch"):
        if getattr(arguments, name) is not None:
            raise UserError(f"--{name} is for clips, and '{arguments.input}' is an image")
    return load_image(arguments.input)


def _summary(about: dict, signal) -> str:
    from overfit.codecs.nearest import FAMILIAR, nearest_size
    from overfit.io.clips import Clip

    frames = f"x{about['frames']}" if about["frames"] > 1 else ""
    lines = [
        f"{about['output']}: {about['bytes']} bytes, {about['bpp']:.4f} bpp, "
        f"{about['psnr']:.2f} dB after decoding ({about['width']}x{about['height']}{frames}, "
        f"lambda {about['lmbda']:.3g}, {about['steps']} steps, {about['seconds']:.0f} s)"
    ]
    if isinstance(signal, Clip):
        return lines[0]
    for codec in FAMILIAR:
        try:
            anchor = nearest_size(signal, codec, about["bytes"])
        except UserError:  # too large for that codec
            continue
        lines.append(f"  {codec} at its nearest size: {anchor.bytes} bytes, {anchor.psnr:.2f} dB")
    return "\n".join(lines)
