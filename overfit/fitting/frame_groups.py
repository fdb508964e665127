"""Clips by groups of frames: each a fit of its own, around a stream that they have in common."""

import itertools
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from overfit import decoding
from overfit.bases.base import Base, identity, pack
from overfit.coding import container
from overfit.errors import UserError
from overfit.fitting import checkpoint
from overfit.fitting.files import Encoded, described
from overfit.fitting.groups import (
    Fit,
    Fitted,
    Options,
    Request,
    candidates_for,
    configuration,
    loaded,
)
from overfit.fitting.memory import at_once
from overfit.fitting.run import Progress
from overfit.fitting.together import fit_together, numbered
from overfit.io.clip import Clip
from overfit.io.clips import as_yuv420
from overfit.method import Groups, Method
from overfit.metrics.ms_ssim import ms_ssim
from overfit.metrics.psnr import planes_psnr


def encode_clip(request: Request, progress: Callable[[Progress], None] | None) -> Encoded:
    """Codes what the groups of a clip have in common, fits them, and decodes the file again.

    RGB clips are converted to 4:2:0 first. Groups are made when they are fitted, so that beside the
    clip there are only as many as are fitted at a time: one where each starts from the one before.

    Raises:
      UserError: bad options, or a clip that the method does not take.
    """
    codec, preset, config = configuration(request.options)
    groups, options = codec.groups, request.options
    assert groups is not None and isinstance(request.signal, Clip)
    if options.target is not None or options.patch is not None:
        raise UserError(f"method {codec.name} has no targets and no --patch; give --qp")
    clip = as_yuv420(request.signal)
    qp = groups.qp(options.lmbda) if options.qp is None else options.qp
    options = options._replace(qp=qp, lmbda=groups.lmbda(qp), checkpoint=_folder(request))
    base, prefix = _base(options, codec, config)
    tell = _prepared(clip.frames, progress)
    common = _common(groups, clip, qp, config, options.checkpoint, tell)
    signals = (
        Fit(codec, preset, config, signal, options, len(signal[0]) * clip.height * clip.width)
        for signal in groups.signals(clip, common, config)
    )
    fits: list[Fit] = []
    results: list[Fitted] = []
    known, name = base, prefix
    count = -(-clip.frames // config.group)
    if groups.chained(config):  # nothing follows the last
        count = max(count - 1, 1)
    for batch in _batches(itertools.islice(signals, count), groups.chained(config)):
        batch = [one._replace(base=known, base_prefix=name) for one in batch]
        tell = progress and numbered(progress, len(fits) + 1, count)
        results += fit_together(batch, tell)
        fits += [one._replace(signal=None) for one in batch]
        if groups.chained(config):
            known = groups.after(results[-1].coded)
            name = bytes.fromhex(identity(pack(known)))  # for checkpoints
    code = groups.assemble(clip.shape, common, [result.coded for result in results], config)
    data = container.pack(codec.name, list(codec.write(code, base).values()), prefix)
    about = decoding.info(data) | quality(clip, decoding.decode(data)) | described(fits, results)
    return Encoded(data, about)


def _base(options: Options, codec: Method, config) -> tuple[Base | None, bytes]:
    """(base, what names it in a file); (None, b"") for none. UserError for several."""
    entries = candidates_for(options)
    if len(entries) > 1:
        raise UserError("groups of frames start from one base; give one of these")
    if not entries:
        return None, b""
    return loaded(entries[0], codec, config), entries[0].prefix


def _prepared(frames: int, progress: Callable[[Progress], None] | None) -> Callable[[int], None]:
    """Tells a display about once a second how many frames of the base stream are coded."""
    nan, last = float("nan"), time.monotonic()

    def tell(done: int) -> None:
        nonlocal last
        if progress is not None and time.monotonic() - last >= 1.0:
            last = time.monotonic()
            progress(Progress(done, frames, nan, nan, nan, nan, nan, doing="base stream, frame"))

    return tell


def _batches(fits, chained: bool):
    """Lists of consecutive fits, as many as are fitted at a time."""
    for first in fits:
        count = 0 if chained else at_once(first.pixels) - 1
        yield [first, *itertools.islice(fits, count)]


def quality(clip: Clip, decoded: Clip) -> dict[str, Any]:
    """PSNR of Y, U, V and weighted 6:1:1, means over frames, and MS-SSIM of Y; none of RGB."""
    pairs = zip(clip.planes[0], decoded.planes[0], strict=True)
    values = [ms_ssim(a[..., None], b[..., None]) for a, b in pairs]
    defined = [value for value in values if value is not None]
    return {
        "psnr": None,
        "ms_ssim": None,
        **planes_psnr(clip.planes, decoded.planes),
        "ms_ssim_y": float(np.mean(defined)) if defined else None,
    }


# -- Checkpoints -----------------------------------------------------------------------------------


def _common(
    groups: Groups, clip: Clip, qp: int, config, folder: str | None, tell: Callable[[int], None]
) -> Any:
    """What the groups have in common, which a run that goes on has from the one before."""
    if folder is None:
        return groups.prepare(clip, qp, config, tell)
    path = checkpoint.made(folder) / "common.ckpt"
    saved = checkpoint.restore_bytes(path)
    common = None if saved is None else groups.restore(saved, config)
    if common is None:
        common = groups.prepare(clip, qp, config, tell)
        checkpoint.save_bytes(path, groups.save(common))
    return common


def _folder(request: Request) -> str | None:
    """Of a request's own checkpoints, those of its groups."""
    options = request.options
    if options.checkpoint is None:
        return None
    assert isinstance(request.signal, Clip)
    own = options._replace(checkpoint=None)
    key = checkpoint.job_key(*request.signal.planes, request.signal.fps, own)
    return str(Path(options.checkpoint) / key)


def forget_groups(request: Request) -> None:
    """Removes the checkpoints of a request whose file is safe."""
    folder = _folder(request)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
