"""`overfit clips`: clips to train a video codec on, cut from the user's own videos."""

from pathlib import Path

from overfit.commands.common import raise_failures, text_stream

HELP = "cut training clips from videos"


def add_arguments(parser) -> None:
    parser.add_argument("inputs", nargs="+", help="videos, folders, globs, or a named set")
    parser.add_argument("-o", "--output", required=True, metavar="DIR")
    parser.add_argument("--length", type=int, default=7, help="frames of a clip; default: 7")
    parser.add_argument("--height", type=int, metavar="PX", help="shrink larger frames to it")
    parser.add_argument("--count", type=int, default=20, help="clips per video; default: 20")
    parser.add_argument("--total", type=int, help="clips of all videos together")
    parser.add_argument("--seed", type=int, default=0, help="which ones; default: 0")


def run(arguments) -> dict:
    from overfit.display import task_display
    from overfit.meta.cutting import Cutting, cut_clips

    cutting = Cutting(
        arguments.length, arguments.height, arguments.count, arguments.total, arguments.seed
    )
    with task_display(arguments.quiet) as tell:
        about = cut_clips(_videos(arguments.inputs), Path(arguments.output), cutting, tell)
    about = {"output": arguments.output} | about
    if not arguments.quiet:
        rejected = sum(len(video["rejected"]) for video in about["videos"])
        print(
            f"{arguments.output}: {len(about['clips'])} clips of {arguments.length} frames from "
            f"{len(about['videos'])} videos; {rejected} stretches rejected",
            file=text_stream(arguments),
        )
    raise_failures([f"{name}: {why}" for name, why in about["failures"].items()], about)
    return about


def _videos(inputs: list[str]):
    """Those among the inputs, of which each has to bring one.

    Raises:
      UserError: one does not, or two videos have one name.
    """
    from overfit.errors import UserError
    from overfit.io.datasets import find, find_all

    for spec in inputs:
        if not any(instance.kind == "video" for instance in find(spec)):
            raise UserError(f"'{spec}' has no videos; for a folder of frames say clips:FOLDER")
    return [instance for instance in find_all(inputs) if instance.kind == "video"]
