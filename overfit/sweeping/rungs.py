"""Fits on their way from rung to rung, those of one architecture as a batch of one program.

Only one such batch is on the device; between rungs every fit waits on the disk, in the checkpoint
of its run. What is done is never done again: a line per fit and rung says what came of it.
"""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from overfit import evaluation
from overfit.engine import fit
from overfit.errors import UserError, sentence
from overfit.fitting.choice import chosen
from overfit.fitting.encode import file_of, fits_of, forget
from overfit.fitting.groups import (
    Fit,
    Group,
    Options,
    Request,
    architecture,
    fitted,
    run_group,
    start,
)
from overfit.fitting.memory import at_once, rounds
from overfit.fitting.run import Run
from overfit.io.atomic import atomic_write
from overfit.io.clip import Clip
from overfit.io.datasets import Instance
from overfit.io.patches import Size
from overfit.jobs.job import Event, Job, failure
from overfit.jobs.store import Store, intact, leave
from overfit.jobs.work import KEPT, store_file
from overfit.sweeping.space import OBJECTIVES, Sweep
from overfit.sweeping.strategies import Rung


class Plan(NamedTuple):
    """What is run on the signals; the names are those of the command line."""

    sweep: Sweep
    strategy: str  # of `strategies.STRATEGIES`, or "search"
    seed: int = 0
    crop: int | None = None  # px; the central part of each picture
    frames: int | None = None  # of each clip
    patch: Size | None = None  # of clips
    base: str = "none"  # what networks start from, where a setting's networks have one


class Candidate(NamedTuple):
    """One setting at one lambda, for one image or one patch of a clip."""

    job: Job
    setting: dict[str, Any]
    request: Request
    fit: Fit


class Field(NamedTuple):
    """Candidates that run against each other."""

    plan: Plan
    folder: Path
    candidates: dict[str, Candidate]  # by the keys of their jobs
    rungs: Store
    passed: dict[str, list[dict]]  # key -> its records of rungs, as far as it has come this time
    emit: Callable[[Event], None]


def enter(
    field: Field, job: Job, setting: dict[str, Any], signal: np.ndarray | Clip, waiting: str
) -> str:
    """Adds a candidate, and returns its key.

    signal: uint8 [H, W, C], or a patch of a clip; waiting: folder for checkpoints.
    """
    key = job.key()
    request = Request(signal, Options(**job.options, checkpoint=waiting))
    (one,) = chosen(fits_of(request))
    field.candidates[key] = Candidate(job, setting, request, one)
    field.passed[key] = []
    return key


def advance(field: Field, keys: Sequence[str], rung: Rung) -> dict[str, float]:
    """Brings candidates to a rung; {key: cost there}, inf for a fit that has failed."""
    keys = list(dict.fromkeys(keys))  # a search may try a setting twice
    batches: dict[Any, list[str]] = {}
    for key in keys:
        if not _is_done(field, key, rung):
            one = field.candidates[key].fit
            alike = one.signal.shape, architecture(one.config), one.base is None
            batches.setdefault(alike, []).append(key)
    for (shape, *_), batch in batches.items():
        for some in rounds(batch, at_once(math.prod(shape[1:]))):
            _run_batch(field, some, rung)
    costs = {}
    for key in keys:
        record = field.rungs.done[_rung_key(key, rung)]
        field.passed[key].append(record)
        costs[key] = math.inf if record["cost"] is None else record["cost"]
    return costs


def _rung_key(key: str, rung: Rung) -> str:
    return f"{key}@{'end' if rung.until is None else rung.until}"


def _is_done(field: Field, key: str, rung: Rung) -> bool:
    """A rung is done when its record is there, the last one when the file is as well."""
    done = field.rungs.done.get(_rung_key(key, rung))
    if done is None or done["file"] is None:
        return done is not None
    return intact(done["file"], field.folder)


def _run_batch(field: Field, keys: Sequence[str], rung: Rung) -> None:
    """Runs candidates of one architecture on to a rung, and records what they are there."""
    first = field.candidates[keys[0]].job
    goal = "to the end" if rung.until is None else f"to step {rung.until}"
    shown = first._replace(label=f"{first.label}, {len(keys)} fits {goal}")
    field.emit(Event(shown))
    fits = [field.candidates[key].fit for key in keys]
    group = Group(fits, lambda step: field.emit(Event(shown, step=step)))
    finished = run_group(group, *start(group), until=rung.until)
    if rung.until is not None:
        _compare(field, keys, rung, group, finished)
        return
    host = jax.tree.map(np.asarray, (finished.states, finished.tasks))
    finished = finished._replace(states=host[0], tasks=host[1])
    for i, key in enumerate(keys):
        _finish(field, key, rung, _only(finished, i))


def _only(finished: Run, i: int) -> Run:
    """A run of several instances as that of one of them, with its share of the time."""
    count = len(finished.states.step)
    return finished._replace(
        states=jax.tree.map(lambda array: array[i : i + 1], finished.states),
        tasks=jax.tree.map(lambda array: array[i : i + 1], finished.tasks),
        seconds=finished.seconds / count,
        seconds_compile=finished.seconds_compile / count,
    )


def _compare(field: Field, keys: Sequence[str], rung: Rung, group: Group, finished: Run) -> None:
    """Records the costs of fits at a rung, by their loss.

    The latents are rounded for it, as in the file: the loss of a step of stage 1 also has that
    step's noise in it, of an amount that the schedule changes. Where there is no base, the bits of
    the networks are missing in either and are estimated.
    """
    losses = fit.rounded_loss(finished.states, finished.tasks, group.codec.loss, group.architecture)
    networks = [array for name, array in finished.states.params.items() if name != "latents"]
    parameters = sum(array[0].size for array in jax.tree.leaves(networks))
    for i, key in enumerate(keys):
        lmbda = group.fits[i].options.lmbda
        rate = network_bits(parameters, group.pixels, lmbda) / group.pixels
        if group.fits[i].base is not None:
            rate = 0.0
        _record(field, key, rung, _only(finished, i), float(losses[i]) + lmbda * rate)


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


def _finish(field: Field, key: str, rung: Rung, run: Run) -> None:
    """Writes the file of a fit that is over, and records its cost."""
    job, setting, request, one = field.candidates[key]
    begin = time.perf_counter()
    try:
        encoded = file_of(request, [one], fitted(Group([one]), run))
    except UserError as error:  # it has diverged: the other settings are not worse for it
        _record(field, key, rung, run, math.inf, error=sentence(error))
        field.emit(Event(job, failure=failure(job, sentence(error))))
        return
    before = sum(record["seconds"] for record in field.passed[key])
    seconds = before + run.seconds + time.perf_counter() - begin
    known = {name: encoded.about[name] for name in KEPT} | {"seconds_encode": seconds}
    known["sweep_setting"] = setting
    record = store_file(job, request.signal, encoded.data, known, field.folder)
    leave(record, field.folder)
    cost = OBJECTIVES[field.plan.sweep.objective](record)
    _record(field, key, rung, run, cost, file=record)
    forget(request)
    field.emit(Event(job, record=record))


def _record(
    field: Field,
    key: str,
    rung: Rung,
    run: Run,
    cost: float,
    file: dict | None = None,
    error: str | None = None,
) -> None:
    job, setting, _, one = field.candidates[key]
    field.rungs.append(
        {
            "key": _rung_key(key, rung),
            "candidate": key,
            "name": job.name,
            "lmbda": one.options.lmbda,
            "sweep_setting": setting,
            "until": rung.until,
            "step": int(run.states.step[0]),
            "cost": cost,
            "seconds": run.seconds,
            "seconds_compile": run.seconds_compile,
            "file": file,
            "error": error,
        }
    )


def result(field: Field, winner: str, runs: Sequence[Sequence[dict]]) -> dict[str, Any]:
    """Puts the winner's file into best/; a line of the summary: what it is, what finding it took.

    runs: the records of the rungs of every candidate for that image and lambda.
    """
    end = field.passed[winner][-1]
    record = end["file"]
    data = (field.folder / record["file"]).read_bytes()
    return {
        "name": record["name"],
        "lmbda": record["setting"]["lmbda"],
        "sweep_setting": record["sweep_setting"],
        "cost": end["cost"],
        **{key: record[key] for key in ("bytes", "bpp", "psnr", "ms_ssim", "macs_per_pixel")},
        "file": keep_best(field, record["name"], record["setting"]["lmbda"], data),
        **taken(runs),
    }


def keep_best(field: Field, name: str, lmbda: float, data: bytes) -> str:
    """Writes a chosen file; its path in the folder."""
    path = f"best/lmbda={lmbda:g}/{name}.ovf"
    (field.folder / path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(field.folder / path) as file:
        file.write(data)
    return path


def taken(runs: Sequence[Sequence[dict]]) -> dict[str, Any]:
    """What finding a file took, from the records of the rungs of every candidate."""
    return {
        "settings": len({str(records[0]["sweep_setting"]) for records in runs}),
        "finished": sum(records[-1]["until"] is None for records in runs),
        "steps": sum(records[-1]["step"] for records in runs),
        "seconds": sum(record["seconds"] for records in runs for record in records),
        "seconds_compile": sum(r["seconds_compile"] for records in runs for r in records),
    }


def jobs_of(instance: Instance, plan: Plan, setting: dict[str, Any]) -> list[Job]:
    """The jobs of a setting on a signal, one per lambda; UserError for what no fit could have."""
    preset, changes = plan.sweep.changed(setting)
    return evaluation.jobs(
        [instance],
        evaluation.Plan(
            (preset,),
            plan.sweep.lmbdas,
            steps=plan.sweep.budget.steps,
            seed=plan.seed,
            set=changes,
            crop=plan.crop,
            base=plan.base,
            frames=plan.frames,
            patch=plan.patch,
        ),
    )
