"""From signals to .ovf bytes: fits them, writes files and decodes these again."""

from collections.abc import Callable, Sequence

from overfit.fitting.clips import clip_file, patch_fits
from overfit.fitting.files import Encoded, image_file, write_files
from overfit.fitting.groups import (
    Fit,
    Fitted,
    Group,
    Request,
    architecture,
    checked,
    fitted,
    run_group,
    saved,
    start,
    unfitted,
)
from overfit.fitting.memory import at_once
from overfit.fitting.run import Progress
from overfit.fitting.target import search_lambda, search_rate
from overfit.io.clips import Clip


def encode(
    requests: Sequence[Request], progress: Callable[[Progress], None] | None = None
) -> list[Encoded]:
    """Encodes images and clips; fits of equal shape and architecture share a compiled program.

    Each gets what it would get alone, whatever its lambda, schedule or seed: on one device to the
    byte, on several as good, where sums may be taken in another order. As many are fitted at a time
    as `memory.at_once` says. progress is called about once a second. Checkpoints stay, until the
    files are safe and `forget` is called.

    Raises:
      UserError: bad signals or options.
    """
    fits = [_fits(request) for request in requests]
    together = [one for several in fits for one in several if one.options.target is None]
    results = iter(_fit(together, progress))
    return [
        _file(request, several, [next(results) for _ in several])
        if request.options.target is None
        else _searched(several[0], progress)
        for request, several in zip(requests, fits, strict=True)
    ]


def _fits(request: Request) -> list[Fit]:
    """What is fitted for a request: an image, or the patches of a clip."""
    if isinstance(request.signal, Clip):
        return patch_fits(request.signal, request.options)
    return [checked(request)]


def _file(request: Request, fits: list[Fit], results: list[Fitted]) -> Encoded:
    if isinstance(request.signal, Clip):
        return clip_file(request.signal, fits, results)
    return image_file(fits[0], results[0])


def _fit(fits: Sequence[Fit], progress: Callable[[Progress], None] | None) -> list[Fitted]:
    """Runs all fits, in as many rounds as shapes, architectures and memory ask for."""
    alike: dict[tuple, list[int]] = {}
    results: dict[int, Fitted] = {}
    for i, one in enumerate(fits):
        if one.options.steps == 0:
            results[i] = unfitted(one)
            continue
        key = (one.signal.shape, one.options.method, architecture(one.config), one.base_prefix)
        alike.setdefault(key, []).append(i)
    rounds = []
    for members in alike.values():
        size = at_once(fits[members[0]].signal[0].size)
        rounds += [members[first : first + size] for first in range(0, len(members), size)]
    for number, members in enumerate(rounds, 1):
        tell = progress and _numbered(progress, number, len(rounds))
        group = Group([fits[i] for i in members], tell)
        finished = run_group(group, *start(group))
        results |= dict(zip(members, fitted(group, finished), strict=True))
    return [results[i] for i in range(len(fits))]


def _searched(one: Fit, progress: Callable[[Progress], None] | None) -> Encoded:
    """A search adapts lambda to its image: the runs of two have nothing in common."""
    if one.options.steps == 0:
        return search_rate(lambda lmbda: _coded(one, lmbda), one.options)
    group = Group([one], progress)
    finished = run_group(group, *start(group))
    (first,) = write_files(group, finished)
    return search_lambda(group, finished, first)


def _coded(one: Fit, lmbda: float) -> Encoded:
    one = one._replace(options=one.options._replace(lmbda=lmbda))
    return image_file(one, unfitted(one))


def _numbered(
    progress: Callable[[Progress], None], number: int, count: int
) -> Callable[[Progress], None]:
    return lambda step: progress(step._replace(round=number, rounds=count))


def forget(request: Request) -> None:
    """Removes the checkpoints of a request whose file is safe."""
    for one in _fits(request):
        path = saved(one)
        if path is not None:
            for phase in path.parent.glob(path.name.removesuffix("fit.ckpt") + "*"):
                phase.unlink(missing_ok=True)
