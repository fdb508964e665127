"""Processes on CPUs that make files of what an accelerator has fitted, while it fits the next ones.

Coding a file and decoding it again takes seconds on one core, which is longer than an accelerator
needs for the fit.
"""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from typing import Any

from overfit.processes import ONE_CPU, begin_helper

_Then = Callable[[Any], None]  # takes a result, or the exception that prevented it
_pool: ProcessPoolExecutor | None = None
_asleep = 0  # helpers that have not been started
_waiting: dict[Future, _Then] = {}


@contextlib.contextmanager
def helpers(count: int) -> Iterator[None]:
    """Within it, `call` has that many processes; at its end all calls have been answered."""
    global _pool, _asleep
    context = multiprocessing.get_context("spawn")
    _pool = ProcessPoolExecutor(count, context, begin_helper)
    _asleep = count
    try:
        yield
        while _waiting:
            _answer(None)
    finally:
        _waiting.clear()
        _pool.shutdown(cancel_futures=True)
        _pool, _asleep = None, 0


def wake() -> None:
    """Starts the helpers, if there are any, so that they are there when they are called."""
    global _asleep
    if _pool is not None and _asleep:
        with _environment(ONE_CPU):
            for _ in range(_asleep):  # the executor starts a process per call that finds none idle
                _pool.submit(os.getpid)
        _asleep = 0


def call(function: Callable[..., Any], arguments: tuple, then: _Then) -> None:
    """Calls a function and tells `then` of its result: with helpers some time later, from here."""
    if _pool is None:
        try:
            result = function(*arguments)
        except Exception as error:
            result = error
        then(result)
        return
    wake()
    try:
        _waiting[_pool.submit(function, *arguments)] = then
    except BrokenExecutor as error:  # a helper has died, and with it the others
        then(error)
    _answer(0)


def _answer(seconds: float | None) -> None:
    """Passes on what has been done, after waiting so long at most; None: until there is some."""
    for future in wait(_waiting, seconds, FIRST_COMPLETED).done:
        then = _waiting.pop(future)
        error = future.exception()
        then(future.result() if error is None else error)


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """What processes that start within it find in their environment."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
