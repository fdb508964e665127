"""Saves and restores the state of a run: one file each, replaced atomically.

A checkpoint belongs to one job, named by a hash of all that determines its result. msgpack arrays
only: loading one runs no code.
"""

import hashlib
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from flax import serialization

from overfit.errors import UserError
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


_DIGEST_SIZE = 16  # bytes, before the arrays: a bit that a disk has flipped changes the result


def made(folder: str) -> Path:
    """A folder for checkpoints; raises UserError where it cannot be made."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot use '{folder}' for checkpoints: {error.strerror}") from error
    return Path(folder)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_SIZE).digest()


def save_bytes(path: Path, content: bytes) -> None:
    with atomic_write(path) as file:
        file.write(_digest(content) + content)


def restore_bytes(path: Path) -> bytes | None:
    """What was saved, or None if there is nothing intact."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    digest, content = data[:_DIGEST_SIZE], data[_DIGEST_SIZE:]
    return content if digest == _digest(content) else None


State = TypeVar("State")  # a pytree of arrays


def save(path: Path, state: Any) -> None:
    save_bytes(path, serialization.to_bytes(jax.tree.map(np.asarray, state)))


def restore(path: Path, like: State) -> State | None:
    """The saved state, or None if there is no intact one that fits `like` (shapes and dtypes)."""
    content = restore_bytes(path)
    if content is None:
        return None
    try:
        state: Any = serialization.from_bytes(jax.tree.map(np.asarray, like), content)
    except (ValueError, KeyError):
        return None
    same = jax.tree.map(lambda a, b: np.shape(a) == np.shape(b), state, like)
    return state if all(jax.tree.leaves(same)) else None
