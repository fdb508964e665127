"""Which of several bases an image starts from: each is tried in a short fit, the best is taken."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from overfit.fitting.groups import Fit, Group, run_group, start, started
from overfit.fitting.run import Progress

TRIAL_STEPS = 150  # of stage 1; enough that the order of the bases stays, see docs/bases.md


def chosen(fits: Sequence[Fit], progress: Callable[[Progress], None] | None = None) -> list[Fit]:
    """Each fit with one base at most: what it is without any choice, so that its file is the same.

    The trials of an image are a batch of one program, and compared by the loss at their end, which
    has the rate of the networks in it.

    Raises:
      UserError: a base that is not for these networks.
    """
    return [_best(one, progress) if len(one.candidates) > 1 else one for one in fits]


def _best(one: Fit, progress: Callable[[Progress], None] | None) -> Fit:
    short = one.options._replace(steps=min(TRIAL_STEPS, one.options.steps), checkpoint=None)
    rivals = [started(one, entry) for entry in one.candidates]
    group = Group([rival._replace(options=short) for rival in rivals], progress)
    finished = run_group(group, *start(group))
    losses = np.asarray(finished.states.best_loss)
    losses = np.where(np.isfinite(losses), losses, math.inf)
    return rivals[int(np.argmin(losses))]
