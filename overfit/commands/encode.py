"""`overfit encode`: an image or a clip to an .ovf file."""

import sys

from overfit.commands.common import (
    add_clip_arguments,
    add_fit_arguments,
    check_writable,
    prepare_jax,
    text_stream,
)
from overfit.errors import UserError

ZERO_LATENCY = "-zero-latency"  # ends the names of presets
HELP = "fit models to an image or a clip and write them as an .ovf file"


def add_arguments(parser) -> None:
    parser.add_argument(
        "input", help="an image, sample:NAME (say sample:astronaut), a clip or a folder of frames"
    )
    parser.add_argument("-o", "--output", required=True, metavar="OUT.ovf")
    parser.add_argument("--method", default="c3", help="default: c3")
    parser.add_argument(
        "--preset", help="c3-kodak (default), fast, c3-clic, coolchic-v2; of clips c3-uvg-shared "
        "(default), c3-uvg-separate, c3-uvg-masked; of method upsampler klopp21 (default), "
        "klopp21-literal, klopp21-no-features, klopp21-denoiser, klopp20",
    )  # fmt: skip
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument(
        "--lmbda", type=float, help="squared error per bit per pixel, 1e-4 (large file) to 2e-2; "
        "default: 1e-3"
    )  # fmt: skip
    rate.add_argument("--qp", type=int, help="of methods over a classical codec")
    rate.add_argument("--target-bpp", type=float, help="search lambda for this size")
    rate.add_argument("--target-psnr", type=float, help="search lambda for this PSNR in dB")
    add_fit_arguments(parser)
    add_clip_arguments(parser)
    parser.add_argument("--size", metavar="WxH", help="of a raw .yuv file without it in its name")
    parser.add_argument("--fps", metavar="F", help="of such a file, say 50 or 29.97")
    groups = parser.add_argument_group("method upsampler, which fits a clip in groups of frames")
    groups.add_argument("--group", type=int, metavar="N", help="frames per group; default: 32")
    groups.add_argument(
        "--latency", choices=("offline", "zero"),
        help="zero: a group is decoded with the networks of the one before it; default: offline",
    )  # fmt: skip
    groups.add_argument(
        "--signal-every", type=int, metavar="N",
        help="frames per group of zero latency; default: 16",
    )  # fmt: skip
    groups.add_argument("--tune", choices=("psnr", "ssim"), help="of x265; default: psnr")
    parser.add_argument("--checkpoint", metavar="DIR", help="save the run there and continue it")
    parser.add_argument(
        "--adapt", help="what of a pretrained codec is fitted: of method reference latents, igsdn, "
        "last, adapter, all, or auto (default), which keeps what pays; of method stat-ssf all "
        "(default), decoder, subset"
    )  # fmt: skip


def run(arguments) -> dict:
    from overfit.io.atomic import atomic_write

    codec = _method(arguments)
    signal = _load(arguments)
    check_writable(arguments.output)
    prepare_jax()
    from overfit.display import display
    from overfit.fitting.clips import as_fitted
    from overfit.fitting.encode import encode, forget
    from overfit.fitting.groups import Request
    from overfit.io.clip import Clip
    from overfit.method import has_latents

    options = _options(arguments, codec)
    if isinstance(signal, Clip) and has_latents(codec):  # patches; the others convert
        signal = as_fitted(signal, options)
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


def _method(arguments):
    """Raises UserError for options that the method does not have."""
    from overfit import method

    codec = method.load(arguments.method)
    if codec.pretraining is None and arguments.adapt is not None:
        raise UserError(f"method {codec.name} has no --adapt, which is of pretrained codecs")
    if codec.groups is None:
        for name in ("qp", "group", "latency", "signal_every", "tune"):
            if getattr(arguments, name) is not None:
                hint = "; use --lmbda or a target" if name == "qp" else ""
                raise UserError(f"method {codec.name} has no --{name.replace('_', '-')}{hint}")
    elif arguments.group is not None and arguments.latency == "zero":
        raise UserError("--group is for --latency offline; give --signal-every")
    elif arguments.signal_every is not None and arguments.latency != "zero":
        raise UserError("--signal-every is for --latency zero; give --group")
    return codec


def _options(arguments, codec):
    from overfit import settings
    from overfit.fitting.groups import DEFAULT_PRESET, Options, steps_for
    from overfit.fitting.target import checked_target
    from overfit.io.patches import parse_size

    changes = settings.parse_assignments(arguments.set)
    group = arguments.group if arguments.signal_every is None else arguments.signal_every
    changes |= {"group": group} if group is not None else {}
    changes |= {"adapt": arguments.adapt} if arguments.adapt is not None else {}
    changes |= {"base.tune": arguments.tune} if arguments.tune is not None else {}
    preset = arguments.preset
    if arguments.latency == "zero":
        preset = (preset or DEFAULT_PRESET[codec.name]).removesuffix(ZERO_LATENCY) + ZERO_LATENCY
    return Options(
        arguments.method,
        preset,
        1e-3 if arguments.lmbda is None else arguments.lmbda,
        steps_for(arguments.steps, arguments.method, preset, changes),
        arguments.seed,
        changes,
        checked_target(arguments.target_bpp, arguments.target_psnr),
        arguments.base,
        parse_size(arguments.patch) if arguments.patch else None,
        arguments.checkpoint,
        arguments.qp,
    )


def _load(arguments):
    """The image, or the clip as it is."""
    from overfit.io.clips import has_sound, is_clip, load_clip
    from overfit.io.images import load_image

    if is_clip(arguments.input):
        clip = load_clip(arguments.input, arguments.frames, arguments.size, arguments.fps)
        if not arguments.quiet and has_sound(arguments.input):
            print(f"'{arguments.input}' has sound, which is not kept", file=sys.stderr)
        return clip
    for name in ("frames", "patch", "size", "fps"):
        if getattr(arguments, name) is not None:
            raise UserError(f"--{name} is for clips, and '{arguments.input}' is an image")
    return load_image(arguments.input)


def _summary(about: dict, signal) -> str:
    from overfit.codecs.nearest import FAMILIAR, nearest_size
    from overfit.io.clip import Clip

    frames = f"x{about['frames']}" if about["frames"] > 1 else ""
    psnr = about["psnr"] if about["psnr"] is not None else about["psnr_yuv"]
    rate = f"lambda {about['lmbda']:.3g}" if about["qp"] is None else f"QP {about['qp']}"
    lines = [
        f"{about['output']}: {about['bytes']} bytes, {about['bpp']:.4f} bpp, "
        f"{psnr:.2f} dB after decoding ({about['width']}x{about['height']}{frames}, "
        f"{rate}, {about['steps']} steps, {about['seconds']:.0f} s)"
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
