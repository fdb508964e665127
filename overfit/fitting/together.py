"""Runs any number of fits, those that are alike in one program."""

import math
from collections.abc import Callable, Iterable, Sequence

from overfit.fitting.groups import (
    Ended,
    Fit,
    Fitted,
    Group,
    architecture,
    coded,
    ended,
    run_group,
    signal_shape,
    start,
)
from overfit.fitting.memory import at_once, rounds
from overfit.fitting.run import Progress, Run


def fit_together(fits: Sequence[Fit], progress: Callable[[Progress], None] | None) -> list[Fitted]:
    """Runs and codes all fits; those of no steps are coded as their base has it."""
    return [coded(result) for result in run_together(fits, progress)]


def run_together(fits: Sequence[Fit], progress: Callable[[Progress], None] | None) -> list[Ended]:
    """Runs all fits, round by round."""
    groups = rounds_of([one for one in fits if one.options.steps > 0], progress)
    # A generator: the state of one round only is kept at a time.
    done = iter(in_order(groups, (run_group(group, *start(group)) for _, group in groups)))
    return [
        next(done) if one.options.steps > 0 else
        Ended(one, None, one.options.lmbda, math.nan, 0.0, 0.0, 0)
        for one in fits
    ]  # fmt: skip


def rounds_of(
    fits: Sequence[Fit], progress: Callable[[Progress], None] | None
) -> list[tuple[Sequence[int], Group]]:
    """(which of the fits, they as a group), as shapes, architectures and memory ask for."""
    alike: dict[tuple, list[int]] = {}
    for i, one in enumerate(fits):
        key = (
            signal_shape(one.signal),
            one.options.method,
            architecture(one.config),
            one.base is None,
        )
        alike.setdefault(key, []).append(i)
    groups = [
        members
        for same in alike.values()
        for members in rounds(same, at_once(fits[same[0]].pixels))
    ]
    return [
        (
            members,
            Group([fits[i] for i in members], progress and numbered(progress, number, len(groups))),
        )
        for number, members in enumerate(groups, 1)
    ]


def in_order(groups: Sequence[tuple[Sequence[int], Group]], runs: Iterable[Run]) -> list[Ended]:
    """What came of the runs of the rounds, in the order of the fits."""
    results: dict[int, Ended] = {}
    for (members, group), run in zip(groups, runs, strict=True):
        results |= dict(zip(members, ended(group, run), strict=True))
    return [results[i] for i in range(len(results))]


def numbered(
    progress: Callable[[Progress], None], number: int, count: int
) -> Callable[[Progress], None]:
    """The same display, told which round of how many it is."""
    return lambda step: progress(step._replace(round=number, rounds=count))
