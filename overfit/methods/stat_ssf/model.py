"""The codec in floats with gradients: what is trained on many clips, and adapted to one.

Yang et al., "Hierarchical autoregressive modeling for neural video compression", ICLR 2021, with
the conventions of its released code. Deviations, each with its reason:

- Scales of latents are logarithms to base 2, which have a table of integers; the code has a bound.
- Hyper-latents are rounded to whole numbers; the code rounds their distance to a learned median.
- The scale space is aligned at pixels, see overfit/nn/warp.py; flows begin sharp (depth -0.8), not
  in the middle of the blurred slices.
- Reference frames have 8 bits, as shown: what machines compute differently does not accumulate.
- Gains make one network serve several trade-offs (`config.Rates`). Hyperpriors see latents in bins
  of the middle one, and what they predict is multiplied by the gain (`coding.relative_gains`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from overfit.method import Aux
from overfit.methods.stat_ssf import networks as wiring
from overfit.methods.stat_ssf.architecture import is_structured, parameter_shapes, parts
from overfit.methods.stat_ssf.config import StatSsfConfig
from overfit.nn import (
    distributions,
    factorized,
    gains,
    karhunen_loeve,
    quantizers,
    schedules,
    strided,
)
from overfit.nn.layers import Arithmetic

MIN_LOG2_SCALE, MAX_LOG2_SCALE = -4.0, 7.0  # of a latent, in bins
SPARSE = -1.5  # log2 of the scale of motion's latents at first
SHARP = -0.8  # depth of flows at first


def init(rng: np.random.Generator, config: StatSsfConfig) -> dict[str, dict[str, np.ndarray]]:
    """Networks before training."""
    networks: dict[str, dict] = {}
    for network, arrays in parameter_shapes(config).items():
        networks[network] = {n: _initial(rng, network, n, shape) for n, shape in arrays.items()}
    for part in parts(config):
        networks[f"{part}_gains"] = gains.initial(config.rates.lmbdas, config.transform.latents)
        networks[f"{part}_hyper_latents"] = factorized.initial(rng, config.transform.hyper_channels)
        networks[f"{part}_hyper_synthesis"][_last(part, config)] *= np.float32(0.1)
        if config.training.start == "transform":
            (_begin_sparse if part == "motion" else _begin_as_transform)(networks, part, config)
    if config.transform.motion and not config.transform.network:
        networks["motion_synthesis"]["b3"][2] = SHARP
        networks["motion_synthesis"]["w3"] *= np.float32(0.1)
    if "w4" in networks.get("motion_synthesis", {}):
        networks["motion_synthesis"]["w4"] *= np.float32(0.1)
    if config.transform.network:
        networks["transform"]["w2"] *= np.float32(0.1)
    return networks


def _last(part: str, config: StatSsfConfig, kind: str = "w") -> str:
    """Of a part's hyper_synthesis."""
    return kind + ("3" if is_structured(part, config) else "2")


def _begin_sparse(networks: dict, part: str, config: StatSsfConfig) -> None:
    """Few of a part's latents differ from zero, at any trade-off: a vector needs few bits."""
    lmbdas, latents = config.rates.lmbdas, config.transform.latents
    networks[f"{part}_gains"] = gains.initial(len(lmbdas) * lmbdas[:1], latents, first=0.0)
    networks[f"{part}_hyper_synthesis"][_last(part, config, "b")][latents:] = SPARSE


def _begin_as_transform(networks: dict, part: str, config: StatSsfConfig) -> None:
    """The autoencoder of what looks like pictures, and what its prior knows of its latents."""
    lmbdas, latents = config.rates.lmbdas, config.transform.latents
    analysis, synthesis = networks[f"{part}_analysis"], networks[f"{part}_synthesis"]
    deviations = karhunen_loeve.begin(analysis, synthesis, signs=(1, -1))
    table, log2_scales = karhunen_loeve.scaled(deviations, lmbdas, latents)
    networks[f"{part}_gains"] = table
    biases = networks[f"{part}_hyper_synthesis"][_last(part, config, "b")]
    biases[latents : latents + len(log2_scales)] = log2_scales
    seen = networks[f"{part}_hyper_analysis"]
    seen["w0"] = karhunen_loeve.tamed(seen["w0"], 9, log2_scales)


def _initial(rng, network: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name[0] != "w":
        return np.zeros(shape, np.float32)
    # He's for layers before a ReLU; a transposed convolution has a quarter of its taps at a time.
    up = network.endswith("synthesis") and not (network.endswith("hyper_synthesis") and name > "w1")
    taps = shape[1] / 4 if up else shape[1]
    return (np.sqrt(2 / taps) * rng.standard_normal(shape)).astype(np.float32)


class Coded(NamedTuple):
    """A part of a frame, as a decoder has it, and what it takes."""

    scaled: jax.Array  # latents times the gain: what the synthesis sees
    y: jax.Array  # latents in bins of the middle rate: what priors see
    z: jax.Array
    bits: jax.Array  # shape=()


def _coded(
    layers: Arithmetic, networks: dict, part: str, x, known: Coded | None, key, rate
) -> Coded:
    """Minnen and Singh's mixed quantization: rounded latents are seen, rates are of noisy ones."""
    key_y, key_z = jax.random.split(key)
    table = networks[f"{part}_gains"]
    y = wiring.analysis(layers, part, x) * gains.gains(table["encoder"], rate)
    log2_gain = gains.relative_log2(table["encoder"], rate)
    gain = jnp.exp2(log2_gain)
    z = wiring.hyper_analysis(layers, part, y / gain)
    noisy = (z + jax.random.uniform(key_z, z.shape) - 0.5).reshape(len(z), -1)
    bits_z = jnp.sum(factorized.bits(networks[f"{part}_hyper_latents"], noisy))
    z = quantizers.round_straight_through(z)
    seen = None if known is None else wiring.Known(known.z, known.y)
    mean, log2_scale = jnp.split(wiring.hyper_synthesis(layers, part, z, seen), 2)
    mean *= gain
    log2_scale = jnp.clip(log2_scale + log2_gain, MIN_LOG2_SCALE, MAX_LOG2_SCALE)
    noisy = y + jax.random.uniform(key_y, y.shape) - 0.5
    bits = jnp.sum(distributions.gaussian_bits(noisy, mean, log2_scale)) + bits_z
    center = jax.lax.stop_gradient(mean)
    y = quantizers.round_straight_through(y - center) + center
    return Coded(y * gains.gains(table["decoder"], rate), y / gain, z, bits)


def _as_shown(frame):
    """What the next frame refers to."""
    return quantizers.round_straight_through(255 * jnp.clip(frame, 0, 1)) / 255


def frames_loss(networks: dict, frames, key, rate, config: StatSsfConfig, share=None) -> Aux:
    """Distortion, mean over frames, and bits of all frames [frames, 3, rows, columns] in 0..1.

    The first is an intra frame. rate: among the base's trade-offs, from 0 to their number - 1.
    share: that intra frames have of all, shape (); none: as here.
    """
    return _frames_loss(networks, frames, key, rate, config, share)[0]


def _frames_loss(networks: dict, frames, key, rate, config: StatSsfConfig, share=None):
    """(`frames_loss`, mean squared error of predictions, a mean over all frames but the first)."""
    layers = strided.arithmetic(networks)
    first, key = jax.random.split(key)
    intra = _coded(layers, networks, "intra", frames[0] - 0.5, None, first, rate)
    shown = wiring.synthesis(layers, "intra", intra.scaled) + 0.5
    distortion = jnp.mean(jnp.square(shown - frames[0]))
    if len(frames) == 1:
        return Aux(distortion, intra.bits), jnp.zeros(())
    # The released code trains the intra frame for itself.
    reference = jax.lax.stop_gradient(_as_shown(shown))

    def step(reference, inputs):
        frame, key = inputs
        shown, bits, mean = _predicted(layers, networks, frame, reference, key, rate, config)
        found = jnp.mean(jnp.square(shown - frame)), bits, jnp.mean(jnp.square(mean - frame))
        return _as_shown(shown), jnp.stack(found)

    keys = jax.random.split(key, len(frames) - 1)
    # Windows of three frames are compiled as they are, longer ones in a loop.
    _, predicted = jax.lax.scan(step, reference, (frames[1:], keys), unroll=2)
    means = jnp.mean(predicted, axis=0)
    share = 1 / len(frames) if share is None else share
    distortion = share * distortion + (1 - share) * means[0]
    bits = len(frames) * (share * intra.bits + (1 - share) * means[1])
    return Aux(distortion, bits), means[2]


def motion_loss(networks: dict, frames, key, rate, config: StatSsfConfig) -> Aux:
    """Likewise of the frames after the first, as they are predicted and no more.

    Each is predicted from the frame before it as it is.
    """
    layers = strided.arithmetic(networks)

    def pair(before, frame, key):
        x = jnp.concatenate([frame, before]) - 0.5
        motion = _coded(layers, networks, "motion", x, None, key, rate)
        mean, _ = wiring.predict(layers, motion.scaled, before, config)
        return Aux(jnp.mean(jnp.square(mean - frame)), motion.bits)

    keys = jax.random.split(key, len(frames) - 1)
    found = jax.vmap(pair)(frames[:-1], frames[1:], keys)
    return Aux(jnp.mean(found.distortion), jnp.sum(found.bits))


def _predicted(layers: Arithmetic, networks: dict, frame, reference, key, rate, config):
    """(the frame as it is decoded, bits, its prediction before the residual)."""
    key_w, key_v = jax.random.split(key)
    motion = None
    if config.transform.motion:
        x = jnp.concatenate([frame, reference]) - 0.5
        motion = _coded(layers, networks, "motion", x, None, key_w, rate)
    mean, scale = wiring.predict(layers, motion and motion.scaled, reference, config)
    residual = frame - mean if scale is None else (frame - mean) / scale
    known = motion if is_structured("residual", config) else None
    coded = _coded(layers, networks, "residual", residual, known, key_v, rate)
    seen = coded.scaled if motion is None else jnp.concatenate([coded.scaled, motion.scaled])
    decoded = wiring.synthesis(layers, "residual", seen)
    shown = mean + (decoded if scale is None else decoded * scale)
    return shown, coded.bits + (0 if motion is None else motion.bits), mean


def training_loss(networks: dict, frames, key, progress, config: StatSsfConfig):
    """(loss, Aux) of the start of a clip [frames, 3, crop, crop] at a random trade-off."""
    key_rate, key = jax.random.split(key)
    lmbdas = jnp.asarray(config.rates.lmbdas, jnp.float32)
    index = jax.random.randint(key_rate, (), 0, len(lmbdas))
    rate = index.astype(jnp.float32)
    error = 0.0
    if config.training.learning == "motion":
        aux = motion_loss(networks, frames, key, rate, config)
    else:
        aux, error = _frames_loss(networks, frames, key, rate, config)
    distortion = aux.distortion + config.training.prediction * (1 - progress) * error
    pixels = frames.size // 3
    # Divided by what losses grow with, so that no trade-off drowns the others' gradients.
    loss = (distortion + lmbdas[index] * aux.bits / pixels) / lmbdas[index] ** 0.65
    return loss, aux


def training_crops(step: int, config: StatSsfConfig) -> tuple[int, int]:
    training = config.training
    last = step >= training.steps - training.last_steps
    return training.frames, training.last_crop if last else training.crop


def training_lr(step, config: StatSsfConfig):
    training = config.training
    if training.decay:
        return training.lr * schedules.tenth_after(step, training.steps, training.decay)
    return training.lr * schedules.warm_cosine(step, training.steps)
