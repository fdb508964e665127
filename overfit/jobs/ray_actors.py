"""Ray: an actor per GPU, or per CPU where the cluster has no GPU, on one machine or many.

Actors stay warm between batches, as the pool's processes do, and keep their compiled programs. What
goes through Ray is batches and events; inputs and results are files that every machine sees under
the same path. Ray ends the actors of a driver that has died, and the next run goes on from the
files.
"""

import contextlib
import logging
import os
import queue
import socket
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

# Ray reads these when it is imported: no report to its makers, and no advice about their plans for
# CUDA_VISIBLE_DEVICES.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray.exceptions import RayError

from overfit import __version__
from overfit.errors import UserError, sentence
from overfit.jobs.dispatch import Dispatch
from overfit.jobs.job import Backend, Emit, Event, Work
from overfit.processes import cores, one_cpu


@contextlib.contextmanager
def cluster(address: str | None, count: int | None) -> Iterator[tuple[Backend, bool]]:
    """Joins a cluster, or starts one on this machine for the time being.

    address: HOST:PORT, or "auto" for the cluster that this machine belongs to. count: actors; by
    default as many as the cluster has GPUs, or CPUs.

    Yields the back end and whether its actors have GPUs.

    Raises:
      UserError: there is no such cluster, or it has nothing to compute on.
    """
    if address not in (None, "auto"):
        _check_reachable(address)
    # Ray prints what it says of lost workers on stdout, which is for results.
    with contextlib.redirect_stdout(sys.stderr):
        _init(address, count)
        try:
            resources = ray.cluster_resources()
            kind = "GPU" if resources.get("GPU", 0) >= 1 else "CPU"
            count = count or int(resources.get(kind, 0))
            if not count:
                raise UserError("the Ray cluster has neither CPUs nor GPUs; see `ray status`")

            def run(work: Work, batches: Sequence[Sequence[Any]], folder: Path, emit: Emit) -> None:
                dispatch = Dispatch(batches, emit)
                _Actors(work, dispatch, folder.resolve(), kind).run(count)

            yield run, kind == "GPU"
        finally:
            ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ray itself waits for minutes where nobody answers."""
    if address.startswith("ray://"):
        raise UserError(
            f"a Ray client ('{address}') cannot follow its workers: run on a machine of the "
            "cluster, with --address auto, or through `ray job submit`"
        )
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"no Ray cluster answers at '{address}': {sentence(error)}; give HOST:PORT of its "
            "head, port 6379 by default"
        ) from error


def _init(address: str | None, count: int | None) -> None:
    """Joins or starts a cluster: without a dashboard, and with memory for no more than events."""
    memory = 128 * 2**20
    cpus = max(len(cores()), count or 0)
    own = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": memory}
    options = {"log_to_driver": False, "logging_level": logging.ERROR} | ({} if address else own)
    try:
        with warnings.catch_warnings():
            # Ray forks to start its own programs at once, which JAX takes for a danger.
            warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
            ray.init(address or "local", **options)
    except (ConnectionError, ValueError) as error:
        raise UserError(
            f"cannot join the Ray cluster '{address}': {sentence(error)}; if it asks for a token, "
            "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
        ) from error


class _Worker:
    """Lives in a process of its own, somewhere."""

    def __init__(self, kind: str, folder: str):
        with contextlib.suppress(OSError):  # absolute paths need no such folder on this machine
            os.chdir(folder)
        if kind == "CPU":
            one_cpu()

    def version(self) -> str:
        return __version__

    def work(self, work: Work, batch: Sequence[Any], folder: Path) -> Iterator[Event]:
        """The events of a batch as they happen."""
        events = queue.SimpleQueue()
        with ThreadPoolExecutor(1) as thread:
            done = thread.submit(work, batch, folder, events.put)
            done.add_done_callback(lambda _: events.put(None))
            while (event := events.get()) is not None:
                yield event
        done.result()


class _Actors:
    """The actors, each known by what it is to say next: its version, then the events of a batch."""

    def __init__(self, work: Work, dispatch: Dispatch, folder: Path, kind: str):
        self._work, self._dispatch, self._folder = work, dispatch, folder
        resources = {"num_gpus": 1} if kind == "GPU" else {"num_cpus": 1}
        self._class = ray.remote(_Worker).options(**resources, max_restarts=0)
        self._arguments = kind, os.getcwd()
        self._starting: dict = {}  # reference to its version -> actor
        self._busy: dict = {}  # generator of events -> actor
        self._idle: list = []

    def run(self, count: int) -> None:
        try:
            for _ in range(min(count, self._dispatch.waiting)):
                self._start()
            while self._dispatch.waiting or self._dispatch.busy:
                while self._dispatch.waiting and self._idle:
                    self._give(self._idle.pop())
                (ready,), _ = ray.wait([*self._busy, *self._starting])
                if ready in self._starting:
                    self._greet(ready)
                else:
                    self._receive(ready)
        finally:
            for actor in (*self._idle, *self._starting.values(), *self._busy.values()):
                ray.kill(actor)

    def _start(self) -> None:
        """An actor gets no batch before it is there: the cluster may be full at the time."""
        actor = self._class.remote(*self._arguments)
        self._starting[actor.version.remote()] = actor

    def _greet(self, reference) -> None:
        actor = self._starting.pop(reference)
        try:
            version = ray.get(reference)
        except RayError as error:
            if not (self._starting or self._busy or self._idle):
                raise UserError(
                    f"no worker starts in the Ray cluster, where overfit {__version__} must be "
                    f"installed on every machine: {_short(error)}"
                ) from error
            return
        if version != __version__:
            raise UserError(
                f"the Ray cluster has overfit {version} and this machine {__version__}; install "
                "one version on all"
            )
        self._idle.append(actor)

    def _give(self, actor) -> None:
        method = actor.work.options(num_returns="streaming")
        batch = self._dispatch.give(actor)
        self._busy[method.remote(self._work, batch, self._folder)] = actor

    def _receive(self, events) -> None:
        actor = self._busy[events]
        try:
            event: Any = ray.get(next(events))
        except StopIteration:
            del self._busy[events]
            self._dispatch.release(actor)
            self._idle.append(actor)
        except RayError as error:
            del self._busy[events]
            self._dispatch.release(actor, _short(error))
            ray.kill(actor)
            self._start()
        else:
            self._dispatch.hear(actor, event)


def _short(error: RayError) -> str:
    """The first line of one of Ray's long explanations."""
    return sentence(error) if not str(error).strip() else str(error).strip().splitlines()[0]
