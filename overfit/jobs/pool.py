"""Processes on this machine, one pinned to each core: the fastest way to many fits on CPUs.

A fit alone on a core is more work per second than two cores on one fit, and every process keeps its
compiled programs. Memory: about 0.5 GB a process, more for large pictures (1.2 GB at 768x512).
"""

import multiprocessing
import os
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from overfit.jobs.dispatch import Dispatch
from overfit.jobs.job import Backend, Emit, Work
from overfit.processes import cores, one_cpu


def pool(workers: int) -> Backend:
    """The back end with that many processes."""

    def run(work: Work, batches: Sequence[Sequence[Any]], folder: Path, emit: Emit) -> None:
        _Pool(work, Dispatch(batches, emit), folder).run(workers)

    return run


def _worker(work: Work, connection: Connection, core: int, folder: Path) -> None:
    """Works on what comes through the connection until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver ends its workers itself
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    one_cpu()
    try:
        while True:
            work(connection.recv(), folder, connection.send)
            connection.send(None)  # the batch is over
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the driver has gone


class _Pool:
    """The processes, each known by its connection."""

    def __init__(self, work: Work, dispatch: Dispatch, folder: Path):
        self._work, self._dispatch, self._folder = work, dispatch, folder
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[Connection, tuple[SpawnProcess, int]] = {}  # and the core

    def run(self, workers: int) -> None:
        available = cores()
        try:
            for i in range(min(workers, self._dispatch.waiting)):
                self._start(available[i % len(available)])
            while self._workers:
                for connection in wait(list(self._workers)):
                    self._receive(connection)
        finally:
            for process, _ in self._workers.values():
                process.kill()
                process.join()

    def _start(self, core: int) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_worker, args=(self._work, theirs, core, self._folder), daemon=True
        )
        process.start()
        theirs.close()  # so that the end of the process is the end of the connection
        self._workers[ours] = process, core
        self._give(ours)

    def _give(self, connection) -> None:
        """The next batch for a worker, or the end of it."""
        if not self._dispatch.waiting:
            process, _ = self._workers.pop(connection)
            connection.close()
            process.join()
            return
        batch = self._dispatch.give(connection)
        try:
            connection.send(batch)
        except (BrokenPipeError, ConnectionResetError):  # it died between two batches
            self._bury(connection)

    def _receive(self, connection) -> None:
        try:
            event = connection.recv()
        except (EOFError, ConnectionResetError):
            self._bury(connection)
            return
        if event is None:
            self._dispatch.release(connection)
            self._give(connection)
        else:
            self._dispatch.hear(connection, event)

    def _bury(self, connection) -> None:
        """A worker has died: another one takes its core."""
        process, core = self._workers.pop(connection)
        connection.close()
        process.join()
        self._dispatch.release(connection, f"exit code {process.exitcode}")
        if self._dispatch.waiting:
            self._start(core)
