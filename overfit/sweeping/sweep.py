"""Runs a sweep to its end: an index of all files, a summary of what was chosen, what failed.

`grid` and `halving` choose for each image, so images are units of work for any back end of jobs;
on one CPU core or accelerator they follow each other. A search is about all images together.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from overfit.io.datasets import Instance
from overfit.io.json_file import write_json
from overfit.jobs.job import Event, Failure
from overfit.jobs.records import slug
from overfit.jobs.store import open_store
from overfit.sweeping import course
from overfit.sweeping.course import CHOICE, RUNGS, Course
from overfit.sweeping.rungs import Plan, jobs_of
from overfit.sweeping.search import search


def sweep(
    instances: Sequence[Instance],
    plan: Plan,
    folder: str | os.PathLike[str],
    progress: Callable[[Event, int, int], None] = lambda event, ended, count: None,
) -> tuple[dict[str, Any], list[Failure]]:
    """Chooses settings per lambda, and per image or for all; the summary, and what failed.

    The summary is in FOLDER/summary.json as well.

    Raises:
      UserError: a folder that cannot be used, or options that no fit could have.
    """
    # Refuses options that no fit could have before anything is written.
    jobs_of(instances[0], plan, plan.sweep.settings()[0])
    courses = [Course(instance, plan) for instance in instances]
    with open_store(folder) as files:
        files.take_up_all()
        for one in courses:
            _choice(one, files.folder).unlink(missing_ok=True)

        def emit(event: Event) -> None:
            if event.record is not None:
                files.take_up(event.record)
            progress(
                event, sum(_choice(one, files.folder).exists() for one in courses), len(courses)
            )

        if plan.strategy == "search":
            chosen, failures = search(instances, plan, files.folder, emit)
        else:
            for one in courses:
                course.work([one], files.folder, emit)
            chosen, failures = _gathered(courses, files.folder)
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


def _choice(one: Course, folder: Path) -> Path:
    return folder / RUNGS / slug(one.name) / CHOICE


def _gathered(courses: Sequence[Course], folder: Path) -> tuple[list[dict], list[Failure]]:
    chosen, failures = [], []
    for one in courses:
        choice = json.loads(_choice(one, folder).read_bytes())
        chosen += choice["results"]
        failures += [Failure(**failure) for failure in choice["failures"]]
    return chosen, failures
