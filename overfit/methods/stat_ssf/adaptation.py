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
from overfit.coding import update_prior
from overfit.errors import UserError
from overfit.io.clip import Clip
from overfit.method import Aux
from overfit.methods.stat_ssf import codec, model
from overfit.methods.stat_ssf.architecture import ENCODERS, MULTIPLE, belongs
from overfit.methods.stat_ssf.codec import Code
from overfit.methods.stat_ssf.config import StatSsfConfig
from overfit.methods.stat_ssf.frame_coding import encoder_networks
from overfit.nn import changes, gains


def windows(clip: Clip, seed: int, config: StatSsfConfig) -> tuple[np.ndarray, np.ndarray]:
    """What a fit sees of a clip, whose size does not grow with it.

    Returns: uint8 [windows, frames, 3, rows, columns], parts of the clip as large as
    `window_crop` allows, at random places and times; float32 [], pixels of the whole clip.
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
    return found, np.asarray(clip.frames * clip.height * clip.width, np.float32)


def init(key: jax.Array, signal, base, config: StatSsfConfig) -> dict:
    """What is fitted: the encoder's networks, and changes of the receiver's.

    base: `bases.base.Start`.
    """
    del key, signal
    encoder = changes.none(base.networks, lambda path: path.split("/")[0].endswith(ENCODERS))
    receiver = changes.none(base.networks, lambda path: belongs(path, config.adapt))
    return {"encoder": encoder, "changes": receiver}


def _networks(params: dict, base) -> dict:
    """Those of the base with all that was fitted."""
    networks = changes.applied(base.networks, params["changes"])
    for path, change in params["encoder"].items():
        network, name = path.split("/")
        networks[network][name] = networks[network][name] + changes.UNIT * change
    return networks


def loss(params, base, signal, key, anneal, lmbda, config: StatSsfConfig):
    """(loss, Aux) of one window: MSE + lmbda * bits per pixel, with a share of the changes' bits.

    The changes' bits are divided by the pixels of the whole clip: they are sent once.
    """
    del anneal  # nothing of it is a latent
    parts, pixels = signal
    key_part, key = jax.random.split(key)
    frames = parts[jax.random.randint(key_part, (), 0, len(parts))].astype(jnp.float32) / 255
    rate = gains.position(lmbda, config.rates.lmbdas, jnp) / gains.RATE_UNITS
    distortion, bits = model.frames_loss(_networks(params, base), frames, key, rate, config)
    spent = bits / (frames.size // 3) + changes.bits(params["changes"]) / pixels
    return distortion + lmbda * spent, Aux(distortion, bits / (frames.size // 3) * pixels)


# -- From the fit to a file ------------------------------------------------------------------------


def code(clip: Clip, base: Base | None, lmbda: float, config: StatSsfConfig) -> Code:
    """The code of a clip as the base has it, without any fit.

    Raises:
      UserError: no base, or a clip that a file cannot hold.
    """
    return codec.encoded(*_plain(clip, base, lmbda, config))[0]


def _plain(clip: Clip, base: Base | None, lmbda: float, config: StatSsfConfig):
    """(code without frames, base, frames)."""
    if base is None:
        raise UserError("method stat-ssf needs a base; see overfit bases list")
    codec.configuration(base)
    codec.check_shape(clip.shape)
    rate = int(gains.position(lmbda, config.rates.lmbdas))
    return Code(config, clip.shape, rate, "none", {}, []), base, clip.planes[0]


def quantize(params, base: Base, clip: Clip, lmbda: float, config: StatSsfConfig, search) -> Code:
    """The cheaper in D + lmbda * R of the clip as the base has it, and as it was adapted."""
    del search  # changes have bins of one width
    plain, base, frames = _plain(clip, base, lmbda, config)
    priors = codec.changeable(config.adapt, base)
    fitted = {path: changes.UNIT * np.asarray(params["changes"][path]) for path in priors}
    moved = update_prior.quantized(fitted, priors, changes.EXPONENT)
    any_moved = any(change.k.any() for change in moved.values())
    adapted = plain._replace(subset=config.adapt, changes=moved) if any_moved else plain
    networks: dict[str, dict[str, Any]] = {}
    for path, change in params["encoder"].items():
        network, name = path.split("/")
        center = base.arrays[path].center.value()
        networks.setdefault(network, {})[name] = center + changes.UNIT * np.asarray(change)
    candidates = [
        codec.encoded(plain, base, frames),
        codec.encoded(adapted, base, frames, encoder_networks(networks)),
    ]

    def cost(candidate: tuple[Code, float]) -> float:
        code, distortion = candidate
        size = sum(map(len, codec.write(code, base).values()))
        return distortion + lmbda * 8 * size / (clip.frames * clip.height * clip.width)

    return min(candidates, key=cost)[0]
