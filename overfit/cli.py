"""The command line: parse, call, print. CONTRACT: exit codes 0, 1, 2, 130; results on stdout."""

import argparse
import json
import math
import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from overfit import __version__
from overfit.errors import UserError
from overfit.report import cli_plot


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see `{self.prog} --help`)")


def parser() -> argparse.ArgumentParser:
    top = _Parser(prog="overfit", description="Compression by overfitting a small model per image.")
    top.add_argument("--version", action="version", version=f"overfit {__version__}")
    commands = top.add_subparsers(dest="command", required=True, parser_class=_Parser)

    common = _Parser(add_help=False)
    common.add_argument("--json", metavar="FILE", help="write the result as JSON ('-': stdout)")
    common.add_argument("--quiet", action="store_true", help="no progress, no summary")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")

    encode = commands.add_parser(
        "encode", parents=[common], help="fit a model to an image and write it as an .ovf file"
    )
    encode.add_argument("input", help="an image, or sample:NAME (say sample:astronaut)")
    encode.add_argument("-o", "--output", required=True, metavar="OUT.ovf")
    encode.add_argument("--method", default="c3", help="default: c3")
    encode.add_argument("--preset", help="c3-kodak (default), c3-clic, coolchic-v2")
    encode.add_argument("--base", help="'none' is the only base so far")
    rate = encode.add_mutually_exclusive_group()
    rate.add_argument(
        "--lmbda", type=float, help="squared error per bit per pixel, 1e-4 (large file) to 2e-2; "
        "default: 1e-3"
    )  # fmt: skip
    rate.add_argument("--qp", type=int, help="for methods over a classical codec")
    rate.add_argument("--target-bpp", type=float, help="search lambda for this size")
    rate.add_argument("--target-psnr", type=float, help="search lambda for this PSNR in dB")
    encode.add_argument(
        "--steps", type=int, default=1000, help="of stage 1; default: 1000, in C3's paper: 100000"
    )
    encode.add_argument("--seed", type=int, default=0)
    encode.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="override a setting of the preset, say entropy.context=2",
    )  # fmt: skip
    encode.add_argument("--checkpoint", metavar="DIR", help="save the run there and continue it")

    decode = commands.add_parser(
        "decode", parents=[common], help="turn an .ovf file back into an image"
    )
    decode.add_argument("input", metavar="FILE.ovf")
    decode.add_argument("-o", "--output", required=True, help=".png, .ppm, .bmp, .tif, .webp")

    info = commands.add_parser("info", parents=[common], help="say what an .ovf file holds")
    info.add_argument("input", metavar="FILE.ovf")

    cli_plot.add_parser(commands, common)
    return top


# -- Commands --------------------------------------------------------------------------------------


def _encode(arguments) -> dict:
    from overfit.io.atomic import atomic_write
    from overfit.io.images import load_image

    if arguments.qp is not None:
        raise UserError(f"method {arguments.method} has no --qp; use --lmbda or a target")
    if arguments.base not in (None, "none"):
        raise UserError(f"there is no base '{arguments.base}'; leave --base out or say none")
    image = load_image(arguments.input)
    _check_writable(arguments.output)
    _prepare_jax()
    from overfit import encoding, settings
    from overfit.display import display

    target = None
    if arguments.target_bpp is not None or arguments.target_psnr is not None:
        target = encoding.checked_target(arguments.target_bpp, arguments.target_psnr)
    options = encoding.Options(
        arguments.method,
        arguments.preset,
        1e-3 if arguments.lmbda is None else arguments.lmbda,
        arguments.steps,
        arguments.seed,
        settings.parse_assignments(arguments.set),
        target,
        arguments.checkpoint,
    )
    with display(arguments.quiet) as show:
        (result,) = encoding.encode([image], options, show)
    with atomic_write(arguments.output) as file:
        file.write(result.data)
    about = result.about | {"input": arguments.input, "output": arguments.output}
    if not arguments.quiet:
        print(_summary(about, image), file=_text_stream(arguments))
    return about


def _summary(about: dict, image) -> str:
    from overfit.codecs.classical import CODECS, nearest_size

    lines = [
        f"{about['output']}: {about['bytes']} bytes, {about['bpp']:.4f} bpp, "
        f"{about['psnr']:.2f} dB after decoding ({about['width']}x{about['height']}, "
        f"lambda {about['lmbda']:.3g}, {about['steps']} steps, {about['seconds']:.0f} s)"
    ]
    for codec in CODECS:
        try:
            anchor = nearest_size(image, codec, about["bytes"])
        except UserError:  # too large for that codec
            continue
        lines.append(f"  {codec} at its nearest size: {anchor.bytes} bytes, {anchor.psnr:.2f} dB")
    return "\n".join(lines)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror}") from error


def _decode(arguments) -> dict:
    from overfit import decoding
    from overfit.io.images import check_image_output, save_image

    check_image_output(arguments.output)
    data = _read(arguments.input)
    image = decoding.decode(data)
    save_image(arguments.output, image if image.ndim == 3 else image[..., None])
    about = decoding.info(data) | {"input": arguments.input, "output": arguments.output}
    if not arguments.quiet:
        size = f"{about['width']}x{about['height']}"
        print(f"{arguments.output}: {size} pixels", file=_text_stream(arguments))
    return about


def _info(arguments) -> dict:
    from overfit import decoding

    about = decoding.info(_read(arguments.input)) | {"input": arguments.input}
    if not arguments.quiet and arguments.json != "-":
        for name, value in about.items():
            if isinstance(value, dict):
                print(f"{name}:")
                for key, item in value.items():
                    print(f"  {key}: {item}")
            else:
                print(f"{name}: {value}")
    return about


# -- Around them -----------------------------------------------------------------------------------


def _check_writable(path: str) -> None:
    folder = Path(path).parent
    if Path(path).is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"cannot write '{path}': its folder must exist and be writable")


def _prepare_jax() -> None:
    """Settings that JAX reads when it is imported; the user's own come first."""
    # Devices on CPU share the work on one image; beyond four the gain is not measured.
    available = getattr(os, "sched_getaffinity", None)  # Linux only
    cores = len(available(0)) if available else os.cpu_count() or 1
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(4, cores)))
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(cache, "overfit", "xla"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")


def _text_stream(arguments):
    return sys.stderr if arguments.json == "-" else sys.stdout


def _write_json(arguments, about: dict) -> None:
    # JSON has no infinity: the PSNR of a lossless file is null.
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in about.items()
    }
    text = json.dumps(finite, indent=2)
    if arguments.json == "-":
        print(text)
    elif arguments.json:
        from overfit.io.atomic import atomic_write

        with atomic_write(arguments.json) as file:
            file.write(text.encode() + b"\n")


def _report_failed(failed: list[dict]) -> int:
    """Lists the inputs that failed among many on stderr; returns the exit code."""
    for item in failed:
        print(f"overfit: {item['error']}", file=sys.stderr)
    if failed:
        names = ", ".join(f"'{item['input']}'" for item in failed)
        print(f"overfit: error: left out, repair or remove: {names}", file=sys.stderr)
    return 1 if failed else 0


COMMANDS = {"encode": _encode, "decode": _decode, "info": _info, "plot": cli_plot.run}


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    debug = "--debug" in (sys.argv if argv is None else argv)
    try:
        arguments = parser().parse_args(argv)
        about = COMMANDS[arguments.command](arguments)
        _write_json(arguments, about)
        return _report_failed(about.get("failed", []))
    except KeyboardInterrupt:
        print("overfit: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of stdout has gone: nothing is left to be said, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        message = str(error) or type(error).__name__
        if not isinstance(error, UserError):
            message = f"{type(error).__name__}: {message} (--debug shows where)"
        print(f"overfit: error: {' '.join(message.split())}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1


if __name__ == "__main__":
    sys.exit(main())
