"""From signals to .ovf bytes: fits them, writes files and decodes these again."""

from collections.abc import Callable, Sequence

from overfit.fitting.groups import (
    Encoded,
    Group,
    Request,
    architecture,
    checked,
    run_group,
    saved,
    start,
    write_files,
)
from overfit.fitting.run import Progress
from overfit.fitting.target import search_lambda


def encode(
    requests: Sequence[Request], progress: Callable[[Progress], None] | None = None
) -> list[Encoded]:
    """Encodes images; those of equal shape and architecture are fitted in one compiled program.

    Each gets what it would get alone, whatever its lambda, schedule or seed. progress is called
    about once a second. Checkpoints stay, until the files are safe and `forget` is called.

    Raises:
      UserError: bad images or options.
    """
    fits = [checked(request) for request in requests]
    groups: dict[tuple, list[int]] = {}
    for i, one in enumerate(fits):
        # A search adapts lambda to its image: the runs of two have nothing in common.
        alone = i if one.options.target is not None else None
        key = one.signal.shape, one.options.method, architecture(one.config), one.base_prefix, alone
        groups.setdefault(key, []).append(i)
    results: dict[int, Encoded] = {}
    for members in groups.values():
        group = Group([fits[i] for i in members], progress)
        results |= dict(zip(members, _encode_group(group), strict=True))
    return [results[i] for i in range(len(requests))]


def _encode_group(group: Group) -> list[Encoded]:
    finished = run_group(group, *start(group))
    encoded = write_files(group, finished)
    if group.fits[0].options.target is not None:
        encoded = [search_lambda(group, finished, encoded[0])]
    return encoded


def forget(request: Request) -> None:
    """Removes the checkpoints of a request whose file is safe."""
    path = saved(checked(request))
    if path is not None:
        for phase in path.parent.glob(path.name.removesuffix("fit.ckpt") + "*"):
            phase.unlink(missing_ok=True)
