"""Saves and restores the state of a fit: one file per fit, replaced atomically.

A checkpoint belongs to one job, named by a hash of all that determines its result. msgpack arrays
only: loading one runs no code.
"""

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import serialization

from overfit.engine.fit import FitState
from overfit.io.atomic import atomic_write


def job_key(*parts) -> str:
    """Hash of what determines a fit: arrays by content, everything else by its repr."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(repr((part.shape, part.dtype.str)).encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()[:20]


def save(path: Path, state: FitState) -> None:
    host = jax.tree.map(np.asarray, state)
    with atomic_write(path) as file:
        file.write(serialization.to_bytes(host))


def restore(path: Path, like: FitState) -> FitState | None:
    """The saved state, or None if there is none that fits `like` (its shapes and dtypes)."""
    try:
        state: Any = serialization.from_bytes(jax.tree.map(np.asarray, like), path.read_bytes())
    except (FileNotFoundError, ValueError, KeyError):
        return None
    same = jax.tree.map(lambda a, b: np.shape(a) == np.shape(b), state, like)
    return state if all(jax.tree.leaves(same)) else None
