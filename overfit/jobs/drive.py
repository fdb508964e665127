"""Runs many jobs to their end: what is done is skipped, what fails is kept apart.

Results are files before they are events: those of a run that was killed are taken up by the next.
"""

import os
from collections.abc import Callable, Sequence

from overfit.errors import UserError, sentence
from overfit.jobs.backends import LOCAL, Workers, open_backend
from overfit.jobs.job import Event, Failure, Job, failure, in_batches
from overfit.jobs.store import Store, intact, open_store, take_up, tidy
from overfit.jobs.work import work


def drive(
    jobs: Sequence[Job],
    folder: str | os.PathLike[str],
    workers: Workers = LOCAL,
    progress: Callable[[Event, int, int], None] = lambda event, ended, count: None,
) -> tuple[list[dict], list[Failure]]:
    """Does what the folder does not have yet, by default on this machine.

    Returns the records of these jobs, those that the folder had included, and the failures.
    progress(event, jobs that have ended, jobs in all) is called at every event.

    Raises:
      UserError: the folder cannot be used, another run uses it, or there are no such workers.
    """
    failures: list[Failure] = []
    with open_store(folder) as store:
        take_up(store)
        todo = [job for job in jobs if not _done(job, store)]
        ended = len(jobs) - len(todo)

        def emit(event: Event) -> None:
            nonlocal ended
            if event.record is not None:
                try:
                    store.append(event.record)
                except UserError as error:  # a full disk; the next run takes the record up
                    event = Event(event.job, failure=failure(event.job, sentence(error)))
            if event.failure is not None:
                failures.append(event.failure)
            ended += event.record is not None or event.failure is not None
            progress(event, ended, len(jobs))

        if todo:
            with open_backend(todo, workers) as (backend, size):
                backend(work, in_batches(todo, size), store.folder, emit)
        tidy(store)
        records = [store.done[job.key()] for job in jobs if _done(job, store)]
    return records, failures


def _done(job: Job, store: Store) -> bool:
    record = store.done.get(job.key())
    return record is not None and intact(record, store.folder)
