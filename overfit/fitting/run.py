"""Runs a batch of fits to its end: chunks of steps, progress, checkpoints, continuation."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from overfit.engine import fit
from overfit.fitting import checkpoint

CHUNK_SECONDS = 1.0  # about as long as the program runs before Python is entered again
CHECKPOINT_SECONDS = 10.0


class Progress(NamedTuple):
    """One instance's place in its run; the first of the batch where one must speak for all."""

    step: int
    total: int
    loss: float
    bpp: float  # of the latents, estimated
    psnr: float  # dB, of the float image
    steps_per_second: float
    seconds_left: float
    round: int = 1  # where fits need several rounds
    rounds: int = 1
    doing: str = ""  # what is counted, where it is not the steps of a fit


class Run(NamedTuple):
    """A batch that has been run."""

    states: fit.FitState
    tasks: fit.Task
    seconds: float  # without compilation
    seconds_compile: float
    steps: int  # taken in this process by the longest instance


def _progress(report: fit.Report, stop: np.ndarray, pixels: int, rate: float) -> Progress:
    step, total = int(report.step[0]), int(stop[0])
    psnr = -10 * np.log10(max(float(report.distortion[0]), 1e-12))
    left = (total - step) / rate if rate > 0 else float("inf")
    bpp = float(report.bits[0]) / pixels
    return Progress(step, total, float(report.loss[0]), bpp, psnr, rate, left)


def _restored(states: fit.FitState, saved: Sequence[Path | None]) -> fit.FitState:
    """The states of the checkpoints, and those given where there are none."""
    host = jax.tree.map(np.asarray, states)
    parts = []
    for i, path in enumerate(saved):
        part = jax.tree.map(lambda array, i=i: array[i], host)
        parts.append((path and checkpoint.restore(path, part)) or part)
    return jax.tree.map(lambda *arrays: np.stack(arrays), *parts)


def _save(states: fit.FitState, saved: Sequence[Path | None], changed: np.ndarray) -> None:
    host = jax.tree.map(np.asarray, states)
    for i, path in enumerate(saved):
        if path is not None and changed[i]:
            checkpoint.save(path, jax.tree.map(lambda array, i=i: array[i], host))


def run(
    states: fit.FitState,
    tasks: fit.Task,
    loss_fn: Callable,
    config,
    pixels: int,
    progress: Callable[[Progress], None] | None = None,
    saved: Sequence[Path | None] = (),
    until: int | None = None,
) -> Run:
    """Fits a batch until every instance is done, or has taken `until` steps of its schedule.

    pixels: of one instance. saved: the checkpoint of each instance (None for none), which goes on
    from there in whatever batch it is next, to the same result as an uninterrupted run on the same
    machine. The length of the chunks follows the clock, which changes nothing in the result.
    """
    if any(saved):
        states = _restored(states, saved)
    states, tasks = fit.spread(states, tasks)

    start = time.perf_counter()
    states = jax.block_until_ready(fit.advance(states, tasks, 0, loss_fn, config))
    seconds_compile = time.perf_counter() - start

    stop = np.asarray(tasks.schedule.steps + tasks.schedule.stage2_steps)
    stop = stop if until is None else np.minimum(stop, until)
    start = last_save = time.perf_counter()
    report = fit.report(states, tasks)
    begin, written, chunk, first_save = report.step, report.step, 1, True
    while (report.running & (report.step < stop)).any():
        chunk_start = time.perf_counter()
        steps = np.minimum(chunk, stop - report.step)
        states = fit.advance(states, tasks, steps, loss_fn, config)
        report = fit.report(states, tasks)
        now = time.perf_counter()
        if progress is not None:
            rate = int((report.step - begin).max()) / (now - start)
            progress(_progress(report, stop, pixels, rate))
        if any(saved) and (first_save or now - last_save > CHECKPOINT_SECONDS):
            _save(states, saved, report.step > written)
            written, last_save, first_save = report.step, now, False
        pace = chunk / (now - chunk_start)
        chunk = max(1, min(int(pace * CHUNK_SECONDS), 4 * chunk))
    if any(saved):
        _save(states, saved, report.step > written)
    seconds = time.perf_counter() - start
    return Run(states, tasks, seconds, seconds_compile, int((report.step - begin).max()))
