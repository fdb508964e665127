"""Progress of a fit on stderr: a live bar on a terminal, a line every few seconds elsewhere."""

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
    return (
        f"step {progress.step}/{progress.total}  loss {progress.loss:.3e}  "
        f"{progress.bpp:.3f} bpp  {progress.psnr:.2f} dB  "
        f"{progress.steps_per_second:.1f} steps/s  {_clock(progress.seconds_left)} left"
    )


class Lines:
    """Plain lines, for logs."""

    def __init__(self):
        self._last = -LINE_SECONDS

    def __call__(self, progress) -> None:
        now = time.monotonic()
        if now - self._last >= LINE_SECONDS or progress.step >= progress.total:
            self._last = now
            print(_figures(progress), file=sys.stderr, flush=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


class Bar:
    """A bar that is redrawn in place, and gone at the end."""

    def __init__(self):
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            BarColumn(bar_width=20),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("compiling ...", total=None)

    def __call__(self, progress) -> None:
        self._bar.update(
            self._task,
            completed=progress.step,
            total=progress.total,
            description=_figures(progress),
        )

    def __enter__(self):
        self._bar.start()
        return self

    def __exit__(self, *_):
        self._bar.stop()


class Silent:
    """For --quiet."""

    def __call__(self, progress) -> None:
        return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def display(quiet: bool) -> Lines | Bar | Silent:
    """The display for this stderr."""
    if quiet:
        return Silent()
    return Bar() if sys.stderr.isatty() else Lines()
