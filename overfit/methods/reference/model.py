"""The codec in floats: what is trained, and what is adapted to an image.

Qian et al., ICLR 2021. Deviations, each with its reason:

- The references of training are those that a decoder has; the released code refers to all places in
  training and to decoded ones in use.
- Non-candidates are left out of the search; a place without a similar one (cosine <= 0) has none,
  and its features are zero.
- A parameter network gets what the one before predicted, and adds to it ("updated stage by stage"),
  also where the predictions are components of the released code's mixture.
- Hyper-latents have a Gaussian per channel by default, as in the released code; the paper has
  Balle's density, which is an option.
- Gains make one network serve several trade-offs (`config.Rates`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from overfit.method import Aux
from overfit.methods.reference import networks as wiring
from overfit.methods.reference.architecture import (
    NEIGHBORS,
    anchors,
    order,
    parameter_shapes,
)
from overfit.methods.reference.config import ReferenceConfig
from overfit.nn import (
    distributions,
    factorized,
    karhunen_loeve,
    normalization,
    quantizers,
    schedules,
    strided,
    structural,
)
from overfit.nn import gains as gain_tables
from overfit.nn.convolutions import gather

MIN_LOG2_SCALE, MAX_LOG2_SCALE = -4.0, 7.0  # of a latent, in bins
MAX_LOG2_SHARE = 7.0  # of a component, before shares are normalized
SEARCH_ROWS = 512  # targets whose similarities are in memory at a time
LATENT_LIMIT = 127.0  # the entropy model sees latents between -127 and 127, as the released code


def init(rng: np.random.Generator, config: ReferenceConfig) -> dict[str, dict[str, np.ndarray]]:
    """Networks before training: transforms of pictures, and else Xavier normal weights, as the
    released code, and no biases."""
    networks: dict[str, dict] = {}
    for network, arrays in parameter_shapes(config).items():
        networks[network] = {
            name: _initial(rng, network, name, shape) for name, shape in arrays.items()
        }
        if "frequencies" in arrays:
            networks[network] |= factorized.initial(rng, config.entropy.hyper_width)
        if network.startswith("parameters"):
            # First predictions: about zero, a scale of a bin; equal shares.
            for name in arrays.keys() & {"w2", "w3"}:
                networks[network][name] *= np.float32(0.1)
    networks["gains"] = gain_tables.initial(config.rates.lmbdas, config.transform.latents)
    if config.training.start == "transform":
        _begin_as_transform(networks, config)
    return networks


def _begin_as_transform(networks: dict, config: ReferenceConfig) -> None:
    """Analysis and synthesis, and what the entropy model knows of their latents."""
    lmbdas, latents = config.rates.lmbdas, config.transform.latents
    deviations = karhunen_loeve.begin(networks["analysis"], networks["synthesis"], signs=(1,))
    networks["gains"], log2_scales = karhunen_loeve.scaled(deviations, lmbdas, latents)
    networks["parameters0"]["b2"][latents : latents + len(log2_scales)] = log2_scales
    for network in ("hyper_analysis", "context", "reference"):
        if network in networks:
            seen = networks[network]["w0"]
            taps = seen.shape[1] // latents
            networks[network]["w0"] = karhunen_loeve.tamed(seen, taps, log2_scales)


def _initial(rng, network: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    kind = name.rstrip("0123456789")
    if kind in ("beta", "gamma", "nu", "tau"):
        return normalization.initial(shape[0])[kind]
    if kind != "w":
        return np.zeros(shape, np.float32)
    # What a layer of shape[1] inputs hands on: the taps times the outputs.
    taps = 25 if network in ("analysis", "synthesis") else 1
    scale = np.sqrt(2 / (shape[1] + taps * shape[0]))
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def bounded(networks: dict) -> dict:
    """The networks with the parameters of their normalizations within bounds."""
    bounds = {"beta": normalization.VECTOR_BOUND, "gamma": normalization.MATRIX_BOUND}
    bounds |= {"nu": normalization.VECTOR_BOUND, "tau": normalization.MATRIX_BOUND}

    def array(name: str, value):
        bound = bounds.get(name.rstrip("0123456789"))
        return value if bound is None else quantizers.lower_bound(value, bound)

    return {
        network: {name: array(name, value) for name, value in arrays.items()}
        for network, arrays in networks.items()
    }


# -- Global reference ------------------------------------------------------------------------------


class Reference(NamedTuple):
    """Where each position, in raster order, looks."""

    index: jax.Array  # int32 [n]: raster index of the most similar candidate
    similarity: jax.Array  # float32 [n]: their cosine, 0 for no reference


def seen(y: jax.Array, config: ReferenceConfig) -> jax.Array:
    """What positions see of each other: of a checkerboard the anchors alone."""
    if config.entropy.context == "causal":
        return y
    return y * anchors(*y.shape[1:])[None].astype(y.dtype)


def search(y: jax.Array, config: ReferenceConfig) -> Reference:
    """The most similar decoded place of every position (Eq. 4); y [latents, rows, columns].

    Anchors of a checkerboard have nothing to be compared by: they have no reference and are none.
    """
    _, rows, columns = y.shape
    n = rows * columns
    q = gather(seen(y, config), NEIGHBORS[config.entropy.context].query)  # (4 * latents, n)
    q = q * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(q), axis=0), 1e-12))[None]
    wave = np.empty(n, np.int32)
    positions, _, first, _ = order(rows, columns, config.order, config.entropy.context)
    wave[positions] = first
    wave = jnp.asarray(wave)

    def targets(part):
        q_part, wave_part = part
        cosines = q_part @ q
        cosines = jnp.where(wave[None] < wave_part[:, None], cosines, -1.0)
        return jnp.argmax(cosines, axis=1).astype(jnp.int32), jnp.max(cosines, axis=1)

    if n <= SEARCH_ROWS:
        index, best = targets((q.T, wave))
    else:
        extra = -n % SEARCH_ROWS
        parts = jnp.pad(q.T, ((0, extra), (0, 0))).reshape(-1, SEARCH_ROWS, len(q))
        waves = jnp.pad(wave, (0, extra)).reshape(-1, SEARCH_ROWS)
        index, best = (a.reshape(-1)[:n] for a in jax.lax.map(targets, (parts, waves)))
    return Reference(index, jnp.maximum(best, 0.0))


# -- Rates -----------------------------------------------------------------------------------------


class Prediction(NamedTuple):
    """What the entropy model says of every latent, after each of its stages."""

    stages: list[tuple[jax.Array, jax.Array]]  # means and log2 scales in bins: [latents, n] each
    shares: list[jax.Array]  # of the stages in a mixture, [latents, n] each; [] without
    reference: Reference | None
    confidence: jax.Array | None  # float32 [n], of each position's reference


def _split(predicted: jax.Array) -> tuple[jax.Array, jax.Array]:
    mean, log2_scale = jnp.split(predicted, 2)
    return mean, jnp.clip(log2_scale, MIN_LOG2_SCALE, MAX_LOG2_SCALE)


def predict(networks: dict, y: jax.Array, z: jax.Array | None, config: ReferenceConfig):
    """Distributions of latents from the rounded latents before them and the hyper-latents.

    y [latents, rows, columns], z [hyper_width, rows / 4, columns / 4] or None without hyperprior.
    """
    layer = strided.arithmetic(networks)
    y = jnp.clip(y, -LATENT_LIMIT, LATENT_LIMIT)
    neighbors, mixture = NEIGHBORS[config.entropy.context], config.entropy.distribution == "mixture"
    features, predicted, stages, shares = [], None, [], []
    reference = confidence = gain = None
    for i, stage in enumerate(config.entropy.stages):
        if stage == "context":
            context = layer.taps("context", 0, seen(y, config), neighbors.context)
            features.append(context.reshape(len(y), -1))
        elif stage == "reference":
            known = jax.lax.stop_gradient(y)
            reference = search(known, config)
            gain = reference.similarity
            if config.entropy.confidence:
                bits = distributions.gaussian_bits(known.reshape(len(y), -1), *stages[0])
                mass = jnp.mean(jnp.exp2(-jax.lax.stop_gradient(bits)), axis=0)
                confidence = mass[reference.index]
                gain = gain * confidence
            fetched = gather(known, neighbors.fetched)[:, reference.index]
            features.append(layer.scale(layer.dense("reference", 0, fetched), gain))
        else:
            assert z is not None
            z = jnp.clip(z, -LATENT_LIMIT, LATENT_LIMIT)
            features.append(wiring.hyper_synthesis(layer, z))
        predicted, log2_share = wiring.predict(layer, i, features, predicted, mixture)
        stages.append(_split(predicted))
        if log2_share is not None:
            share = jnp.exp2(jnp.clip(log2_share, -MAX_LOG2_SHARE, MAX_LOG2_SHARE))
            shares.append(layer.scale(share, gain) if stage == "reference" else share)
    total = sum(shares)
    return Prediction(stages, [share / total for share in shares], reference, confidence)


def latent_bits(y: jax.Array, prediction: Prediction) -> list[jax.Array]:
    """Bits of all latents after each stage, scalars, or of the mixture of all stages.

    y [latents, rows, columns].
    """
    flat = y.reshape(len(y), -1)
    if prediction.shares:
        return [jnp.sum(distributions.mixture_bits(flat, prediction.stages, prediction.shares))]
    return [jnp.sum(distributions.gaussian_bits(flat, *stage)) for stage in prediction.stages]


def hyper_bits(networks: dict, z: jax.Array) -> jax.Array:
    """Bits of the hyper-latents [hyper_width, rows, columns]."""
    prior = networks["hyper_latents"]
    if "frequencies" in prior:
        return jnp.sum(factorized.bits(prior, z.reshape(len(z), -1)))
    scale = jnp.clip(prior["log2_scale"], MIN_LOG2_SCALE, MAX_LOG2_SCALE)
    flat = z.reshape(len(z), -1)
    return jnp.sum(distributions.gaussian_bits(flat, prior["mean"][:, None], scale[:, None]))


# -- Training --------------------------------------------------------------------------------------


def training_loss(networks: dict, signal, key, progress, config: ReferenceConfig):
    """(loss, Aux) of one crop [3, crop, crop] at a random trade-off.

    progress: share of the training that is done. Minnen and Singh's mixed quantization: the
    decoder, the context and the search see rounded latents, the rate is that of noisy ones.
    """
    networks = bounded(networks)
    key_rate, key_y, key_z = jax.random.split(key, 3)
    lmbdas = jnp.asarray(config.rates.lmbdas, jnp.float32)
    index = jax.random.randint(key_rate, (), 0, len(lmbdas))
    lmbda, rate = lmbdas[index], index.astype(jnp.float32)

    layer, table = strided.arithmetic(networks), networks["gains"]
    y = wiring.analysis(layer, networks, signal) * gain_tables.gains(table["encoder"], rate)
    rounded = quantizers.round_straight_through(y)
    bits_z, z = jnp.zeros(()), None
    if config.entropy.hyperprior:
        z = wiring.hyper_analysis(layer, y)
        bits_z = hyper_bits(networks, z + jax.random.uniform(key_z, z.shape) - 0.5)
        z = quantizers.round_straight_through(z)
    noisy = y + jax.random.uniform(key_y, y.shape) - 0.5
    bits = latent_bits(noisy, predict(networks, rounded, z, config))
    scaled = rounded * gain_tables.gains(table["decoder"], rate)
    image = wiring.synthesis(layer, networks, scaled)
    if config.training.objective == "mse":
        distortion = jnp.mean(jnp.square(image - signal))
    else:
        distortion = 1 - structural.ms_ssim(image, signal)
    weights = stage_weights(progress, config)
    pixels = signal[0].size
    weighted = sum((w * r for w, r in zip(weights, bits, strict=True)), bits_z) / pixels
    # Divided by what losses grow with, so that no trade-off drowns the others' gradients.
    loss = (distortion + lmbda * weighted) / lmbda**0.65
    return loss, Aux(distortion, bits[-1] + bits_z)


def training_crops(step: int, config: ReferenceConfig) -> tuple[int, int]:
    del step
    return 0, config.training.crop


def training_lr(step, config: ReferenceConfig):
    return config.training.lr * schedules.warm_cosine(step, config.training.steps)


def stage_weights(progress, config: ReferenceConfig) -> list[jax.Array]:
    """Of each stage's rate in the loss (5.1); a mixture has one rate."""
    warm, after = config.training.last_weights
    others = len(config.entropy.stages) - 1
    if not others or config.entropy.distribution == "mixture":
        return [jnp.ones(())]
    last = jnp.where(progress < config.training.warm_up, warm, after)
    return [(1 - last) / others] * others + [last]
