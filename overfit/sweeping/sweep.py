"""Runs a sweep to its end: an index of all files, a summary of what was chosen, what failed.

`grid` and `halving` choose for each image, so that images are what workers share. A search is about
all images together, and runs here.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from overfit.errors import UserError
from overfit.io.datasets import Instance
from overfit.io.json_file import write_json
from overfit.jobs.backends import LOCAL, Workers, open_backend
from overfit.jobs.job import Event, Failure
from overfit.jobs.store import Store, left, open_store, take_up, tidy
from overfit.sweeping import course
from overfit.sweeping.course import Course
from overfit.sweeping.rungs import Plan, jobs_of
from overfit.sweeping.search import search

Progress = Callable[[Event, int, int], None]


def sweep(
    instances: Sequence[Instance],
    plan: Plan,
    folder: str | os.PathLike[str],
    workers: Workers = LOCAL,
    progress: Progress = lambda event, ended, count: None,
) -> tuple[dict[str, Any], list[Failure]]:
    """Chooses settings per lambda, and per image or for all; the summary, and what failed.

    The summary is in FOLDER/summary.json as well. progress(event, images that have ended, images in
    all) is called at every event.

    Raises:
      UserError: a folder that cannot be used, or options that no fit could have.
    """
    # Refuses options that no fit could have before anything is written.
    jobs_of(instances[0], plan, plan.sweep.settings()[0])
    with open_store(folder) as files:
        take_up(files, _is_file)
        run = _search if plan.strategy == "search" else _courses
        chosen, failures = run(instances, plan, files, workers, progress)
        take_up(files, _is_file)
        tidy(files)
    summary = {
        "sweep": plan.sweep.name,
        "preset": plan.sweep.preset,
        "strategy": plan.strategy,
        "objective": plan.sweep.objective,
        "steps": plan.sweep.budget.steps,
        "seed": plan.seed,
        "results": chosen,
        "failures": [failure._asdict() for failure in failures],
    }
    write_json(Path(folder) / "summary.json", summary)
    return summary, failures


def _is_file(record: dict) -> bool:
    """Whether a record is that of a coded file, not of a course."""
    return "codec" in record


def _search(
    instances: Sequence[Instance], plan: Plan, files: Store, workers: Workers, progress: Progress
) -> tuple[list[dict], list[Failure]]:
    if workers != LOCAL:
        raise UserError(
            "a search runs here; many machines share one by [search] storage, docs/sweeps.md"
        )

    def emit(event: Event) -> None:
        if event.record is not None:
            files.append(event.record)
        progress(event, 0, len(instances))

    return search(instances, plan, files.folder, emit)


def _courses(
    instances: Sequence[Instance], plan: Plan, files: Store, workers: Workers, progress: Progress
) -> tuple[list[dict], list[Failure]]:
    courses = [Course(instance, plan) for instance in instances]
    choices = {one.instance: _choice(one, files.folder) for one in courses}
    ended = {instance: record for instance, record in choices.items() if record is not None}
    failures = []

    def emit(event: Event) -> None:
        if event.record is not None and isinstance(event.job, Course):
            ended[event.job.instance] = event.record
        elif event.record is not None:
            files.append(event.record)
        elif event.failure is not None and isinstance(event.job, Course):
            failures.append(event.failure)
        progress(event, len(ended) + len(failures), len(courses))

    todo = [one for one in courses if one.instance not in ended]
    if todo:
        with open_backend([one.jobs()[0][1] for one in todo], workers) as (backend, _):
            backend(course.work, [[one] for one in todo], files.folder, emit)
    chosen = []
    for record in (ended[instance] for instance in instances if instance in ended):
        chosen += record["results"]
        failures += [Failure(**failure) for failure in record["failures"]]
    return chosen, failures


def _choice(one: Course, folder: Path) -> dict | None:
    """The record of a course that is done, if its files are still there."""
    record = left(one.key(), folder)
    files = [folder / line["file"] for line in record["results"]] if record is not None else []
    return record if all(file.exists() for file in files) else None
