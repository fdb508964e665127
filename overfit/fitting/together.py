"""Runs any number of fits, those that are alike in one program."""

from collections.abc import Callable, Sequence

from overfit.fitting.groups import (
    Fit,
    Fitted,
    Group,
    architecture,
    fitted,
    run_group,
    signal_shape,
    start,
)
from overfit.fitting.memory import at_once
from overfit.fitting.run import Progress


def fit_together(fits: Sequence[Fit], progress: Callable[[Progress], None] | None) -> list[Fitted]:
    """Runs all fits, in as many rounds as shapes, architectures and memory ask for."""
    alike: dict[tuple, list[int]] = {}
    for i, one in enumerate(fits):
        key = (
            signal_shape(one.signal),
            one.options.method,
            architecture(one.config),
            one.base is None,
        )
        alike.setdefault(key, []).append(i)
    rounds = []
    for members in alike.values():
        size = at_once(fits[members[0]].pixels)
        rounds += [members[first : first + size] for first in range(0, len(members), size)]
    results: dict[int, Fitted] = {}
    for number, members in enumerate(rounds, 1):
        tell = progress and numbered(progress, number, len(rounds))
        group = Group([fits[i] for i in members], tell)
        finished = run_group(group, *start(group))
        results |= dict(zip(members, fitted(group, finished), strict=True))
    return [results[i] for i in range(len(fits))]


def numbered(
    progress: Callable[[Progress], None], number: int, count: int
) -> Callable[[Progress], None]:
    """The same display, told which round of how many it is."""
    return lambda step: progress(step._replace(round=number, rounds=count))
