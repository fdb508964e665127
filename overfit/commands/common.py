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
    from overfit.jobs.pool import cores

    os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(4, len(cores()))))
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(cache, "overfit", "xla"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")


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
        "--steps", type=int, default=1000, help="of stage 1; default: 1000, in C3's paper: 100000"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="override a setting of the preset, say entropy.context=2",
    )  # fmt: skip


def add_many_arguments(parser) -> None:
    """Which signals, and by how many processes."""
    parser.add_argument("-o", "--output", required=True, metavar="DIR")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="these names, or globs of them"
    )
    parser.add_argument("--crop", type=int, metavar="PX", help="the central part of each picture")
    parser.add_argument("--workers", type=int, metavar="N", help="processes; default: one per core")


def add_watch_arguments(parser) -> None:
    """Where many jobs can be watched, beside the display."""
    parser.add_argument("--events", metavar="FILE", help="append what happens, as JSON lines")
    parser.add_argument("--tensorboard", metavar="DIR", help="write TensorBoard scalars there")


def watching(arguments):
    """The `watching.watched` of these arguments."""
    from overfit.watching import watched

    return watched(arguments.quiet, arguments.events, arguments.tensorboard)
