"""Processes on this machine, one pinned to each core: the fastest way to many fits on CPUs.

A fit alone on a core is more work per second than two cores on one fit, and every process keeps its
compiled programs. Memory: about 0.5 GB a process, more for large pictures (1.2 GB at 768x512).
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path

from overfit.jobs.job import Event, Job, failure

_ATTEMPTS = 2  # for a batch whose worker died: the second time it is at fault itself


def cores() -> list[int]:
    """The processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return sorted(affinity(0)) if affinity else list(range(os.cpu_count() or 1))


def pool(workers: int) -> Callable[[Sequence[Sequence[Job]], Path, Callable[[Event], None]], None]:
    """The back end with that many processes."""

    def run(batches, folder, emit) -> None:
        _Pool(batches, folder, emit).run(workers)

    return run


def _worker(connection: Connection, core: int | None, folder: Path) -> None:
    """Works on what comes through the connection until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver ends its workers itself
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_NUM_CPU_DEVICES"] = "1"
    from overfit.jobs.work import work

    try:
        while True:
            work(connection.recv(), folder, connection.send)
            connection.send(None)  # the batch is over
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the driver has gone


class _Pool:
    """Batches, and who is at work on which."""

    def __init__(self, batches, folder: Path, emit):
        self._waiting = [(batch, 1) for batch in reversed(batches)]
        self._folder, self._emit = folder, emit
        self._context = multiprocessing.get_context("spawn")
        # connection -> (process, core, batch, attempt, jobs of the batch that have not ended)
        self._busy: dict[Connection, tuple] = {}

    def run(self, workers: int) -> None:
        available = cores()
        try:
            for i in range(min(workers, len(self._waiting))):
                self._start(available[i % len(available)])
            while self._busy:
                for connection in wait(list(self._busy)):
                    self._receive(connection)
        finally:
            for process, *_ in self._busy.values():
                process.kill()
                process.join()

    def _start(self, core: int) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_worker, args=(theirs, core, self._folder), daemon=True
        )
        process.start()
        theirs.close()  # so that the end of the process is the end of the connection
        self._busy[ours] = (process, core, [], 0, [])
        self._give(ours)

    def _give(self, connection) -> None:
        """The next batch for a worker, or the end of it."""
        process, core, *_ = self._busy[connection]
        if not self._waiting:
            del self._busy[connection]
            connection.close()
            process.join()
            return
        batch, attempt = self._waiting.pop()
        self._busy[connection] = (process, core, batch, attempt, list(batch))
        try:
            connection.send(batch)
        except (BrokenPipeError, ConnectionResetError):  # it died between two batches
            self._bury(connection)

    def _receive(self, connection) -> None:
        process, core, batch, attempt, left = self._busy[connection]
        try:
            event = connection.recv()
        except (EOFError, ConnectionResetError):
            self._bury(connection)
            return
        if event is None:
            self._give(connection)
            return
        if event.record is not None or event.failure is not None:
            left.remove(event.job)
        self._emit(event)

    def _bury(self, connection) -> None:
        """A worker has died: another one gets what it has not finished."""
        process, core, _, attempt, left = self._busy.pop(connection)
        process.join()
        if attempt < _ATTEMPTS and left:
            self._waiting.append((left, attempt + 1))
        else:
            reason = (
                f"its process died twice (exit code {process.exitcode}); is there enough memory?"
            )
            for job in left:
                self._emit(Event(job, failure=failure(job, reason)))
        if self._waiting:
            self._start(core)
