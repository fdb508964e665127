"""Training on several hosts: processes that run the same program, each on its part of a batch."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from overfit.errors import UserError


@contextlib.contextmanager
def joined(spec: str | None) -> Iterator[int]:
    """Joins the processes of a run, before JAX is used; yields the number of this one.

    spec: HOST:PORT,NUM,ID: the address of process 0, how many there are, and which this one is;
        auto: as SLURM, MPI, a TPU pod, or another cluster that JAX knows tells it; None: alone.

    Raises:
      UserError: there is no such run.
    """
    if spec is None:
        yield 0
        return
    try:
        jax.distributed.initialize(*_parts(spec))
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"cannot join the run '{spec}': {' '.join(str(error).split())}; check the address, and "
            "that all processes are started"
        ) from error
    yield jax.process_index()
    # It waits for the others; after an error they cannot come, and end when this process does.
    jax.distributed.shutdown()


def _parts(spec: str) -> tuple:
    if spec == "auto":
        return ()
    found = re.fullmatch(r"([^,\s]+:\d+),(\d+),(\d+)", spec)
    if not found or int(found[3]) >= int(found[2]):
        raise UserError(
            f"--distributed is HOST:PORT,NUM,ID with ID from 0 to NUM - 1, or auto, not '{spec}'"
        )
    return found[1], int(found[2]), int(found[3])


def mesh(batch: int) -> Mesh:
    """As many devices as share a batch evenly, equally many of each process, in their order.

    Raises:
      UserError: the processes cannot share it.
    """
    hosts = jax.process_count()
    if batch % hosts:
        raise UserError(f"{hosts} processes cannot share a batch of {batch}; set training.batch")
    of_host = [[d for d in jax.devices() if d.process_index == host] for host in range(hosts)]
    room = min(len(devices) for devices in of_host)
    each = max(n for n in range(1, room + 1) if batch % (n * hosts) == 0)
    return Mesh(np.asarray([d for devices in of_host for d in devices[:each]]), ("batch",))


def mine(batch: int) -> slice:
    """The rows of a batch that this process has."""
    each = batch // jax.process_count()
    return slice(each * jax.process_index(), each * (jax.process_index() + 1))


def spread(rows: np.ndarray, over: Mesh) -> jax.Array:
    """The batch whose rows `mine` are given, on the devices of the mesh."""
    return jax.make_array_from_process_local_data(NamedSharding(over, PartitionSpec("batch")), rows)


def first() -> bool:
    """Whether this is the process that reads and writes files of the run."""
    return jax.process_index() == 0


def from_first(state: Any) -> Any:
    """The pytree that the first process has, in all of them."""
    return state if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(state)


def agree(key: str) -> None:
    """Raises UserError, in all processes, unless they have one key: of what is trained, on what."""
    if jax.process_count() > 1:
        keys = multihost_utils.process_allgather(np.frombuffer(key.encode(), np.uint8))
        if (keys != keys[0]).any():
            raise UserError(
                "the processes have different images or options; they have to be started alike"
            )
