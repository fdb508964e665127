"""Search for the lambda that gives a file of a wanted size or quality.

All patches of a clip have that lambda; their states wait in memory while the file is measured.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from overfit.engine import fit
from overfit.errors import UserError
from overfit.fitting.files import Encoded
from overfit.fitting.groups import Group, Options, Target, run_group
from overfit.fitting.run import Run

_REWIND = 0.75  # a small correction takes the last quarter of stage 1 again, a large one more
_ROUNDS = 6  # corrections at most
_BISECTIONS = 9
_TOLERANCE = {"bpp": 0.01, "psnr": 0.05}  # relative, and in dB


def checked_target(bpp: float | None, psnr: float | None) -> Target | None:
    """The target, None for none; UserError for both at once, or one that cannot be aimed at."""
    if bpp is None and psnr is None:
        return None
    if bpp is not None and psnr is not None:
        raise UserError("give one of --target-bpp and --target-psnr")
    if bpp is not None and not 0 < bpp <= 24:
        raise UserError(f"--target-bpp must be in (0, 24], not {bpp}")
    if psnr is not None and not 5 <= psnr <= 70:
        raise UserError(f"--target-psnr must be in 5..70 dB, not {psnr}")
    return Target(bpp, psnr)


def search_lambda(
    groups: Sequence[Group], finished: list[Run], write: Callable[[list[Run]], Encoded]
) -> Encoded:
    """Corrects lambda until the file meets the target, each time from the fits so far.

    groups, finished: all fits behind the file, and their first runs; write: makes the file of runs.

    Rate and distortion are close to power laws of lambda: the first steps take the slopes that C3's
    published curves have, until the goal is bracketed.
    """
    target, result = groups[0].fits[0].options.target, write(finished)
    assert target is not None
    kind = "bpp" if target.bpp is not None else "psnr"
    goal = target.bpp if target.bpp is not None else target.psnr
    assert goal is not None

    def measure(about) -> float:
        if kind == "bpp":
            return np.log(about["bpp"])
        return about["psnr"] if about["psnr"] is not None else about["psnr_yuv"]

    wanted = np.log(goal) if kind == "bpp" else goal
    tolerance = _TOLERANCE[kind]
    slope = -0.5 if kind == "bpp" else -2.6  # per unit of log lambda
    best, history = (finished, result), [(np.log(result.about["lmbda"]), measure(result.about))]
    for round_number in range(_ROUNDS):
        at, value = history[-1]
        if abs(value - wanted) <= tolerance:
            break
        above = [point for point in history if point[1] > wanted]
        below = [point for point in history if point[1] <= wanted]
        if above and below:
            # Between the nearest on either side, which is safe where a small file is not smooth.
            (x0, y0), (x1, y1) = min(above, key=lambda p: p[1]), max(below, key=lambda p: p[1])
            log_lmbda = x0 + (x1 - x0) * float(np.clip((wanted - y0) / (y1 - y0), 0.2, 0.8))
        else:
            log_lmbda = at + (wanted - value) / slope
        log_lmbda = float(np.clip(log_lmbda, at - 1.5, at + 1.5))
        log_lmbda = float(np.clip(log_lmbda, np.log(1e-6), np.log(10.0)))
        step = log_lmbda - float(np.log(best[1].about["lmbda"]))
        fraction = max(0.2, _REWIND - 0.35 * abs(step))
        # From the closest fits so far: one that lambda has emptied of latents would stay empty.
        finished = [
            _again(*parts, float(np.exp(log_lmbda)), fraction, f"search{round_number}")
            for parts in zip(groups, best[0], finished, strict=True)
        ]
        result = write(finished)
        history.append((log_lmbda, measure(result.about)))
        if abs(history[-1][1] - wanted) < abs(measure(best[1].about) - wanted):
            best = finished, result
    return best[1]


def _again(group: Group, best: Run, last: Run, lmbda: float, fraction: float, phase: str) -> Run:
    """Runs a group under another lambda from where the best run got; its times are added up."""
    lmbdas = jnp.full((len(group.fits),), lmbda, jnp.float32)
    tasks = last.tasks._replace(lmbda=lmbdas)
    # A copy, because the program takes over the buffers of its states.
    states = fit.rewind(jax.tree.map(jnp.copy, best.states), tasks, fraction)
    again = run_group(group, states, tasks, phase)
    return again._replace(
        seconds=last.seconds + again.seconds,
        seconds_compile=last.seconds_compile + again.seconds_compile,
        steps=last.steps + again.steps,
    )


def search_rate(code: Callable[[float], Encoded], options: Options) -> Encoded:
    """Bisects lambda where coding takes no fit; code(lmbda) -> the file. Ends where lambda's do."""
    target = options.target
    assert target is not None
    goal = target.bpp if target.bpp is not None else target.psnr
    kind = "bpp" if target.bpp is not None else "psnr"
    assert goal is not None
    low, high = np.log(1e-5), np.log(1e-1)
    tried = []
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        encoded = code(float(np.exp(middle)))
        value = encoded.about[kind]
        tried.append((abs(value - goal), encoded))
        # Files and quality fall with lambda.
        low, high = (middle, high) if value > goal else (low, middle)
    return min(tried, key=lambda one: one[0])[1]
