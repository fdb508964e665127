"""Which settings go on, and what that costs, with losses from a table instead of fits."""

import math

import pytest

from overfit.sweeping.space import Budget
from overfit.sweeping.strategies import Rung, grid, halving, race

BUDGET = Budget(steps=1000)
TOTAL = 1100  # of a whole fit


class Fits:
    """Fits whose cost is `costs[name]` at the end and `early[name]` before."""

    def __init__(self, costs, early=None):
        self.costs, self.early = costs, early or costs
        self.steps = dict.fromkeys(costs, 0)
        self.seen = []

    def advance(self, names, rung):
        self.seen.append((rung.until, list(names)))
        for name in names:
            until = TOTAL if rung.until is None else rung.until
            assert self.steps[name] < until, "a fit goes on from where it is"
            self.steps[name] = until
        source = self.costs if rung.until is None else self.early
        return {name: source[name] for name in names}


def test_the_best_go_on_and_the_last_rung_decides():
    """By its own costs: the fit that led before is second in the end."""
    costs = {name: 10 - i for i, name in enumerate("abcdefghijkl")}  # l costs least
    fits = Fits(costs | {"l": 3.5}, early=costs)
    assert race({0: list(costs)}, halving(BUDGET, 12), fits.advance) == {0: ["k"]}
    assert fits.seen == [(100, list("abcdefghijkl")), (300, list("lkji")), (None, list("lk"))]


def test_contests_are_apart_but_run_together():
    fits = Fits({("x", i): i for i in range(6)} | {("y", i): -i for i in range(6)})
    contests = {c: [(c, i) for i in range(6)] for c in "xy"}
    winners = race(contests, halving(BUDGET, 6), fits.advance)
    assert winners == {"x": [("x", 0)], "y": [("y", 5)]}
    assert [len(names) for _, names in fits.seen] == [12, 4, 2]


def test_a_fit_that_has_diverged_is_the_first_to_go_and_ties_keep_their_order():
    fits = Fits({"a": math.inf, "b": 1.0, "c": 1.0})
    assert race({0: list("abc")}, [Rung(5, 2), Rung(None, 1)], fits.advance) == {0: ["b"]}
    assert fits.seen[1] == (None, ["b", "c"])


@pytest.mark.parametrize("count", [6, 9, 12])
def test_halving_takes_at_most_a_third_of_the_steps_of_the_grid(count):
    names = range(count)
    steps = {}
    for strategy in (grid, halving):
        fits = Fits({name: (7 * name) % count for name in names})
        assert race({0: names}, strategy(BUDGET, count), fits.advance) == {0: [0]}
        steps[strategy] = sum(fits.steps.values())
    assert steps[grid] == count * TOTAL
    assert steps[halving] <= steps[grid] / 3


def test_one_setting_and_one_step_are_a_sweep():
    assert halving(Budget(steps=1), 1) == [Rung(1, 1), Rung(1, 1), Rung(None, 1)]
