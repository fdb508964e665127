"""The choice of settings for one image, by `grid` or `halving`: what workers are given."""

import functools
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from overfit.errors import UserError, sentence
from overfit.io.clips import Clip
from overfit.io.datasets import Instance
from overfit.io.json_file import write_json
from overfit.jobs.job import Emit, Event, Failure, Job, failure
from overfit.jobs.records import load_signal, slug
from overfit.jobs.store import leave, open_store
from overfit.sweeping.rungs import Field, Plan, advance, enter, jobs_of, result
from overfit.sweeping.strategies import STRATEGIES, race

RUNGS = "rungs"  # folder of the results of rungs, a folder below it per image


class Course(NamedTuple):
    """An image, and what is run on it. Has what back ends ask of a job."""

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
    """What is chosen for an image, a line of the summary per lambda, and what failed."""
    plan, sweep = course.plan, course.plan.sweep
    signal = load_signal(course.instance, plan.crop)
    if isinstance(signal, Clip):
        raise UserError("a sweep cannot take clips yet")
    waiting = folder / "checkpoints" / slug(course.name)
    with open_store(folder / RUNGS / slug(course.name)) as rungs:
        field = Field(plan, folder, {}, rungs, {}, emit)
        contests: dict[float, list[str]] = {}
        for setting, job in course.jobs():
            key = enter(field, job, setting, signal, str(waiting))
            contests.setdefault(job.setting["lmbda"], []).append(key)
        ladder = STRATEGIES[plan.strategy](sweep.budget, len(sweep.settings()))
        winners = race(contests, ladder, functools.partial(advance, field))
        shutil.rmtree(waiting, ignore_errors=True)
        errors = {key: passed[-1]["error"] for key, passed in field.passed.items()}
        failures = [
            failure(field.candidates[key].job, error) for key, error in errors.items() if error
        ]
        chosen = [
            result(field, winner, [field.passed[key] for key in contests[lmbda]])
            for lmbda, (winner,) in winners.items()
            if not errors[winner]
        ]
    return chosen, failures
