"""Which settings run for how long: all to the end, or fewer and fewer of them.

A strategy is a list of rungs. At each, the settings that are left run on, up to its step, and the
best go on to the next. The last rung ends at a file, whose cost decides.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from overfit.sweeping.space import Budget

Contest = TypeVar("Contest", bound=Hashable)
Candidate = TypeVar("Candidate", bound=Hashable)


class Rung(NamedTuple):
    """Where fits stop to be compared."""

    until: int | None  # step of the schedule; None at its end
    keep: int  # settings that go on; 1 at the end: the choice


def stops(budget: Budget) -> list[int]:
    """The steps of the rungs before the end."""
    return [max(1, int(fraction * budget.steps)) for fraction in budget.rungs]


def grid(budget: Budget, count: int) -> list[Rung]:
    """All settings run to the end."""
    del budget, count
    return [Rung(None, 1)]


def halving(budget: Budget, count: int) -> list[Rung]:
    """Successive halving (Jamieson and Talwalkar, 2016): a fraction goes on at each rung.

    A setting goes on from where it is, on the schedule of the full number of steps. All settings
    pay for the first rung, so it is early.
    """
    rungs = []
    for until in stops(budget):
        count = max(1, math.ceil(budget.keep * count))
        rungs.append(Rung(until, count))
    return [*rungs, Rung(None, 1)]


STRATEGIES: dict[str, Callable[[Budget, int], list[Rung]]] = {"grid": grid, "halving": halving}


def race(
    contests: Mapping[Contest, Sequence[Candidate]],
    rungs: Sequence[Rung],
    advance: Callable[[list[Candidate], Rung], Mapping[Candidate, float]],
) -> dict[Contest, list[Candidate]]:
    """Takes the candidates of each contest from rung to rung; what the last leaves, best first.

    advance: brings candidates of all contests to a rung together and returns their costs. Of equal
    costs the first candidate's counts as less.
    """
    left = {contest: list(candidates) for contest, candidates in contests.items()}
    for rung in rungs:
        costs = advance([one for candidates in left.values() for one in candidates], rung)
        left = {
            contest: sorted(candidates, key=costs.__getitem__)[: rung.keep]
            for contest, candidates in left.items()
        }
    return left
