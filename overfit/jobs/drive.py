"""Runs many jobs to their end: what is done is skipped, what fails is kept apart.

A back end is a function (batches, folder, emit) that has every batch worked on (`work.work`), by
whom and where it likes, and passes on what happens. Results are files before they are events: those
of a run that was killed are taken up by the next.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from overfit.jobs.job import Event, Failure, Job, in_batches, shape
from overfit.jobs.pool import cores, pool
from overfit.jobs.store import Store, open_store
from overfit.jobs.work import work

Emit = Callable[[Event], None]
Backend = Callable[[Sequence[Sequence[Job]], Path, Emit], None]


def in_process(batches: Sequence[Sequence[Job]], folder: Path, emit: Emit) -> None:
    """The simplest back end: one batch after the other, here, on all local devices."""
    for batch in batches:
        work(batch, folder, emit)


def drive(
    jobs: Sequence[Job],
    folder: str | os.PathLike[str],
    workers: int | None = None,
    progress: Callable[[Event, int, int], None] = lambda event, ended, count: None,
) -> tuple[list[dict], list[Failure]]:
    """Does what the folder does not have yet, on this machine.

    Returns the records of these jobs, those that the folder had included, and the failures.

    workers: processes on CPUs, by default one per core.
    progress(event, jobs that have ended, jobs in all) is called at every event.

    Raises:
      UserError: the folder cannot be used, or another run uses it.
    """
    failures: list[Failure] = []
    with open_store(folder) as store:
        store.take_up_all()
        todo = [job for job in jobs if not _done(job, store)]
        ended = len(jobs) - len(todo)

        def emit(event: Event) -> None:
            nonlocal ended
            if event.record is not None:
                store.take_up(event.record)
            elif event.failure is not None:
                failures.append(event.failure)
            ended += event.record is not None or event.failure is not None
            progress(event, ended, len(jobs))

        backend, size = local(todo, workers)
        backend(in_batches(todo, size), store.folder, emit)
        records = [store.done[job.key()] for job in jobs if _done(job, store)]
    return records, failures


# Of an accelerator's memory per pixel of a batch; an upper estimate, not measured yet.
_BYTES_PER_PIXEL = 4000


def local(jobs: Sequence[Job], workers: int | None = None) -> tuple[Backend, int]:
    """The back end for this machine, and how many fits it takes at a time.

    On an accelerator this process, with as many fits in a program as the memory has room for. On
    CPUs a process per core, or `workers` of them; one job alone gets all cores.
    """
    fits = [job for job in jobs if job.codec == "overfit"]
    if fits:
        import jax

        device = jax.local_devices()[0]
        if device.platform != "cpu":
            memory = (device.memory_stats() or {}).get("bytes_limit", 8e9)
            pixels = max(width * height for width, height in map(shape, fits)) or 2**20
            size = max(1, int(0.8 * memory / (_BYTES_PER_PIXEL * pixels)))
            return in_process, size * jax.local_device_count()
    count = min(workers or len(cores()), len(jobs))
    return (pool(count), 1) if count > 1 else (in_process, 1)


def _done(job: Job, store: Store) -> bool:
    """Whether its record is there, and a file of that size: other options may have replaced it."""
    record = store.done.get(job.key())
    if record is None:
        return False
    path = store.folder / record["file"]
    return path.is_file() and path.stat().st_size == record["bytes"]
