"""The choice of settings for one image, or for each patch of one clip, by `grid` or `halving`.

It is what workers are given.
"""

import functools
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from overfit.errors import sentence
from overfit.io.clip import Clip
from overfit.io.clips import as_rgb
from overfit.io.datasets import Instance
from overfit.io.json_file import write_json
from overfit.jobs.job import Emit, Event, Failure, Job, failure
from overfit.jobs.records import load_signal, slug
from overfit.jobs.store import leave, open_store
from overfit.sweeping import clips
from overfit.sweeping.rungs import Field, Plan, advance, enter, jobs_of, result
from overfit.sweeping.strategies import STRATEGIES, race

RUNGS = "rungs"  # folder of the results of rungs, a folder below it per image


class Course(NamedTuple):
    """An image or a clip, and what is run on it. Has what back ends ask of a job."""

    instance: Instance
    plan: Plan

    def jobs(self) -> list[tuple[dict[str, Any], Job]]:
        """(setting, job) of every candidate."""
        settings = self.plan.sweep.settings()
        return [(s, job) for s in settings for job in jobs_of(self.instance, self.plan, s)]

    def key(self) -> str:
        """Hash of all that the choice depends on."""
        sweep = self.plan.sweep
        parts = [job.key() for _, job in self.jobs()]
        parts += [self.plan.strategy, repr(sweep.budget), sweep.objective]
        return hashlib.blake2b("".join(parts).encode(), digest_size=12).hexdigest()

    @property
    def name(self) -> str:
        return self.jobs()[0][1].name

    @property
    def label(self) -> str:
        return self.plan.sweep.name

    @property
    def setting(self) -> dict[str, float]:
        return {}  # all of them

    def __str__(self) -> str:
        return f"{self.name}, {self.label}"


def work(batch: Sequence[Course], folder: Path, emit: Emit) -> None:
    """Runs courses, one after the other.

    The record of a course has what was chosen, a line of the summary per lambda, and the failures
    of single settings. It is left in the folder where there are none: what failed is tried again.
    """
    for course in batch:
        try:
            chosen, failures = _run(course, folder, emit)
            record = _record(course, chosen, failures, folder)
            if not failures:
                leave(record, folder)
            emit(Event(course, record=record))
        except Exception as error:  # a damaged input must not cost the others their results
            emit(Event(course, failure=failure(course, sentence(error))))


def _record(
    course: Course, chosen: list[dict[str, Any]], failures: list[Failure], folder: Path
) -> dict[str, Any]:
    choice = {"results": chosen, "failures": [one._asdict() for one in failures]}
    file = f"{RUNGS}/{slug(course.name)}/choice.json"
    write_json(folder / file, choice)
    return {"key": course.key(), "file": file, "bytes": (folder / file).stat().st_size, **choice}


def _run(course: Course, folder: Path, emit: Emit) -> tuple[list[dict[str, Any]], list[Failure]]:
    """What is chosen for a signal, a line of the summary per lambda, and what failed."""
    plan, sweep = course.plan, course.plan.sweep
    signal = load_signal(course.instance, plan.crop, plan.frames)
    if isinstance(signal, Clip):
        signal = as_rgb(signal)  # as `overfit encode` takes it
    waiting = folder / "checkpoints" / slug(course.name)
    with open_store(folder / RUNGS / slug(course.name)) as rungs:
        field = Field(plan, folder, {}, rungs, {}, emit)
        contests: dict[tuple[float, str], list[str]] = {}
        for setting, job in course.jobs():
            for part, piece in _parts(job, signal):
                key = enter(field, part, setting, piece, str(waiting))
                contests.setdefault((job.setting["lmbda"], part.name), []).append(key)
        ladder = STRATEGIES[plan.strategy](sweep.budget, len(sweep.settings()))
        winners = race(contests, ladder, functools.partial(advance, field))
        shutil.rmtree(waiting, ignore_errors=True)
        errors = {key: passed[-1]["error"] for key, passed in field.passed.items()}
        failures = [
            failure(field.candidates[key].job, error) for key, error in errors.items() if error
        ]
        chosen = []
        for lmbda in dict.fromkeys(lmbda for lmbda, _ in contests):
            best = [winner for (at, _), (winner,) in winners.items() if at == lmbda]
            if not any(errors[winner] for winner in best):
                keys = [key for (at, _), keys in contests.items() if at == lmbda for key in keys]
                chosen.append(_result(field, course.name, signal, best, keys))
    return chosen, failures


def _parts(job: Job, signal: np.ndarray | Clip) -> Sequence[tuple[Job, np.ndarray | Clip]]:
    """What settings are chosen for apart, each as a job of its own: an image, patches of a clip."""
    return clips.patch_jobs(job, signal) if isinstance(signal, Clip) else [(job, signal)]


def _result(
    field: Field, name: str, signal: np.ndarray | Clip, best: list[str], keys: list[str]
) -> dict[str, Any]:
    """A line of the summary. best: the winners, in the order of a clip's patches."""
    runs = [field.passed[key] for key in keys]
    if isinstance(signal, Clip):
        return clips.result(field, name, signal, best, runs)
    return result(field, best[0], runs)
