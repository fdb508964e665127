"""Runs a sweep: the settings of each image from rung to rung, and the best file of each lambda.

Images follow each other. Within one, the fits of all lambdas and settings that have the same
architecture are a batch of one compiled program; only one such batch is on the device, and between
rungs every fit waits on the disk. What is done is never done again: rungs/ has a line per fit and
rung, results.jsonl one per file.
"""

import functools
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from overfit import evaluation
from overfit.engine import fit
from overfit.errors import UserError, sentence
from overfit.fitting import checkpoint
from overfit.fitting.groups import (
    Fit,
    Group,
    Options,
    Request,
    architecture,
    checked,
    run_group,
    saved,
    start,
    write_files,
)
from overfit.fitting.run import Run
from overfit.io.atomic import atomic_write
from overfit.io.clips import Clip
from overfit.io.datasets import Instance
from overfit.io.json_file import write_json
from overfit.jobs.job import Event, Failure, Job, failure
from overfit.jobs.records import load_signal, slug
from overfit.jobs.store import Store, open_store
from overfit.jobs.work import KEPT, store_file
from overfit.sweeping.space import OBJECTIVES, Sweep
from overfit.sweeping.strategies import STRATEGIES, Rung, race

RUNGS = "rungs"  # folder of the results of rungs


class Plan(NamedTuple):
    """What is run on every image; the names are those of the command line."""

    sweep: Sweep
    strategy: str = "halving"
    seed: int = 0
    crop: int | None = None  # px; the central part of each image


class Candidate(NamedTuple):
    """One setting at one lambda, for one image."""

    job: Job
    setting: dict[str, Any]
    fit: Fit


class Course(NamedTuple):
    """An image on its way through the rungs."""

    plan: Plan
    signal: np.ndarray  # uint8 [H, W, C]
    candidates: dict[str, Candidate]  # by the keys of their jobs
    results: Store
    rungs: Store
    passed: dict[str, list[dict]]  # key -> its records of rungs, in this race
    progress: Callable  # takes what changes in the image's event


def sweep(
    instances: Sequence[Instance],
    plan: Plan,
    folder: str | os.PathLike[str],
    progress: Callable[[Event, int, int], None] = lambda event, ended, count: None,
) -> tuple[dict[str, Any], list[Failure]]:
    """Chooses a setting per image and lambda; the summary, and what failed.

    The summary is in FOLDER/summary.json as well, from the first image on.

    Raises:
      UserError: a folder that cannot be used, or options that no fit could have.
    """
    summary: dict[str, Any] = {
        "sweep": plan.sweep.name,
        "preset": plan.sweep.preset,
        "strategy": plan.strategy,
        "objective": plan.sweep.objective,
        "steps": plan.sweep.budget.steps,
        "seed": plan.seed,
        "results": [],
        "failures": [],
    }
    failures = []
    _jobs(instances[0], plan)  # refuses options that no fit could have before anything is written
    with open_store(folder) as files, open_store(Path(folder) / RUNGS) as rungs:
        for number, instance in enumerate(instances, 1):
            job, _ = _jobs(instance, plan)[0]
            tell = functools.partial(_tell, progress, Event(job), number, len(instances))
            try:
                chosen, failed = _image(instance, plan, files, rungs, tell)
            except Exception as error:  # a damaged input must not cost the others their results
                chosen, failed = [], [Failure(job.name, plan.sweep.name, {}, sentence(error))]
                tell(failure=failed[0])
            summary["results"] += chosen
            failures += failed
            summary["failures"] = [failure._asdict() for failure in failures]
            write_json(Path(folder) / "summary.json", summary)
    return summary, failures


def _tell(progress: Callable, event: Event, number: int, count: int, **more) -> None:
    progress(event._replace(**more), number, count)


def _jobs(instance: Instance, plan: Plan) -> list[tuple[Job, dict[str, Any]]]:
    """(job, setting) of every candidate of an image."""
    sweep = plan.sweep
    return [
        (job, setting)
        for setting in sweep.settings()
        for job in evaluation.jobs(
            [instance],
            evaluation.Plan(
                (sweep.preset,),
                sweep.lmbdas,
                steps=sweep.budget.steps,
                seed=plan.seed,
                set=setting,
                crop=plan.crop,
            ),
        )
    ]


# -- One image -------------------------------------------------------------------------------------


def _image(
    instance: Instance, plan: Plan, files: Store, rungs: Store, progress: Callable
) -> tuple[list[dict[str, Any]], list[Failure]]:
    """What is chosen for an image, a line of the summary per lambda, and what failed."""
    signal = load_signal(instance, plan.crop)
    if isinstance(signal, Clip):
        raise UserError("a sweep cannot take clips yet")
    waiting = files.folder / "checkpoints" / slug(instance.name)
    candidates = {}
    for job, setting in _jobs(instance, plan):
        options = Options(**job.options, checkpoint=str(waiting))
        candidates[job.key()] = Candidate(job, setting, checked(Request(signal, options)))
    contests: dict[float, list[str]] = {}
    for key, candidate in candidates.items():
        contests.setdefault(candidate.job.setting["lmbda"], []).append(key)

    course = Course(
        plan, signal, candidates, files, rungs, {key: [] for key in candidates}, progress
    )
    ladder = STRATEGIES[plan.strategy](plan.sweep.budget, len(plan.sweep.settings()))
    winners = race(contests, ladder, functools.partial(_advance, course))
    shutil.rmtree(waiting, ignore_errors=True)
    errors = {key: passed[-1]["error"] for key, passed in course.passed.items()}
    failures = [
        Failure(job.name, job.label, job.setting, errors[key])
        for key, (job, _, _) in candidates.items()
        if errors[key] is not None
    ]
    chosen = [
        _choice(course, contests[lmbda], winner)
        for lmbda, (winner,) in winners.items()
        if errors[winner] is None
    ]
    return chosen, failures


def _choice(course: Course, keys: list[str], winner: str) -> dict[str, Any]:
    """Puts the winner's file into best/ and says what it is and what finding it took."""
    record, folder = course.results.done[winner], course.results.folder
    lmbda = record["setting"]["lmbda"]
    path = f"best/lmbda={lmbda:g}/{record['name']}.ovf"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / path) as file:
        file.write((folder / record["file"]).read_bytes())
    passed = [course.passed[key] for key in keys]
    return {
        "name": record["name"],
        "lmbda": lmbda,
        "sweep_setting": record["sweep_setting"],
        "cost": course.passed[winner][-1]["cost"],
        **{key: record[key] for key in ("bytes", "bpp", "psnr", "ms_ssim", "macs_per_pixel")},
        "file": path,
        "settings": len(keys),
        "finished": sum(records[-1]["until"] is None for records in passed),
        "steps": sum(records[-1]["step"] for records in passed),
        "seconds": sum(record["seconds"] for records in passed for record in records),
        "seconds_compile": sum(r["seconds_compile"] for records in passed for r in records),
    }


# -- One rung --------------------------------------------------------------------------------------


def _advance(course: Course, keys: list[str], rung: Rung) -> dict[str, float]:
    """Brings candidates to a rung, those of one architecture together; {key: cost there}."""
    batches: dict[Any, list[str]] = {}
    for key in keys:
        if not _is_done(course, key, rung):
            shape = architecture(course.candidates[key].fit.config)
            batches.setdefault(shape, []).append(key)
    for batch in batches.values():
        _run_batch(course, batch, rung)
    costs = {}
    for key in keys:
        record = course.rungs.done[_rung_key(key, rung)]
        course.passed[key].append(record)
        costs[key] = math.inf if record["cost"] is None else record["cost"]
    return costs


def _rung_key(key: str, rung: Rung) -> str:
    return f"{key}@{'end' if rung.until is None else rung.until}"


def _is_done(course: Course, key: str, rung: Rung) -> bool:
    """A rung is done when its record is there, the last one when the file is as well."""
    record = course.rungs.done.get(_rung_key(key, rung))
    if record is None or rung.until is not None or record["error"] is not None:
        return record is not None
    done = course.results.done.get(key)
    return done is not None and (course.results.folder / done["file"]).exists()


def _run_batch(course: Course, keys: list[str], rung: Rung) -> None:
    """Runs candidates of one architecture on to a rung, and records what they are there."""
    first = course.candidates[keys[0]].job
    goal = "to the end" if rung.until is None else f"to step {rung.until}"
    shown = first._replace(label=f"{first.label}, {len(keys)} fits {goal}")
    course.progress(job=shown)
    fits = [course.candidates[key].fit for key in keys]
    group = Group(fits, lambda step: course.progress(job=shown, step=step))
    states, tasks = start(group)
    phase = _rung_key("rung", rung)
    finished = run_group(group, _restored(group, keys, states), tasks, phase, rung.until)
    host = jax.tree.map(np.asarray, (finished.states, finished.tasks))
    finished = finished._replace(states=host[0], tasks=host[1])
    if rung.until is None:
        for i, key in enumerate(keys):
            _finish(course, key, rung, _only(finished, i))
    else:
        _pause(course, keys, rung, group, finished)
    interrupted = saved(group, phase)
    assert interrupted is not None  # every fit of a sweep has a folder for checkpoints
    interrupted.unlink(missing_ok=True)


def _waiting(one: Fit, key: str) -> Path:
    """Where the state of a fit waits between rungs."""
    return Path(str(one.options.checkpoint)) / f"{key}.ckpt"


def _restored(group: Group, keys: list[str], states: fit.FitState) -> fit.FitState:
    """States where the fits were at their latest rung; `states`, of step 0, for those without."""
    host = jax.tree.map(np.asarray, states)
    parts = []
    for i, (one, key) in enumerate(zip(group.fits, keys, strict=True)):
        part = jax.tree.map(lambda array, i=i: array[i], host)
        parts.append(checkpoint.restore(_waiting(one, key), part) or part)
    return jax.tree.map(lambda *arrays: np.stack(arrays), *parts)


def _only(finished: Run, i: int) -> Run:
    """A run of several instances as that of one of them, with its share of the time."""
    count = len(finished.states.step)
    return finished._replace(
        states=jax.tree.map(lambda array: array[i : i + 1], finished.states),
        tasks=jax.tree.map(lambda array: array[i : i + 1], finished.tasks),
        seconds=finished.seconds / count,
        seconds_compile=finished.seconds_compile / count,
    )


def _pause(course: Course, keys: list[str], rung: Rung, group: Group, finished: Run) -> None:
    """Records the costs of fits at a rung, by their loss, and puts their states on the disk.

    The latents are rounded for it, as in the file: the loss of a step of stage 1 also has that
    step's noise in it, of an amount that the schedule changes. The bits of the networks are missing
    in either and are estimated.
    """
    losses = fit.rounded_loss(finished.states, finished.tasks, group.codec.loss, group.architecture)
    for i, key in enumerate(keys):
        one, run = group.fits[i], _only(finished, i)
        state = jax.tree.map(lambda array: array[0], run.states)
        networks = [state.params[name] for name in state.params if name != "latents"]
        parameters = sum(array.size for array in jax.tree.leaves(networks))
        lmbda = one.options.lmbda
        rate = network_bits(parameters, group.pixels, lmbda) / group.pixels
        checkpoint.save(_waiting(one, key), state)
        _record(course, key, rung, run, float(losses[i]) + lmbda * rate)


def network_bits(parameters: int, pixels: int, lmbda: float) -> float:
    """About what a file spends on its networks, which the loss of a fit leaves out.

    A parameter's error grows with the square of its quantization step and is weighed against bits
    at lmbda / pixels each, so the best step shrinks with the root of that: half a bit per
    parameter for every doubling of pixels / lmbda. The constant is that of c3-kodak's files after
    2000 steps, of 128x128 to 768x512 pixels, where this is within a bit per parameter
    (experiments/results/c3_ablation.json and c3_parity.json have some). Settings differ by a
    thousand parameters: on a small image their bits differ more than their losses.
    """
    return parameters * max(1.0, 0.5 * math.log2(pixels / lmbda) - 7)


def _finish(course: Course, key: str, rung: Rung, run: Run) -> None:
    """Writes the file of a fit that is over, and records its cost."""
    job, setting, one = course.candidates[key]
    begin = time.perf_counter()
    try:
        (encoded,) = write_files(Group([one]), run)
    except UserError as error:  # it has diverged: the other settings are not worse for it
        _record(course, key, rung, run, math.inf, sentence(error))
        course.progress(job=job, failure=failure(job, sentence(error)))
        return
    before = sum(record["seconds"] for record in course.passed[key])
    seconds = before + run.seconds + time.perf_counter() - begin
    known = {name: encoded.about[name] for name in KEPT} | {"seconds_encode": seconds}
    record = store_file(job, course.signal, encoded.data, known, course.results.folder)
    course.results.append(record | {"sweep_setting": setting})
    _record(course, key, rung, run, OBJECTIVES[course.plan.sweep.objective](record))
    course.progress(job=job, record=record)


def _record(
    course: Course, key: str, rung: Rung, run: Run, cost: float, error: str | None = None
) -> None:
    job, setting, one = course.candidates[key]
    course.rungs.append(
        {
            "key": _rung_key(key, rung),
            "name": job.name,
            "lmbda": one.options.lmbda,
            "sweep_setting": setting,
            "until": rung.until,
            "step": int(run.states.step[0]),
            "cost": cost,
            "seconds": run.seconds,
            "seconds_compile": run.seconds_compile,
            "error": error,
        }
    )
