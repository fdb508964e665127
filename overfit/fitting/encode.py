"""From signals to .ovf bytes: fits them, writes files and decodes these again."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from overfit.fitting import frame_groups, whole_clips
from overfit.fitting.choice import chosen
from overfit.fitting.clips import clip_file, patch_fits
from overfit.fitting.files import Encoded, image_file
from overfit.fitting.groups import (
    Ended,
    Fit,
    Fitted,
    Request,
    checked,
    coded,
    run_group,
    saved,
    start,
    unfitted,
)
from overfit.fitting.run import Progress, Run
from overfit.fitting.target import search_lambda, search_rate
from overfit.fitting.together import in_order, rounds_of, run_together
from overfit.io.clip import Clip
from overfit.method import has_latents, load


class Uncoded(NamedTuple):
    """A request whose fits have ended. It can be sent to another process, which codes it."""

    request: Request
    fits: list[Fit]
    results: list[Ended]


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
    return [finish(one) for one in fit(requests, progress)]


def finish(one: Uncoded | Encoded) -> Encoded:
    """The file of a request whose fits have ended."""
    if isinstance(one, Encoded):
        return one
    return file_of(one.request, one.fits, [coded(result) for result in one.results])


def fit(
    requests: Sequence[Request], progress: Callable[[Progress], None] | None = None
) -> list[Uncoded | Encoded]:
    """`encode` up to what needs the device that fits run on; `finish` does the rest.

    Where fits depend on files in between, as in a search for lambda, there is no rest.
    """
    fits = [
        [] if _by_itself(request) else chosen(fits_of(request), progress) for request in requests
    ]
    together = [one for several in fits for one in several if one.options.target is None]
    results = iter(run_together(together, progress))

    def done(request: Request, several: list[Fit]) -> Uncoded | Encoded:
        if _by_itself(request):
            codec = load(request.options.method)
            return (frame_groups if codec.groups else whole_clips).encode_clip(request, progress)
        if request.options.target is not None:
            return _searched(request, several, progress)
        return Uncoded(request, several, [next(results) for _ in several])

    return [done(*pair) for pair in zip(requests, fits, strict=True)]


def _by_itself(request: Request) -> bool:
    """Whether it is a clip that is not fitted patch by patch, so that no other fit can join."""
    return isinstance(request.signal, Clip) and not has_latents(load(request.options.method))


def fits_of(request: Request) -> list[Fit]:
    """What is fitted for a request: an image, or the patches of a clip."""
    if isinstance(request.signal, Clip):
        return patch_fits(request.signal, request.options)
    return [checked(request)]


def file_of(request: Request, fits: list[Fit], results: list[Fitted]) -> Encoded:
    """The file of what the fits of a request came to."""
    if isinstance(request.signal, Clip):
        return clip_file(request.signal, fits, results)
    return image_file(fits[0], results[0])


def _searched(
    request: Request, fits: list[Fit], progress: Callable[[Progress], None] | None
) -> Encoded:
    """A search adapts lambda to its signal: the runs of two have nothing in common."""
    if request.options.steps == 0:
        return search_rate(lambda lmbda: _coded(fits[0], lmbda), request.options)
    rounds = rounds_of(fits, progress)
    groups = [group for _, group in rounds]

    def write(runs: list[Run]) -> Encoded:
        return file_of(request, fits, [coded(result) for result in in_order(rounds, runs)])

    return search_lambda(groups, [run_group(group, *start(group)) for group in groups], write)


def _coded(one: Fit, lmbda: float) -> Encoded:
    one = one._replace(options=one.options._replace(lmbda=lmbda))
    return image_file(one, unfitted(one))


def forget(request: Request) -> None:
    """Removes the checkpoints of a request whose file is safe."""
    codec = load(request.options.method)
    if _by_itself(request) and codec.groups is not None:
        frame_groups.forget_groups(request)
        return
    fits = [whole_clips.fit_of(request)] if _by_itself(request) else fits_of(request)
    for one in fits:
        path = saved(one)
        if path is not None:
            for phase in path.parent.glob(path.name.removesuffix("fit.ckpt") + "*"):
                phase.unlink(missing_ok=True)
