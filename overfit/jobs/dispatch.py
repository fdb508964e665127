"""Who is at work on which batch, whoever they are: what all back ends with workers share."""

from collections.abc import Hashable, Sequence
from typing import Any

from overfit.jobs.job import Emit, Event, failure

_ATTEMPTS = 2  # at a job alone: that it loses its worker twice is its own fault


class Dispatch:
    """Batches that wait, batches that are at work, and what becomes of those of a lost worker.

    A worker is whatever its back end knows it by: a connection, an actor, the number of a task.
    Every job ends with one record or one failure, which are passed on.
    """

    def __init__(self, batches: Sequence[Sequence[Any]], emit: Emit):
        self._emit = emit
        # Both with how often the job has been tried alone; the last that waits is the next.
        self._waiting = [(list(batch), 0) for batch in reversed(batches)]
        self._busy: dict[Hashable, tuple[list, int]] = {}  # what has not ended, by worker

    @property
    def waiting(self) -> int:
        """How many batches nobody works on."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        return bool(self._busy)

    def give(self, worker: Hashable) -> list:
        """The next batch, which is this worker's from now on; one must be waiting."""
        batch, attempts = self._waiting.pop()
        self._busy[worker] = list(batch), attempts + (len(batch) == 1)
        return batch

    def adopt(self, worker: Hashable, jobs: Sequence[Any]) -> None:
        """A worker that was at these jobs before this run began."""
        self._busy[worker] = list(jobs), 0

    def left(self, worker: Hashable) -> list:
        """The jobs of a worker that have not ended."""
        jobs, _ = self._busy[worker]
        return list(jobs)

    def hear(self, worker: Hashable, event: Event) -> None:
        """Passes on what a worker says, of parts of a job as well."""
        jobs, _ = self._busy[worker]
        if event.job in jobs and (event.record is not None or event.failure is not None):
            jobs.remove(event.job)
        self._emit(event)

    def release(self, worker: Hashable, reason: str = "it said nothing of this job") -> None:
        """A worker is through with its batch, or it was lost for this reason.

        What it has left is tried again, each job alone so that one costs the others nothing.
        """
        jobs, attempts = self._busy.pop(worker)
        if attempts < _ATTEMPTS:
            self._waiting += [([job], attempts) for job in reversed(jobs)]
            return
        for job in jobs:
            error = f"its worker died twice ({reason}); is there enough memory?"
            self._emit(Event(job, failure=failure(job, error)))
