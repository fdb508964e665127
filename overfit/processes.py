"""Processes of this machine: the processors that they have, and how they begin and end."""

import multiprocessing
import os
import signal
import threading


def cores() -> list[int]:
    """The processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return sorted(affinity(0)) if affinity else list(range(os.cpu_count() or 1))


# Keeps JAX, and NumPy's products, to one thread of computation on the CPU.
ONE_CPU = {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": "1",
    "NPROC": "1",  # XLA's threads, where the process is not pinned to a core
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def one_cpu() -> None:
    """`ONE_CPU` in a process where JAX has not started yet."""
    os.environ.update(ONE_CPU)


def begin_helper() -> None:
    """What a process does first that works for another, which ends it, or is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other ends its helpers itself
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
