"""SLURM: the tasks of a job array, through submitit.

A task has a share of the batches and does it as one machine does: on its GPUs in its own process,
or with a process per CPU. It needs no driver: records and checkpoints are files, and a task that is
preempted or out of time goes back into the queue and continues. The driver tells of what appears in
the folder. FOLDER/slurm has what submitit keeps of each task, and the tasks' logs.
"""

import itertools
import os
import time
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import UncompletedJobError
from submitit.helpers import DelayedSubmission

from overfit.errors import UserError, sentence
from overfit.jobs.backends import in_process
from overfit.jobs.dispatch import Dispatch
from overfit.jobs.job import Backend, Emit, Event, Work
from overfit.jobs.pool import pool
from overfit.jobs.store import left, left_keys

FOLDER = "slurm"
POLL_SECONDS = 2.0
_TASKS = 100  # of an array where no number is asked for; clusters often take a thousand at most
_TIMEOUTS = 24  # a task that has run out of time so often is stuck rather than long
_SETTINGS = {"cluster": "slurm", "name": "overfit", "timeout_min": 60, "cpus_per_task": 1}
_EVERYWHERE = ("name", "timeout_min", "cpus_per_task", "gpus_per_node", "mem_gb")  # to submitit
_OURS = ("time", "nodes", "tasks_per_node", "ntasks_per_node")


def array(count: int | None, settings: Mapping[str, str]) -> tuple[Backend, bool]:
    """The back end with that many tasks, and whether they have GPUs.

    settings: what a task asks for. timeout_min, cpus_per_task, gpus_per_node and mem_gb are
    submitit's words, all others those of sbatch with _ for -: partition, account, qos, ...
    cluster=local runs the tasks as processes of this machine, to try all this without SLURM.

    Raises:
      UserError: a setting that cannot be.
    """
    chosen: dict[str, Any] = _SETTINGS | {key: _number(text) for key, text in settings.items()}
    for key in _OURS:
        if key in chosen:
            raise UserError(f"--slurm {key} cannot be set: a task is one process of timeout_min")
    gpus = "gpus_per_node" in chosen or "gpu" in str(chosen.get("gres"))

    def run(work: Work, batches: Sequence[Sequence[Any]], folder: Path, emit: Emit) -> None:
        folder = folder.resolve()
        executor = _executor(folder, chosen)
        task = _Task(0 if gpus else chosen["cpus_per_task"], work, folder)
        _Array(task, executor, batches, emit).run(count or _TASKS)

    return run, gpus


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _executor(folder: Path, settings: Mapping[str, Any]) -> submitit.AutoExecutor:
    settings = dict(settings)
    cluster = settings.pop("cluster")
    if cluster not in _JOBS:
        raise UserError(f"--slurm cluster={cluster}: choose slurm or local")
    parameters = {
        key if key in _EVERYWHERE else f"slurm_{key}": value for key, value in settings.items()
    }
    try:
        executor = submitit.AutoExecutor(
            folder / FOLDER, cluster=cluster, slurm_max_num_timeout=_TIMEOUTS
        )
        executor.update_parameters(**parameters)
    except RuntimeError as error:
        raise UserError(
            "there is no SLURM here (srun is not found): run on a machine that submits to it"
        ) from error
    except (NameError, ValueError, AssertionError) as error:
        raise UserError(f"--slurm: {str(error).splitlines()[0]}") from error
    return executor


class _Task:
    """What a task does."""

    def __init__(self, processes: int, work: Work, folder: Path):
        self.processes, self.work, self.folder = processes, work, folder

    def __call__(self, batches: Sequence[Sequence[Any]]) -> list[Event]:
        """Returns what the jobs came to."""
        ended = []

        def emit(event: Event) -> None:
            if event.record is not None or event.failure is not None:
                ended.append(event)

        backend = pool(self.processes) if self.processes else in_process
        backend(self.work, batches, self.folder, emit)
        return ended

    def checkpoint(self, batches: Sequence[Sequence[Any]]) -> DelayedSubmission:
        """What goes back into the queue: all of it, for what has ended is in the folder."""
        return DelayedSubmission(self, batches)


class _Orphan(submitit.LocalJob):
    """A task on this machine whose driver has gone: its number is that of a process."""

    def done(self, force_check: bool = False) -> bool:
        if self.paths.result_pickle.exists():
            return True
        try:
            os.kill(int(self.job_id), 0)
        except ProcessLookupError:
            return True
        return False


_JOBS = {"slurm": submitit.SlurmJob, "local": _Orphan}  # as an earlier driver has left them


def _running(cluster: str, folder: Path, keys: Container[str]) -> list[tuple[submitit.Job, list]]:
    """Tasks that an earlier driver has left, with those of their jobs that have these keys."""
    found = []
    for path in sorted((folder / FOLDER).glob("*_submitted.pkl")):
        task = _JOBS[cluster](folder / FOLDER, path.name.removesuffix("_submitted.pkl"))
        if task.done(force_check=True):
            _forget(task)
            continue
        (batches,) = task.submission().args
        jobs = [job for batch in batches for job in batch if job.key() in keys]
        if jobs:
            found.append((task, jobs))
    return found


def _forget(task: submitit.Job) -> None:
    """Leaves only the logs of a task that has ended."""
    task.paths.submitted_pickle.unlink(missing_ok=True)
    task.paths.result_pickle.unlink(missing_ok=True)


def _shares(batches: Sequence[Sequence[Any]], count: int) -> list[list]:
    """The jobs for each of `count` tasks, or fewer.

    Batches are in the order of their shapes: every task gets some of each.
    """
    shares = [[job for batch in batches[i::count] for job in batch] for i in range(count)]
    return [share for share in shares if share]


class _Array:
    """The tasks that are in the queue or at work; each is a worker whose batch is its share."""

    def __init__(self, task: _Task, executor: submitit.AutoExecutor, batches, emit: Emit):
        self._task, self._executor, self._folder = task, executor, task.folder
        self._batches, self._emit = batches, emit
        self._batch = {job.key(): i for i, batch in enumerate(batches) for job in batch}
        self._tasks: dict[int, submitit.Job] = {}
        self._numbers = itertools.count()

    def run(self, count: int) -> None:
        running = _running(self._executor.cluster, self._folder, self._batch)
        taken = {job.key() for _, jobs in running for job in jobs}
        new = [[job for job in batch if job.key() not in taken] for batch in self._batches]
        self._dispatch = Dispatch(_shares(list(filter(None, new)), count), self._emit)
        for task, jobs in running:
            number = next(self._numbers)
            self._tasks[number] = task
            self._dispatch.adopt(number, jobs)
        while self._dispatch.waiting or self._dispatch.busy:
            self._submit()
            time.sleep(POLL_SECONDS)
            appeared = left_keys(self._folder)
            for number in list(self._tasks):
                self._look(number, appeared)

    def _submit(self) -> None:
        """Submits all that waits as one array."""
        numbers = [next(self._numbers) for _ in range(self._dispatch.waiting)]
        shares = [self._dispatch.give(number) for number in numbers]
        if not shares:
            return
        batches = [
            [list(jobs) for _, jobs in itertools.groupby(share, lambda job: self._batch[job.key()])]
            for share in shares
        ]
        try:
            tasks = self._executor.map_array(self._task, batches)
        except RuntimeError as error:  # submitit's, with what sbatch said
            raise UserError(f"SLURM does not take the tasks: {sentence(error)}") from error
        self._tasks |= dict(zip(numbers, tasks, strict=True))

    def _look(self, number: int, appeared: set[str]) -> None:
        """Tells what has ended in a task, and what it came to if it has ended itself."""
        task = self._tasks[number]
        for job in self._dispatch.left(number):
            record = left(job.key(), self._folder) if job.key() in appeared else None
            if record is not None:
                self._dispatch.hear(number, Event(job, record=record))
        if not task.done():
            return
        try:
            events = task.result()
        except UncompletedJobError:
            events = []  # it died, or it was out of time too often
        for event in events:
            if event.job in self._dispatch.left(number):
                self._dispatch.hear(number, event)
        self._dispatch.release(number, f"{task.state.lower()}, see {task.paths.stderr}")
        del self._tasks[number]
        _forget(task)
