"""The batches of a training, made ahead by processes where there are cores to spare.

A batch follows from the seed and the number of its step, whoever makes it.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np

from overfit.errors import UserError
from overfit.io.datasets import Instance
from overfit.meta import footage
from overfit.meta.crops import crops, large_images
from overfit.processes import begin_helper

_AHEAD = 2  # batches per process that are there, or being made, before they are asked for
_KEPT = 5  # times as many at most, for trainings that share them and are not equally fast


class Shape(NamedTuple):
    """Of what is trained on."""

    frames: int  # 0: images
    size: int  # px a side


class Data(NamedTuple):
    """What is trained on, in memory."""

    content: list[Any]  # what tells it from other data
    crops: Callable  # (shape, count, seed) -> uint8 [(frames,) size, size, 3] each


def load(instances: Sequence[Instance], largest: Shape) -> Data:
    """Raises UserError where nothing is large or long enough for the largest shape."""
    if largest.frames:
        known = footage.load(instances, largest.size, largest.frames)
        return Data(
            [*known.images, *known.clips],
            lambda shape, count, seed: footage.windows(
                known, shape.size, shape.frames, count, seed
            ),
        )
    images = large_images(instances, largest.size)
    if not images:
        raise UserError(f"training needs color images of {largest.size} px or more")
    return Data(images, lambda shape, count, seed: crops(images, shape.size, count, seed))


class Batches:
    """uint8 [batch, (frames,) size, size, 3] by step; trainings in threads may share them.

    Memory: _KEPT * _AHEAD * processes of them, and in each process the decoded images and
    up to `footage.KEPT` bytes of clips.
    """

    def __init__(
        self,
        instances: Sequence[Instance],
        shape: Callable[[int], Shape],
        steps: int,
        batch: int,
        seed: int,
        processes: int = 0,
    ):
        """shape(step): of each element. processes: 0: batches are made when they are asked for.

        Raises:
          UserError: nothing is large or long enough.
        """
        largest = Shape(*map(max, zip(shape(0), shape(steps - 1), strict=True)))
        self._data = load(instances, largest)
        self._shape, self._steps, self._batch, self._seed = shape, steps, batch, seed
        self._processes = processes
        self._made: dict[int, Future] = {}
        self._lock = threading.Lock()
        self._pool = None
        if processes:
            self._pool = ProcessPoolExecutor(
                processes, get_context("spawn"), _begin, (list(instances), largest)
            )

    @property
    def content(self) -> list[Any]:
        return self._data.content

    def __call__(self, step: int) -> np.ndarray:
        """Raises UserError: a clip cannot be read, or the processes died."""
        if self._pool is None:
            return _stacked(self._data, *self._task(step))
        wanted = range(step, min(step + _AHEAD * self._processes + 1, self._steps))
        with self._lock:
            for one in wanted:
                if one not in self._made:
                    self._made[one] = self._pool.submit(_make, *self._task(one))
            others = sorted(one for one in self._made if one not in wanted)
            for one in others[: len(self._made) - _KEPT * _AHEAD * self._processes]:
                del self._made[one]
            made = self._made[step]
        try:
            return made.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a process that prepares batches died; is there enough memory for "
                f"{self._processes} of them (--workers)?"
            ) from error

    def _task(self, step: int) -> tuple[Shape, int, tuple[int, int]]:
        return self._shape(step), self._batch, (self._seed, step)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def _stacked(data: Data, shape: Shape, count: int, seed: tuple[int, int]) -> np.ndarray:
    return np.stack(data.crops(shape, count, seed))


# -- In a process ----------------------------------------------------------------------------------

_data: Data  # of a process that makes batches


def _begin(instances: list[Instance], largest: Shape) -> None:
    global _data
    begin_helper()
    _data = load(instances, largest)


def _make(shape: Shape, count: int, seed: tuple[int, int]) -> np.ndarray:
    return _stacked(_data, shape, count, seed)
