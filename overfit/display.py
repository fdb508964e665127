"""Progress on stderr: a live bar on a terminal, a line every few seconds elsewhere.

The displays of one fit take a `fitting.run.Progress`, those of many jobs what `jobs.drive` says.
"""

import sys
import time

LINE_SECONDS = 5.0


def _clock(seconds: float) -> str:
    if seconds == float("inf"):
        return "--:--"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _figures(progress) -> str:
    if progress.doing:
        return f"{progress.doing} {progress.step}/{progress.total}"
    rounds = f"round {progress.round}/{progress.rounds}  " if progress.rounds > 1 else ""
    return (
        f"{rounds}step {progress.step}/{progress.total}  loss {progress.loss:.3e}  "
        f"{progress.bpp:.3f} bpp  {progress.psnr:.2f} dB  "
        f"{progress.steps_per_second:.1f} steps/s  {_clock(progress.seconds_left)} left"
    )


class _Plain:
    """Prints on its own and has nothing to close."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


class Silent(_Plain):
    """For --quiet."""

    def __call__(self, *_) -> None:
        return None


def _tells(event) -> bool:
    """Whether a job has ended with a file, or has failed; a course of a sweep only has files."""
    return event.failure is not None or (event.record is not None and "bpp" in event.record)


def _outcome(event, ended: int, count: int) -> str:
    """What came out of a job, in one line."""
    if event.failure is not None:
        return f"{ended}/{count}  failed: {event.failure}"
    record = event.record
    psnr = record["psnr"] if record["psnr"] is not None else record.get("psnr_yuv")
    quality = "" if psnr is None else f"  {psnr:.2f} dB"
    size = f"{record['bytes']} bytes  {record['bpp']:.4f} bpp{quality}"
    return f"{ended}/{count}  {event.job}: {size}"


class Lines(_Plain):
    """Plain lines, for logs."""

    def __init__(self):
        self._last = -LINE_SECONDS

    def __call__(self, progress) -> None:
        now = time.monotonic()
        if now - self._last >= LINE_SECONDS or progress.step >= progress.total:
            self._last = now
            print(_figures(progress), file=sys.stderr, flush=True)


class JobLines(_Plain):
    """A line when a job ends, and now and then one of a running fit."""

    def __init__(self):
        self._last = time.monotonic()

    def __call__(self, event, ended: int, count: int) -> None:
        if _tells(event):
            print(_outcome(event, ended, count), file=sys.stderr, flush=True)
        elif event.step is not None and time.monotonic() - self._last >= LINE_SECONDS:
            self._last = time.monotonic()
            print(f"{event.job}: {_figures(event.step)}", file=sys.stderr, flush=True)


class _Live:
    """Bars that are redrawn in place, and gone at the end."""

    def __init__(self):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._bars = Progress(
            BarColumn(bar_width=20),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )

    def __enter__(self):
        self._bars.start()
        return self

    def __exit__(self, *_):
        self._bars.stop()


class Bar(_Live):
    """The bar of one fit."""

    def __init__(self):
        super().__init__()
        self._task = self._bars.add_task("compiling ...", total=None)

    def __call__(self, progress) -> None:
        self._bars.update(
            self._task,
            completed=progress.step,
            total=progress.total,
            description=_figures(progress),
        )


class JobBars(_Live):
    """A bar for all jobs, one for every running fit, and a line above them when a job ends."""

    def __init__(self):
        super().__init__()
        self._all = self._bars.add_task("starting ...", total=None)
        self._fits = {}  # job -> its bar

    def __call__(self, event, ended: int, count: int) -> None:
        job = str(event.job)
        if event.step is not None:
            if job not in self._fits:
                self._fits[job] = self._bars.add_task("", total=event.step.total)
            text = f"{job}: {_figures(event.step)}"
            self._bars.update(self._fits[job], completed=event.step.step, description=text)
        elif _tells(event):
            if job in self._fits:
                self._bars.remove_task(self._fits.pop(job))
            self._bars.console.print(_outcome(event, ended, count), markup=False, highlight=False)
        self._bars.update(self._all, completed=ended, total=count, description=f"{ended}/{count}")


def display(quiet: bool) -> Lines | Bar | Silent:
    """The display for this stderr."""
    if quiet:
        return Silent()
    return Bar() if sys.stderr.isatty() else Lines()


def _training(progress) -> str:
    held_out = "" if progress.held_out is None else f"  held out {progress.held_out:.3e}"
    return f"outer step {progress.step}/{progress.total}  loss {progress.loss:.3e}{held_out}"


class TrainingLines(_Plain):
    """A line per outer step, which takes long enough."""

    def __call__(self, progress) -> None:
        print(_training(progress), file=sys.stderr, flush=True)


class TrainingBar(_Live):
    """The bar of a training run, and a line above it for each look at what is held out."""

    def __init__(self):
        super().__init__()
        self._task = self._bars.add_task("compiling ...", total=None)

    def __call__(self, progress) -> None:
        text = _training(progress)
        self._bars.update(
            self._task, completed=progress.step, total=progress.total, description=text
        )
        if progress.held_out is not None:
            self._bars.console.print(text, markup=False, highlight=False)


def training_display(quiet: bool) -> TrainingLines | TrainingBar | Silent:
    """The display of a training run for this stderr."""
    if quiet:
        return Silent()
    return TrainingBar() if sys.stderr.isatty() else TrainingLines()


def batch_display(quiet: bool) -> JobLines | JobBars | Silent:
    """The display of many jobs for this stderr."""
    if quiet:
        return Silent()
    return JobBars() if sys.stderr.isatty() else JobLines()


class TaskLines(_Plain):
    """Plain lines on work that is done piece by piece: pieces done, of how many, and a word."""

    def __init__(self):
        self._last = -LINE_SECONDS

    def __call__(self, done: int, count: int, doing: str) -> None:
        now = time.monotonic()
        if now - self._last >= LINE_SECONDS or done == count:
            self._last = now
            print(f"{done}/{count}  {doing}", file=sys.stderr, flush=True)


class TaskBar(_Live):
    """The same as a bar."""

    def __init__(self):
        super().__init__()
        self._task = self._bars.add_task("starting ...", total=None)

    def __call__(self, done: int, count: int, doing: str) -> None:
        self._bars.update(
            self._task, completed=done, total=count, description=f"{done}/{count}  {doing}"
        )


def task_display(quiet: bool) -> TaskLines | TaskBar | Silent:
    """The display of work that is done piece by piece for this stderr."""
    if quiet:
        return Silent()
    return TaskBar() if sys.stderr.isatty() else TaskLines()
