"""Who works on many jobs: processes on this machine, a Ray cluster, or a SLURM job array."""

import contextlib
import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from overfit.errors import UserError
from overfit.jobs.helpers import helpers
from overfit.jobs.job import Backend, Emit, Job, Work, shape
from overfit.jobs.pool import pool
from overfit.processes import cores

_BYTES_ELSEWHERE = 16e9  # of an accelerator that is in another machine and cannot be asked


class Workers(NamedTuple):
    """Who works; the names are those of the command line."""

    backend: str = "local"  # or "ray", "slurm"
    count: int | None = None  # processes, actors or tasks of an array
    together: int | None = None  # fits in one program
    address: str | None = None  # of a Ray cluster; None starts one on this machine
    slurm: dict[str, str] = {}  # what a task asks for


LOCAL = Workers()


@contextlib.contextmanager
def open_backend(jobs: Sequence[Job], workers: Workers) -> Iterator[tuple[Backend, int]]:
    """The back end for these jobs, and how many fits it takes at a time.

    Raises:
      UserError: there is no such back end, its package is missing, or it cannot be reached.
    """
    if workers.backend == "local":
        backend, size = local(jobs, workers.count)
        yield backend, workers.together or size
    elif workers.backend == "ray":
        ray = _extra("ray", "ray_actors")
        with ray.cluster(workers.address, workers.count) as (backend, gpus):
            yield backend, workers.together or _fits(jobs, _BYTES_ELSEWHERE if gpus else 0)
    elif workers.backend == "slurm":
        slurm = _extra("submitit", "slurm")
        backend, gpus = slurm.array(workers.count, workers.slurm)
        yield backend, workers.together or _fits(jobs, _BYTES_ELSEWHERE if gpus else 0)
    else:
        raise UserError(f"there is no back end '{workers.backend}'; choose local, ray or slurm")


def _extra(package: str, module: str) -> ModuleType:
    """A module of this package that needs another one."""
    try:
        return importlib.import_module(f"overfit.jobs.{module}")
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        extra = {"ray": "ray", "submitit": "slurm"}[package]
        raise UserError(
            f"--backend {extra} needs {package}; run: pip install 'overfit[{extra}]'"
        ) from error


def in_process(work: Work, batches: Sequence[Sequence[Any]], folder: Path, emit: Emit) -> None:
    """The simplest back end: one batch after the other, here, on all local devices."""
    for batch in batches:
        work(batch, folder, emit)


def beside_helpers(count: int) -> Backend:
    """For an accelerator: fits here, and so many processes on CPUs that make their files."""

    def run(work: Work, batches: Sequence[Sequence[Any]], folder: Path, emit: Emit) -> None:
        with helpers(count):
            in_process(work, batches, folder, emit)

    return run


def local(jobs: Sequence[Job], count: int | None = None) -> tuple[Backend, int]:
    """The back end for this machine, and how many fits it takes at a time.

    On an accelerator this process, with as many fits in a program as the memory has room for, and
    the others for files. On CPUs a process per core, or `count` of them; one job alone gets all
    cores.
    """
    count = min(count or len(cores()), len(jobs))
    if any(job.codec == "overfit" for job in jobs):
        from overfit.fitting.memory import accelerator_memory

        if memory := accelerator_memory():
            backend = beside_helpers(count) if count > 1 else in_process
            return backend, _fits(jobs, memory)
    return (pool(count), 1) if count > 1 else (in_process, 1)


def _fits(jobs: Sequence[Job], memory: float) -> int:
    """How many of these fits an accelerator has room for at a time; one at a time on CPUs."""
    from overfit.fitting.memory import room

    sizes = [shape(job) for job in jobs if job.codec == "overfit"]
    return room(max((width * height for width, height in sizes), default=0) or 2**20, memory)
