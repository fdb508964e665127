"""Search for the settings that suit all images, by Optuna: one study per lambda.

A trial is a setting, fitted to every image; its value is their mean cost, of real files. At each
rung it tells Optuna where it is, and may be pruned. Trials that are asked for together run
together, those of one architecture in one program.

Source: Akiba et al., "Optuna: A next-generation hyperparameter optimization framework", KDD 2019;
the tree-structured Parzen estimator: Bergstra et al., NeurIPS 2011.
"""

import hashlib
import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from overfit.errors import UserError, sentence
from overfit.fitting.encode import forget
from overfit.io.clip import Clip
from overfit.io.datasets import Instance
from overfit.jobs.job import Event, Failure, failure
from overfit.jobs.records import load_signal
from overfit.jobs.store import open_store
from overfit.sweeping.rungs import Field, Plan, advance, enter, jobs_of, result
from overfit.sweeping.space import Budget, Range, Search, Sweep
from overfit.sweeping.strategies import Rung, stops

JOURNAL = "studies.log"  # Optuna's, where no other storage is asked for
SEARCH = "search"  # folder of the results of its rungs
ORIGIN = "origin"  # user attribute of a trial: who runs it


class Trial(NamedTuple):
    """A trial of Optuna's on its way through the rungs."""

    asked: Any  # optuna.trial.Trial
    keys: list[str]  # of its candidates, one per image


def search(
    instances: Sequence[Instance], plan: Plan, folder: Path, emit: Callable[[Event], None]
) -> tuple[list[dict[str, Any]], list[Failure]]:
    """Runs the trials that are missing; a line of the summary per image and lambda, and failures.

    An image that cannot be read is left out. The lines are those of the best trial.

    Raises:
      UserError: Optuna is not installed, its storage cannot be used, or no image can be read.
    """
    signals, failures = _signals(instances, plan)
    for one in failures:
        emit(Event(_named(instances, plan, one.name), failure=one))
    if not signals:
        raise UserError(f"there is no image to search with: {failures[0].error}")
    chosen = []
    with open_store(folder / SEARCH) as rungs:
        for lmbda in plan.sweep.lmbdas:
            one = plan._replace(sweep=plan.sweep.replaced(None, [lmbda]))
            chosen += _study(Field(one, folder, {}, rungs, {}, emit), signals, failures)
    return chosen, failures


def _signals(
    instances: Sequence[Instance], plan: Plan
) -> tuple[dict[Instance, np.ndarray], list[Failure]]:
    signals, failures = {}, []
    for instance in instances:
        try:
            signals[instance] = load_signal(instance, plan.crop)
            if isinstance(signals[instance], Clip):
                raise UserError("a search takes images only; give clips to --strategy halving")
        except Exception as error:
            signals.pop(instance, None)
            failures.append(Failure(instance.name, plan.sweep.name, {}, sentence(error)))
    return signals, failures


def _named(instances: Sequence[Instance], plan: Plan, name: str):
    (instance,) = (instance for instance in instances if instance.name == name)
    return jobs_of(instance, plan, dict(plan.sweep.set))[0]._replace(label=plan.sweep.name)


# -- A study ---------------------------------------------------------------------------------------


def _study(
    field: Field, signals: Mapping[Instance, np.ndarray], failures: list[Failure]
) -> list[dict[str, Any]]:
    """Runs a study up to its number of trials, and chooses the files of its best one."""
    plan, options = field.plan, field.plan.sweep.search
    assert options is not None
    study = _load(plan, list(signals), field.folder)
    from optuna.trial import TrialState

    origin = f"{platform.node()}:{field.folder.resolve()}"
    _repeat_interrupted(study, origin)
    while (missing := options.trials - _count(study)) > 0:
        trials = []
        for _ in range(min(options.at_once, missing)):
            asked = study.ask()
            asked.set_user_attr(ORIGIN, origin)
            setting = suggested(asked, plan.sweep)
            keys = _enter(field, signals, setting)
            if _within_limits(field, keys, asked, options):
                trials.append(Trial(asked, keys))
            else:
                study.tell(asked, state=TrialState.PRUNED)
        _run(field, study, trials, failures)
    if not study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]):
        reason = "no trial has come to its end: widen the axes or the limits"
        failures.append(Failure("", study.study_name, {}, reason))
        return []
    keys = _enter(field, signals, suggested(study.best_trial, plan.sweep))
    for rung in _ladder(plan.sweep.budget):  # another machine may have found it: then it is fitted
        advance(field, keys, rung)
    return [result(field, key, _runs(field, key)) for key in keys]


def _load(plan: Plan, instances: list[Instance], folder: Path):
    """The study of a sweep at its one lambda: made, or joined."""
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise UserError(
            "a search needs Optuna; install it with: pip install 'overfit[sweeps]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sweep, options = plan.sweep, plan.sweep.search
    assert options is not None
    # What values depend on: trials of another space or of other images do not compare.
    parts = [job.key() for i in instances for job in jobs_of(i, plan, dict(sweep.set))]
    parts += [sweep.objective, repr(sweep.axes), repr(sweep.budget)]
    digest = hashlib.blake2b("".join(parts).encode(), digest_size=4).hexdigest()
    storage = options.storage or JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    try:
        study = optuna.create_study(
            storage=storage,
            study_name=f"{sweep.name} lambda={sweep.lmbdas[0]:g} {digest}",
            pruner=_pruner(options, sweep.budget),
            load_if_exists=True,
        )
    except Exception as error:  # of the database's driver, which Optuna does not wrap
        raise UserError(f"the storage '{options.storage}' cannot be used: {error}") from error
    # A run that goes on must not draw again what it has drawn, nor several machines the same.
    seed = plan.seed + len(study.trials) if options.storage is None else None
    samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    study.sampler = samplers[options.sampler](seed=seed)
    return study


def _pruner(options: Search, budget: Budget):
    from optuna import pruners

    if options.pruner == "median":
        return pruners.MedianPruner(n_startup_trials=options.at_once)
    if options.pruner == "halving" and budget.rungs:
        return pruners.SuccessiveHalvingPruner(
            min_resource=stops(budget)[0], reduction_factor=max(2, round(1 / budget.keep))
        )
    return pruners.NopPruner()


def _repeat_interrupted(study, origin: str) -> None:
    """Asks again for what was running here when it was killed; it goes on from its checkpoints."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        if trial.user_attrs.get(ORIGIN) == origin:
            study.enqueue_trial(trial.params)
            study.tell(trial.number, state=TrialState.FAIL)


def _count(study) -> int:
    """Trials that have ended or are running somewhere; those that were repeated have failed."""
    from optuna.trial import TrialState

    counted = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    return len(study.get_trials(deepcopy=False, states=counted))


def suggested(trial, sweep: Sweep) -> dict[str, Any]:
    """{path: value} of a trial, or of one that has ended: Optuna takes lists as their JSON only."""
    chosen: dict[str, Any] = {}
    for axis in sweep.axes:
        if not axis.exists(chosen):
            continue
        choices = axis.choices
        if not isinstance(choices, Range):
            value = json.loads(
                trial.suggest_categorical(axis.path, [json.dumps(choice) for choice in choices])
            )
        elif isinstance(choices.low, int) and isinstance(choices.high, int):
            step = int(choices.step or 1)
            value = trial.suggest_int(
                axis.path, choices.low, choices.high, log=choices.log, step=step
            )
        else:
            value = trial.suggest_float(
                axis.path, choices.low, choices.high, log=choices.log, step=choices.step
            )
        chosen |= axis.assign(value)
    return dict(sweep.set) | chosen


def _enter(
    field: Field, signals: Mapping[Instance, np.ndarray], setting: dict[str, Any]
) -> list[str]:
    """The candidates of a setting, one per image."""
    waiting = str(field.folder / "checkpoints" / SEARCH)
    return [
        enter(field, job, setting, signal, waiting)
        for instance, signal in signals.items()
        for job in jobs_of(instance, field.plan, setting)
    ]


def _within_limits(field: Field, keys: list[str], asked, options: Search) -> bool:
    """Whether a setting keeps the limits; known before it is fitted, and told to the sampler."""
    within = True
    if "macs_per_pixel" in options.limits:
        fits = [field.candidates[key].fit for key in keys]
        macs = max(sum(one.codec.macs(one.signal.shape, one.config).values()) for one in fits)
        excess = macs - options.limits["macs_per_pixel"]
        asked.set_constraint("macs_per_pixel", excess)
        within = excess <= 0
    return within


# -- Trials ----------------------------------------------------------------------------------------


def _ladder(budget: Budget) -> list[Rung]:
    """Every trial is looked at on each rung; which go on is the pruner's choice."""
    return [*(Rung(until, 1) for until in stops(budget)), Rung(None, 1)]


def _run(field: Field, study, trials: list[Trial], failures: list[Failure]) -> None:
    """Takes trials from rung to rung, together, until each has a value or is pruned."""
    from optuna.trial import TrialState

    for rung in _ladder(field.plan.sweep.budget):
        costs = advance(field, [key for trial in trials for key in trial.keys], rung)
        values = [float(np.mean([costs[key] for key in trial.keys])) for trial in trials]
        for trial, value in zip(trials, values, strict=True):  # all, before any of them is judged
            if rung.until is not None and math.isfinite(value):
                trial.asked.report(value, rung.until)
        left = []
        for trial, value in zip(trials, values, strict=True):
            if not math.isfinite(value):
                failures += _reasons(field, trial)
            elif rung.until is None:
                study.tell(trial.asked, value)
                continue
            elif not trial.asked.should_prune():
                left.append(trial)
                continue
            study.tell(trial.asked, state=TrialState.PRUNED)
            for key in trial.keys:
                forget(field.candidates[key].request)
        trials = left


def _reasons(field: Field, trial: Trial) -> list[Failure]:
    records = {key: field.passed[key][-1] for key in trial.keys}
    jobs = {key: field.candidates[key].job for key in trial.keys}
    return [failure(jobs[key], r["error"]) for key, r in records.items() if r["error"] is not None]


def _runs(field: Field, winner: str) -> list[list[dict]]:
    """The rungs of all candidates for the winner's image and lambda, in this folder."""
    end = field.passed[winner][-1]
    runs: dict[str, list[dict]] = {}
    for record in field.rungs.done.values():
        if (record["name"], record["lmbda"]) == (end["name"], end["lmbda"]):
            runs.setdefault(record["candidate"], []).append(record)
    return list(runs.values())
