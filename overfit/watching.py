"""Where the events of many jobs go: the display, a file of JSON lines, TensorBoard.

Each is a function (event, jobs that have ended, jobs in all), as `jobs.drive` calls it.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from overfit.display import batch_display
from overfit.errors import UserError
from overfit.io.json_file import json_text
from overfit.jobs.job import Event, setting_text
from overfit.jobs.records import slug

Watcher = Callable[[Event, int, int], None]


@contextlib.contextmanager
def watched(quiet: bool, events: str | None, tensorboard: str | None) -> Iterator[Watcher]:
    """All that was asked for, as one function.

    Raises:
      UserError: the file of events or the folder for TensorBoard cannot be written, or tensorboardX
        is missing.
    """
    with contextlib.ExitStack() as stack:
        watchers: list[Watcher] = [stack.enter_context(batch_display(quiet))]
        if events is not None:
            watchers.append(stack.enter_context(_event_lines(events)))
        if tensorboard is not None:
            watchers.append(stack.enter_context(_scalars(tensorboard)))

        def watch(event: Event, ended: int, count: int) -> None:
            for watcher in watchers:
                watcher(event, ended, count)

        yield watch


# -- JSON lines ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _event_lines(path: str) -> Iterator[Watcher]:
    """Appends a line per event, as docs/evaluate.md lists them."""
    try:
        file = open(path, "a", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write events to '{path}': {error.strerror}") from error
    with file:

        def write(event: Event, ended: int, count: int) -> None:
            print(json_text(_described(event, ended, count)), file=file, flush=True)

        yield write


def _described(event: Event, ended: int, count: int) -> dict:
    job = event.job
    what = {
        "time": time.time(),
        "event": "begin",
        "name": job.name,
        "label": job.label,
        "setting": job.setting,
        "ended": ended,
        "count": count,
    }
    if event.step is not None:
        what |= {"event": "step"} | event.step._asdict()
    elif event.record is not None:
        kept = ("key", "file", "bytes", "bpp", "psnr", "seconds_encode", "seconds_decode")
        what |= {"event": "done"} | {key: event.record.get(key) for key in kept}
    elif event.failure is not None:
        what |= {"event": "failed", "error": event.failure.error}
    return what


# -- TensorBoard -----------------------------------------------------------------------------------


@contextlib.contextmanager
def _scalars(folder: str) -> Iterator[Watcher]:
    """A run per fit: loss, bpp and psnr of its steps, and those of its file."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise UserError(
            "--tensorboard needs tensorboardX; install it with: pip install 'overfit[tensorboard]'"
        ) from error
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to '{folder}': {error.strerror}") from error
    writers: dict[str, SummaryWriter] = {}

    def write(event: Event, ended: int, count: int) -> None:
        job, step, record = event.job, event.step, event.record
        if step is None and record is None:
            return
        name = f"{slug(job.name)}/{slug(f'{job.label} {setting_text(job.setting)}')}"
        if name not in writers:
            writers[name] = SummaryWriter(str(Path(folder) / name))
        writer = writers[name]
        if step is not None:
            for figure in ("loss", "bpp", "psnr", "steps_per_second"):
                writer.add_scalar(figure, getattr(step, figure), step.step)
        if record is not None:
            for figure in ("bpp", "psnr"):
                if record.get(figure) is not None:
                    writer.add_scalar(f"file/{figure}", record[figure], record.get("steps"))
            writers.pop(name).close()

    try:
        yield write
    finally:
        for writer in writers.values():
            writer.close()
