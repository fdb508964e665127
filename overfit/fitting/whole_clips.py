"""Clips that one fit sees as a whole, by parts of them: codecs that are adapted per video."""

from collections.abc import Callable, Iterator

import jax
import numpy as np

from overfit import decoding
from overfit.coding import container
from overfit.errors import UserError
from overfit.fitting.files import Encoded, described, frames_quality
from overfit.fitting.groups import (
    Fit,
    Fitted,
    Group,
    Request,
    candidates_for,
    configuration,
    run_group,
    start,
    started,
)
from overfit.fitting.run import Progress
from overfit.io.clip import Clip
from overfit.io.clips import as_rgb
from overfit.metrics.psnr import mse


def fit_of(request: Request) -> Fit:
    """The one fit of a clip.

    Raises:
      UserError: bad options, no base, or a clip that the method does not take.
    """
    codec, preset, config = configuration(request.options)
    options = request.options
    assert codec.windows is not None and isinstance(request.signal, Clip)
    if options.target is not None or options.patch is not None:
        raise UserError(f"method {codec.name} has no targets and no --patch; give --lmbda")
    entries = candidates_for(options)
    if len(entries) != 1:
        raise UserError(f"method {codec.name} needs one base: see overfit bases list")
    clip = request.signal
    pixels = clip.frames * clip.height * clip.width
    one = started(Fit(codec, preset, config, None, options, pixels), entries[0])
    if options.steps == 0:  # nothing is fitted
        return one
    return one._replace(signal=codec.windows(as_rgb(clip), options.seed, one.config))


def encode_clip(request: Request, progress: Callable[[Progress], None] | None) -> Encoded:
    """Fits the codec to the clip, codes the clip, and decodes the file again frame by frame.

    psnr and ms_ssim are means over the frames, of 8-bit RGB.

    Raises:
      UserError: as `fit_of`.
    """
    assert isinstance(request.signal, Clip)
    clip = as_rgb(request.signal)
    one = fit_of(request._replace(signal=clip))
    codec, options = one.codec, one.options
    assert codec.frames is not None
    if options.steps == 0:
        assert codec.pretraining is not None
        code = codec.pretraining.code(clip, one.base, options.lmbda, one.config)
        result = Fitted(None, options.lmbda, 0.0, 0.0, 0.0, 0)
    else:
        group = Group([one], progress)
        run = run_group(group, *start(group))
        params = jax.tree.map(lambda array: np.asarray(array)[0], run.states.best_params)
        code = codec.quantize(params, one.base, clip, options.lmbda, one.config, None)
        loss = float(np.asarray(run.states.loss)[0])
        result = Fitted(None, options.lmbda, loss, run.seconds, run.seconds_compile, run.steps)
    sections = list(codec.write(code, one.base).values())
    data = container.pack(codec.name, sections, one.base_prefix)
    decoded = codec.frames(sections, one.base)
    about, errors = decoding.info(data), []

    def shown() -> Iterator[np.ndarray]:
        for original, (frame,) in zip(clip.planes[0], decoded, strict=True):
            errors.append(mse(original, frame) / 255**2)
            yield frame

    about |= frames_quality(clip.planes[0], shown()) | described([one], [result])
    if options.steps == 0:  # what the file has, instead of what a fit saw
        about["loss"] = float(np.mean(errors)) + options.lmbda * about["bpp"]
    return Encoded(data, about)
