"""Coding of frames: symbols in exact integers, pixels in float32. NumPy only.

The encoder and the decoder run the same function, the one with the frame and the other without.
docs/stat_ssf.md specifies every step.
"""

from typing import NamedTuple

import numpy as np

from overfit.bases.base import Base
from overfit.coding import factorized, fixed_point, integer_layers, laplace
from overfit.coding.fixed_point import ACTIVATION_BITS
from overfit.coding.integer_network import shift
from overfit.coding.parameters import Change, Quantized
from overfit.coding.relative_gains import RelativeGains, relative_gains
from overfit.errors import UserError
from overfit.methods.stat_ssf import networks as wiring
from overfit.methods.stat_ssf.architecture import (
    HYPER_STRIDE,
    LATENT_STRIDE,
    is_structured,
)
from overfit.methods.stat_ssf.config import StatSsfConfig
from overfit.nn.gains import RATE_UNITS, gains
from overfit.nn.layers import Arithmetic, floats

MAX_SYMBOL = 1 << 20  # what a file may hold
_SCALE_LIMITS = (2 * laplace.SCALE_UNITS, 13 * laplace.SCALE_UNITS)  # of 2^-4 and 2^7 bins
_AT_ONCE = 1 << 16  # symbols whose tables are in memory at a time: 16 MB


class Model(NamedTuple):
    """Networks, ready to run, at one trade-off."""

    config: StatSsfConfig
    floats: Arithmetic  # for pixels and, in an encoder, for latents
    integers: Arithmetic  # for all that symbols depend on
    tables: dict[str, tuple[np.ndarray, np.ndarray]]  # part -> centers and frequencies
    encoder_gains: dict[str, np.ndarray]  # part -> [latents, 1, 1]
    decoder_gains: dict[str, np.ndarray]
    relative: dict[str, RelativeGains]  # of the base's encoder, for priors


def model(
    base: Base,
    changes: dict[str, Change],
    encoder: dict[str, dict[str, np.ndarray]] | None,
    position: int,
    config: StatSsfConfig,
) -> Model:
    """changes: of the base's arrays; encoder: networks that an encoder has instead of the base's;
    position: of the trade-off, in 1 / `gains.RATE_UNITS`.

    Raises:
      UserError: parameters that are not what exact arithmetic allows, when they are used.
    """
    values: dict[str, dict[str, np.ndarray]] = {}
    exact: dict[str, dict[str, Quantized]] = {}
    for path, prior in base.arrays.items():
        network, name = path.split("/")
        change = changes.get(path)
        array = prior.center if change is None else change.absolute()
        if network.endswith(("_hyper_synthesis", "_hyper_latents")):
            exact.setdefault(network, {})[name] = array
        else:
            values.setdefault(network, {})[name] = array.value()
    values |= encoder or {}
    rate = position / RATE_UNITS
    parts = [network.removesuffix("_gains") for network in values if network.endswith("_gains")]
    return Model(
        config,
        floats(values),
        integer_layers.arithmetic(exact),
        {p: _table(exact[f"{p}_hyper_latents"]) for p in parts},
        {p: gains(values[f"{p}_gains"]["encoder"], rate) for p in parts},
        {p: gains(values[f"{p}_gains"]["decoder"], rate) for p in parts},
        {p: relative_gains(base.arrays[f"{p}_gains/encoder"].center, position) for p in parts},
    )


def _table(prior: dict[str, Quantized]) -> tuple[np.ndarray, np.ndarray]:
    return prior["center"].k, prior["frequencies"].k


class Coded(NamedTuple):
    """A part of a frame: in integers with 10 fractional bits as a prior sees it, and in floats."""

    y: np.ndarray  # [latents, rows, columns], in bins of the middle rate
    z: np.ndarray
    scaled: np.ndarray  # float32; what the synthesis sees


def _checked(values: np.ndarray) -> np.ndarray:
    if values.size and np.abs(values).max() > MAX_SYMBOL:
        raise UserError("the file is damaged: a latent is out of range")
    return values


def _activations(fixed: np.ndarray) -> np.ndarray:
    return fixed_point.clamp(fixed.astype(np.float64))


def _code_residuals(coder, k: np.ndarray | None, scale: np.ndarray) -> np.ndarray:
    """Integers [n] around zero, written, or read where k is None; scale: indices [n]."""
    done = []
    for start in range(0, len(scale), _AT_ONCE):
        part = scale[start : start + _AT_ONCE]
        given = None if k is None else k[start : start + _AT_ONCE]
        done.append(coder.code(given, np.zeros(len(part), np.int64), part, "gaussian"))
    return np.concatenate(done)


def _code_part(
    coder, model: Model, part: str, x: np.ndarray | None, size: tuple[int, int], known: Coded | None
) -> Coded:
    """x: what is analyzed, None in a decoder; size: of the padded frame."""
    m, h = model.config.transform.latents, model.config.transform.hyper_channels
    rows, columns = size[0] // HYPER_STRIDE, size[1] // HYPER_STRIDE
    y, z, relative = None, None, model.relative[part]
    if x is not None:
        y = wiring.analysis(model.floats, part, x) * model.encoder_gains[part]
        middle = y * np.exp2(relative.log2 * -(2.0**-ACTIVATION_BITS)).astype(np.float32)
        hyper = wiring.hyper_analysis(model.floats, part, middle)
        z = np.rint(hyper).astype(np.int64).reshape(h, -1)
    z = _checked(factorized.code(coder, z, *model.tables[part], rows * columns))
    z = z.reshape(h, rows, columns) << ACTIVATION_BITS
    seen = None
    if known is not None:
        seen = wiring.Known(_activations(known.z), known.y)
    predicted = wiring.hyper_synthesis(model.integers, part, _activations(z), seen)
    mean, log2_scale = np.split(predicted, 2)
    mean, log2_scale = relative.to_rate(mean), log2_scale + relative.log2
    index = shift(log2_scale, ACTIVATION_BITS - 3) - laplace.SCALE_UNITS * laplace.MIN_LOG2_SCALE
    index = np.clip(index, *_SCALE_LIMITS).astype(np.int64).ravel()
    k = None
    if y is not None:
        k = np.rint(y - (mean * 2.0**-ACTIVATION_BITS).astype(np.float32)).astype(np.int64).ravel()
    k = _checked(_code_residuals(coder, k, index))
    shape = m, size[0] // LATENT_STRIDE, size[1] // LATENT_STRIDE
    fixed = (k.reshape(shape) << ACTIVATION_BITS) + mean
    value = (fixed * 2.0**-ACTIVATION_BITS).astype(np.float32)
    return Coded(relative.to_middle(fixed), z, value * model.decoder_gains[part])


def code_frame(
    coder,
    model: Model,
    frame: np.ndarray | None,
    reference: np.ndarray | None,
    size: tuple[int, int],
) -> np.ndarray:
    """The frame as it is shown, uint8 [3, *size]; written, or read where frame is None.

    frame: float32 in 0..1, [3, *size]; reference: the one before as it was shown, None for an intra
    frame; size: multiples of 64.
    """
    half = np.float32(0.5)
    # Parameters of a damaged file may overflow: any picture will do.
    with np.errstate(all="ignore"):
        if reference is None:
            x = None if frame is None else frame - half
            coded = _code_part(coder, model, "intra", x, size, None)
            shown = wiring.synthesis(model.floats, "intra", coded.scaled) + half
        else:
            before = reference.astype(np.float32) / np.float32(255)
            shown = _code_predicted(coder, model, frame, before, size)
        return np.rint(255 * np.clip(np.nan_to_num(shown), 0, 1)).astype(np.uint8)


def _code_predicted(coder, model: Model, frame, reference, size: tuple[int, int]) -> np.ndarray:
    half, config = np.float32(0.5), model.config
    motion = None
    if config.transform.motion:
        x = None if frame is None else np.concatenate([frame, reference]) - half
        motion = _code_part(coder, model, "motion", x, size, None)
    said = None if motion is None else motion.scaled
    mean, scale = wiring.predict(model.floats, said, reference, config)
    x = None
    if frame is not None:
        x = frame - mean if scale is None else (frame - mean) / scale
    known = motion if is_structured("residual", config) else None
    residual = _code_part(coder, model, "residual", x, size, known)
    seen = residual.scaled if said is None else np.concatenate([residual.scaled, said])
    decoded = wiring.synthesis(model.floats, "residual", seen)
    return mean + (decoded if scale is None else decoded * scale)
