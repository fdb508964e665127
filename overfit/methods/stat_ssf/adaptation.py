"""Adaptation to one video: the encoder for nothing, the receiver for what its changes cost.

Van Rozendaal et al., "Instance-adaptive video compression: improving neural codecs by training on
the test set", arXiv 2111.10302: the whole codec is tuned on the video, changes of the receiver are
sent under the update prior and their rate, spread over all of the video, is in the loss. What is
written is what pays: the video is coded with the adapted codec and with the base as it is.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from overfit.bases.base import Base
from overfit.bases.base import start as floats_of
from overfit.coding import update_prior
from overfit.io.clip import Clip
from overfit.method import Aux
from overfit.methods.stat_ssf import codec, encoder, model
from overfit.methods.stat_ssf.architecture import ENCODERS, MULTIPLE, belongs
from overfit.methods.stat_ssf.codec import Code
from overfit.methods.stat_ssf.config import StatSsfConfig
from overfit.nn import changes, gains, vectors


def windows(clip: Clip, seed: int, config: StatSsfConfig) -> tuple[np.ndarray, ...]:
    """What a fit sees of a clip, whose size does not grow with it.

    Returns: uint8 [windows, frames, 3, rows, columns], parts of the clip as large as
    `window_crop` allows, at random places and times; float32 [], pixels of the whole clip; float32
    [], the share of intra frames in it.
    """
    (frames,) = clip.planes
    rng = np.random.default_rng((seed, 0x5741))
    length = min(config.window_frames, clip.frames)
    sides = [min(config.window_crop, -(-n // MULTIPLE) * MULTIPLE) for n in frames.shape[1:3]]
    found = np.empty((config.windows, length, 3, *sides), np.uint8)
    for window in found:
        start = int(rng.integers(clip.frames - length + 1))
        top, left = (
            int(rng.integers(max(n - side, 0) + 1))
            for n, side in zip(frames.shape[1:3], sides, strict=True)
        )
        part = frames[start : start + length, top : top + sides[0], left : left + sides[1]]
        below, right = (side - n for side, n in zip(sides, part.shape[1:3], strict=True))
        part = np.pad(part, ((0, 0), (0, below), (0, right), (0, 0)), mode="edge")
        window[:] = part.transpose(0, 3, 1, 2)
    pixels = np.asarray(clip.frames * clip.height * clip.width, np.float32)
    intra = -(-clip.frames // (config.gop or clip.frames))
    return found, pixels, np.asarray(intra / clip.frames, np.float32)


def _sent(path: str, config: StatSsfConfig) -> bool:
    return belongs(path, config.adapt)


def _own(path: str, config: StatSsfConfig) -> bool:
    """Whether an array is the encoder's."""
    return path.split("/")[0].endswith(ENCODERS)


_KINDS = {"encoder": _own, "changes": _sent}  # of what is fitted


def split(vector, networks: dict, kind: str, config: StatSsfConfig) -> dict:
    """{path: array} of all changes of a kind, which a fit has in one vector.

    A hundred arrays would take XLA a minute.
    """
    shapes = {
        f"{network}/{name}": networks[network][name].shape
        for network in sorted(networks)
        for name in sorted(networks[network])
        if _KINDS[kind](f"{network}/{name}", config)
    }
    return dict(zip(shapes, vectors.split(vector, shapes.values()), strict=True))


def init(key: jax.Array, signal, base, config: StatSsfConfig) -> dict:
    """What is fitted: changes of the encoder's networks and of the receiver's, [n] each.

    base: `bases.base.Start`.
    """
    del key, signal
    sizes = {kind: 0 for kind in _KINDS}
    for network, arrays in base.networks.items():
        for name, array in arrays.items():
            for kind, chosen in _KINDS.items():
                sizes[kind] += array.size * chosen(f"{network}/{name}", config)
    return {kind: jnp.zeros(size) for kind, size in sizes.items()}


def _networks(params: dict, base, config: StatSsfConfig) -> dict:
    """Those of the base with all that was fitted."""
    sent = split(params["changes"], base.networks, "changes", config)
    networks = changes.applied(base.networks, sent)
    for path, change in split(params["encoder"], base.networks, "encoder", config).items():
        network, name = path.split("/")
        networks[network][name] = networks[network][name] + changes.UNIT * change
    return networks


def loss(params, base, signal, key, anneal, lmbda, config: StatSsfConfig):
    """(loss, Aux) of one window: MSE + lmbda * bits per pixel, with a share of the changes' bits.

    The changes' bits are divided by the pixels of the whole clip: they are sent once. Frames count
    as in the whole clip, where intra frames are rarer than in windows.
    """
    del anneal  # nothing of it is a latent
    parts, pixels, share = signal
    key_part, key = jax.random.split(key)
    frames = parts[jax.random.randint(key_part, (), 0, len(parts))].astype(jnp.float32) / 255
    rate = gains.position(lmbda, config.rates.lmbdas, jnp) / gains.RATE_UNITS
    networks = _networks(params, base, config)
    distortion, bits = model.frames_loss(networks, frames, key, rate, config, share)
    spent = bits / (frames.size // 3) + changes.bits({"all": params["changes"]}) / pixels
    return distortion + lmbda * spent, Aux(distortion, bits / (frames.size // 3) * pixels)


# -- From the fit to a file ------------------------------------------------------------------------


def quantize(params, base: Base, clip: Clip, lmbda: float, config: StatSsfConfig, search) -> Code:
    """The cheaper in D + lmbda * R of the clip as the base has it, and as it was adapted."""
    del search  # changes have bins of one width
    plain, (frames,) = encoder.plain(clip, base, lmbda, config), clip.planes
    known = floats_of(base).networks
    sent = split(np.asarray(params["changes"]), known, "changes", config)
    fitted = {path: changes.UNIT * change for path, change in sent.items()}
    moved = update_prior.quantized(fitted, codec.changeable(config.adapt, base), changes.EXPONENT)
    any_moved = any(change.k.any() for change in moved.values())
    adapted = plain._replace(subset=config.adapt, changes=moved) if any_moved else plain
    networks: dict[str, dict[str, Any]] = {}
    for path, change in split(np.asarray(params["encoder"]), known, "encoder", config).items():
        network, name = path.split("/")
        tuned = known[network][name] + changes.UNIT * change
        networks.setdefault(network, {})[name] = tuned
    candidates = [
        codec.encoded(plain, base, frames),
        codec.encoded(adapted, base, frames, networks),
    ]

    def cost(candidate: tuple[Code, float]) -> float:
        code, distortion = candidate
        size = sum(map(len, codec.write(code, base).values()))
        return distortion + lmbda * 8 * size / (clip.frames * clip.height * clip.width)

    return min(candidates, key=cost)[0]
