"""Adaptation to one image: latents refined in place, and changes of the receiver's parameters.

Refining latents costs no bits of the model (Campos et al., "Content adaptive optimization for
neural image compression", 2019); changes cost what the update prior says, rate and all in the loss
(van Rozendaal et al., ICLR 2021). What is written is what pays: all that was fitted is coded with
and without the changes, and beside the base's own latents.
"""

import jax
import jax.numpy as jnp
import numpy as np

from overfit.bases.base import Base
from overfit.bases.base import start as floats_of
from overfit.coding import update_prior
from overfit.method import Anneal, Aux
from overfit.methods.reference import codec, encoder, model, networks
from overfit.methods.reference.architecture import padded
from overfit.methods.reference.codec import Code
from overfit.methods.reference.config import ReferenceConfig
from overfit.nn import changes, gains, quantizers, strided

_FITTED = {"auto": "igsdn+last", "latents": "none"}  # setting -> subset, where names differ


def _subset(config: ReferenceConfig) -> str:
    return _FITTED.get(config.adapt, config.adapt)


def init(key: jax.Array, signal: jax.Array, base, config: ReferenceConfig) -> dict:
    """What is fitted: latents before their gain, hyper-latents beyond what these give, changes.

    base: `bases.base.Start`. The analysis runs once; lambda, which the loss has, only scales it.
    """
    del key
    _, height, width = signal.shape
    codec.check_size(height, width)
    layers = strided.arithmetic(base.networks)
    y = networks.analysis(layers, base.networks, _padded(signal))
    latents = {"y": y}
    if config.entropy.hyperprior:
        rows, columns = (side // 4 for side in y.shape[1:])
        latents["z"] = jnp.zeros((config.entropy.hyper_width, rows, columns))
    subset = _subset(config)
    unchanged = changes.none(base.networks, lambda path: codec.belongs(path, subset))
    return {"latents": latents, "changes": unchanged}


def _padded(signal: jax.Array) -> jax.Array:
    _, height, width = signal.shape
    rows, columns = padded(height, width)
    image = jnp.broadcast_to(signal, (3, height, width))
    return jnp.pad(image, ((0, 0), (0, rows - height), (0, columns - width)), mode="edge")


def _bins(params: dict, known: dict, lmbda, config: ReferenceConfig):
    """(latents, hyper-latents or None) in bins, before rounding."""
    rate = gains.position(lmbda, config.rates.lmbdas, jnp) / gains.RATE_UNITS
    y = params["latents"]["y"] * gains.gains(known["gains"]["encoder"], rate)
    if not config.entropy.hyperprior:
        return y, None
    return y, networks.hyper_analysis(strided.arithmetic(known), y) + params["latents"]["z"]


def _rounded(x: jax.Array, key: jax.Array, anneal: Anneal) -> jax.Array:
    """As C3's latents: softly with noise in stage 1, hard in stage 2."""

    def soft(x):
        noise = quantizers.kumaraswamy_noise(key, x.shape, anneal.noise)
        y = quantizers.soft_round(x, anneal.temperature) + noise
        return quantizers.soft_round_conditional_mean(y, anneal.temperature)

    def hard(x):
        return quantizers.round_soft_gradient(x, anneal.temperature)

    return jax.lax.cond(anneal.hard, hard, soft, x)


def loss(params, base, signal, key, anneal: Anneal, lmbda, config: ReferenceConfig):
    """(loss, Aux): MSE + lmbda * (latents + changes) in bits per pixel."""
    _, height, width = signal.shape
    known = base.networks
    y, z = _bins(params, known, lmbda, config)
    key_y, key_z = jax.random.split(key)
    y = _rounded(y, key_y, anneal)
    changed = model.bounded(changes.applied(known, params["changes"]))
    bits = jnp.zeros(())
    if z is not None:
        z = _rounded(z, key_z, anneal)
        bits = model.hyper_bits(changed, z)
    bits += model.latent_bits(y, model.predict(changed, y, z, config))[-1]
    rate = gains.position(lmbda, config.rates.lmbdas, jnp) / gains.RATE_UNITS
    scaled = y * gains.gains(changed["gains"]["decoder"], rate)
    image = networks.synthesis(strided.arithmetic(changed), changed, scaled)
    difference = image[:, :height, :width] - jnp.broadcast_to(signal, (3, height, width))
    distortion = jnp.mean(jnp.square(difference))
    pixels = height * width
    spent = bits + changes.bits(params["changes"])
    return distortion + lmbda * spent / pixels, Aux(distortion, bits)


# -- From the fit to a file ------------------------------------------------------------------------


def quantize(params, base: Base, signal, lmbda: float, config: ReferenceConfig, search) -> Code:
    """The cheapest in D + lmbda * R of: the base as it is, refined latents, and with changes.

    Every candidate is written and decoded to pixels to know both.
    """
    del search  # changes have bins of one width
    image = np.asarray(signal)
    plain = encoder.code(image, base, lmbda, config)
    y, z = _bins(params, floats_of(base).networks, jnp.float32(lmbda), config)
    refined = plain._replace(
        y=np.asarray(jnp.round(y)).astype(np.int64),
        z=None if z is None else np.asarray(jnp.round(z)).astype(np.int64),
    )
    candidates = [plain, refined]
    for subset in _parts(_subset(config)):
        priors = codec.changeable(subset, base)
        fitted = {path: changes.UNIT * np.asarray(params["changes"][path]) for path in priors}
        moved = update_prior.quantized(fitted, priors, changes.EXPONENT)
        if any(change.k.any() for change in moved.values()):
            candidates.append(refined._replace(subset=subset, changes=moved))
    return min(candidates, key=lambda code: cost(code, base, image, lmbda))


def _parts(subset: str) -> list[str]:
    """Subsets that a fit of one can be written as."""
    return {"none": [], "igsdn+last": ["igsdn", "last", "igsdn+last"]}.get(subset, [subset])


def cost(code: Code, base: Base, signal: np.ndarray, lmbda: float) -> float:
    """MSE + lmbda * bits per pixel, of the file's sections and the pixels shown."""
    size = sum(map(len, codec.write(code, base).values()))
    shown = np.atleast_3d(codec.reconstruct(code, base)).transpose(2, 0, 1) / np.float32(255)
    pixels = signal.shape[1] * signal.shape[2]
    return float(np.mean(np.square(shown - signal))) + lmbda * 8 * size / pixels
