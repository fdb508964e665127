"""The choice of settings for one image, by `grid` or `halving`: what workers are given."""

import functools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from overfit.errors import UserError, sentence
from overfit.io.clips import Clip
from overfit.io.datasets import Instance
from overfit.io.json_file import write_json
from overfit.jobs.job import Event, Failure, failure
from overfit.jobs.records import load_signal, slug
from overfit.jobs.store import open_store
from overfit.sweeping.rungs import Field, Plan, advance, enter, jobs_of, result
from overfit.sweeping.strategies import STRATEGIES, race

RUNGS = "rungs"  # folder of the results of rungs, a folder below it per image
CHOICE = "choice.json"  # what came of an image: lines of the summary, and failures


class Course(NamedTuple):
    """An image, and what is run on it."""

    instance: Instance
    plan: Plan

    @property
    def name(self) -> str:
        return jobs_of(self.instance, self.plan, self.plan.sweep.settings()[0])[0].name

    @property
    def label(self) -> str:
        return self.plan.sweep.name

    @property
    def setting(self) -> dict[str, float]:
        return {}  # all of them

    def __str__(self) -> str:
        return f"{self.name}, {self.label}"


def work(batch: Sequence[Course], folder: Path, emit: Callable[[Event], None]) -> None:
    """Runs courses, one after the other.

    What is chosen and what failed is in FOLDER/rungs/NAME/choice.json in the end.
    """
    for course in batch:
        try:
            chosen, failures = _run(course, folder, emit)
        except Exception as error:  # a damaged input must not cost the others their results
            chosen, failures = [], [failure(course, sentence(error))]
            emit(Event(course, failure=failures[0]))
        home = folder / RUNGS / slug(course.name)
        home.mkdir(parents=True, exist_ok=True)
        write_json(home / CHOICE, {"results": chosen, "failures": [f._asdict() for f in failures]})


def _run(
    course: Course, folder: Path, emit: Callable[[Event], None]
) -> tuple[list[dict[str, Any]], list[Failure]]:
    """What is chosen for an image, a line of the summary per lambda, and what failed."""
    plan, sweep = course.plan, course.plan.sweep
    signal = load_signal(course.instance, plan.crop)
    if isinstance(signal, Clip):
        raise UserError("a sweep cannot take clips yet")
    waiting = folder / "checkpoints" / slug(course.name)
    with open_store(folder / RUNGS / slug(course.name)) as rungs:
        field = Field(plan, folder, {}, rungs, {}, emit)
        contests: dict[float, list[str]] = {}
        for setting in sweep.settings():
            for job in jobs_of(course.instance, plan, setting):
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
