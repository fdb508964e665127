"""What several commands need."""

import os
import re
import sys
from pathlib import Path

from overfit.errors import PartialFailure, UserError


def read_bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror}") from error


def numbers(text: str, what: str) -> tuple[float, ...]:
    """Numbers with commas or spaces between; UserError, which names `what`, for anything else."""
    try:
        return tuple(float(part) for part in re.split(r"[,\s]+", text.strip()))
    except ValueError:
        raise UserError(f"{what} must be numbers with commas between, not '{text}'") from None


def check_writable(path: str) -> None:
    folder = Path(path).parent
    if Path(path).is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"cannot write '{path}': its folder must exist and be writable")


def prepare_jax() -> None:
    """Settings that JAX reads when it is imported; the user's own come first."""
    # Devices on CPU share the work on one image; beyond four the gain is not measured.
    from overfit.processes import cores

    os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(4, len(cores()))))
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(cache, "overfit", "xla"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")


def write_base(base, arguments) -> dict:
    """Writes what a training came to, says so, and returns what the command knows of it."""
    from overfit.bases.base import pack
    from overfit.bases.library import load
    from overfit.io.atomic import atomic_write

    with atomic_write(arguments.output) as file:
        file.write(pack(base))
    entry = load(arguments.output)
    about = {
        "output": arguments.output,
        "identity": entry.identity,
        "bytes": entry.path.stat().st_size,
        "method": base.method,
        "card": base.card,
    }
    if not arguments.quiet:
        print(
            f"{arguments.output}: {about['bytes']} bytes, {entry.identity}; "
            f"to keep it: overfit bases import {arguments.output}",
            file=text_stream(arguments),
        )
    return about


def check_base_output(path: str) -> None:
    """Before a long training: raises UserError for a file that could not be its result."""
    from overfit.bases.library import EXTENSION

    check_writable(path)
    if not path.endswith(EXTENSION):
        raise UserError(f"a base is a file that ends in {EXTENSION}, not '{path}'")


def text_stream(arguments):
    return sys.stderr if arguments.json == "-" else sys.stdout


def raise_failures(failures: list[str], about: dict) -> None:
    """Lists what failed among many on stderr.

    Raises:
      PartialFailure: anything did; about is what the command writes as JSON all the same.
    """
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    if failures:
        what = "one failure" if len(failures) == 1 else f"{len(failures)} failures"
        raise PartialFailure(f"{what}, listed above; the other results are kept", about)


def add_fit_arguments(parser) -> None:
    """How a fit is done, whatever the command."""
    parser.add_argument(
        "--steps", type=int,
        help="of stage 1; default: 1000, with preset fast 500; in C3's paper: 100000",
    )  # fmt: skip
    add_base_argument(parser, "auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="override a setting of the preset, say entropy.context=2",
    )  # fmt: skip


def add_base_argument(parser, default: str) -> None:
    parser.add_argument(
        "--base", default=default, metavar="NAME|none",
        help="what networks start from, as `bases list` has it, or several with commas between, of "
        "which the best is taken; auto: the one shipped for these networks, if any; none: random "
        f"networks; default: {default}",
    )  # fmt: skip


def add_clip_arguments(parser) -> None:
    """How much of a clip is fitted, and in what parts."""
    parser.add_argument("--frames", type=int, metavar="N", help="the first ones of a clip")
    parser.add_argument(
        "--patch", metavar="T,H,W", help="frames, rows, columns of the parts a clip is fitted in"
    )


def add_many_arguments(parser) -> None:
    """Which signals, and what `add_run_arguments` adds."""
    parser.add_argument("-o", "--output", required=True, metavar="DIR")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="these names, or globs of them"
    )
    parser.add_argument("--crop", type=int, metavar="PX", help="the central part of each picture")
    add_run_arguments(parser)


def add_run_arguments(parser) -> None:
    """Who works on many jobs, and where they can be watched beside the display."""
    parser.add_argument(
        "--backend", default="local", choices=("local", "ray", "slurm"),
        help="who works: processes of this machine (default), a Ray cluster, or SLURM",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=int, metavar="N",
        help="processes (default: one per core), Ray actors (one per GPU, or CPU) or SLURM tasks "
        "(100 at most)",
    )  # fmt: skip
    parser.add_argument(
        "--together", type=int, metavar="N",
        help="fits in one program; default: as many as a GPU has room for, one on a CPU",
    )  # fmt: skip
    parser.add_argument(
        "--address", metavar="HOST:PORT",
        help="of a Ray cluster, or auto; default: one for this run on this machine",
    )  # fmt: skip
    parser.add_argument(
        "--slurm", action="append", default=[], metavar="KEY=VALUE",
        help="what a SLURM task asks for: timeout_min=240, gpus_per_node=1, partition=gpu, ...",
    )  # fmt: skip
    parser.add_argument("--events", metavar="FILE", help="append what happens, as JSON lines")
    parser.add_argument("--tensorboard", metavar="DIR", help="write TensorBoard scalars there")


def workers(arguments):
    """`jobs.backends.Workers` by the options of `add_run_arguments`.

    Raises:
      UserError: options that cannot be, or of another back end.
    """
    from overfit.jobs.backends import Workers
    from overfit.settings import parse_assignments

    for name in ("workers", "together"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} must be at least 1, not {value}")
    for name, backend in (("address", "ray"), ("slurm", "slurm")):
        if getattr(arguments, name) and arguments.backend != backend:
            raise UserError(f"--{name} is for --backend {backend}, not {arguments.backend}")
    return Workers(
        arguments.backend,
        arguments.workers,
        arguments.together,
        arguments.address,
        parse_assignments(arguments.slurm, "--slurm"),
    )


def watching(arguments):
    """The `watching.watched` of these arguments."""
    from overfit.watching import watched

    return watched(arguments.quiet, arguments.events, arguments.tensorboard)
