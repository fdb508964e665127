"""The C3 model as it is fitted: latents, entropy model, synthesis, loss. Floats, JAX.

Its exact integer twin, which files are made with, is codec.py; tests hold the two together.
Shapes: signal [channels, height, width] float32 in [0, 1]; params is a dict of
    latents   [num_latents]: all grids one after the other, finest first, each row by row
    entropy   {w0, b0, ...}, a leading grid axis on every array if per_grid is "separate",
              and {scale0, shift0, ...} [grids, width] if it is "film"
    synthesis {w0, b0, ...}, {residual_w0, residual_b0, ...}, {upsampling [8, 8]} if learned
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from overfit.method import Anneal, Aux
from overfit.methods.c3.architecture import (
    causal_offsets,
    coding_order,
    entropy_sizes,
    full_offsets,
    synthesis_sizes,
)
from overfit.methods.c3.codec import check_size
from overfit.methods.c3.config import C3Config
from overfit.nn import distributions, primitives, quantizers
from overfit.nn.raster import Raster, raster, to_raster
from overfit.nn.resize import resize_matrix

SCALE_MIN, SCALE_MAX = 1e-3, 150.0  # of the Laplace distribution, before division by q_step


# -- Initialization --------------------------------------------------------------------------------


def _layers(key, sizes: tuple[int, ...]) -> dict[str, jax.Array]:
    """w [out, in] from a normal of deviation fan_in^-1/2 truncated at two deviations, b zero."""
    weights = {}
    for i, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        normal = jax.random.truncated_normal(jax.random.fold_in(key, i), -2, 2, (fan_out, fan_in))
        weights[f"w{i}"] = normal / math.sqrt(max(fan_in, 1))
        weights[f"b{i}"] = jnp.zeros(fan_out)
    return weights


def init(key, signal, base, config: C3Config):
    """Parameters to start from: zero latents, random networks, zero residual layers (A.1).

    The networks are the base's, if there is one. Raises UserError for an image that no file can
    hold, before anything is fitted.
    """
    channels, height, width = signal.shape
    check_size(width, height)
    latents = jnp.zeros(sum(h * w for h, w in config.latents.shapes(height, width)))
    if base is not None:
        return {"latents": latents} | {n: dict(arrays) for n, arrays in base.networks.items()}
    key_entropy, key_synthesis = jax.random.split(key)
    sizes = entropy_sizes(config)
    if config.entropy.per_grid == "separate":
        keys = jax.random.split(key_entropy, config.latents.num_grids)
        entropy = jax.vmap(lambda k: _layers(k, sizes))(keys)
    else:
        entropy = _layers(key_entropy, sizes)
    if config.entropy.per_grid == "film":
        for i, size in enumerate(config.entropy.widths):
            entropy[f"scale{i}"] = jnp.ones((config.latents.num_grids, size))
            entropy[f"shift{i}"] = jnp.zeros((config.latents.num_grids, size))
    synthesis = _layers(key_synthesis, synthesis_sizes(config, channels))
    for i in range(config.synthesis.residual_layers):
        synthesis[f"residual_w{i}"] = jnp.zeros((channels, 9 * channels))
        synthesis[f"residual_b{i}"] = jnp.zeros(channels)
    if config.synthesis.upsampling == "learned":
        synthesis["upsampling"] = jnp.asarray(bicubic_kernel(), jnp.float32)
    return {"latents": latents, "entropy": entropy, "synthesis": synthesis}


def bicubic_kernel() -> np.ndarray:
    """[8, 8] transposed-convolution kernel that doubles a plane bicubically."""
    # Response to one sample, far from the edges: a column of the resize matrix.
    response = resize_matrix(9, 18, "bicubic")[5:13, 4]
    return np.outer(response, response)


# -- Latents ---------------------------------------------------------------------------------------


def gains(shapes, octaves) -> np.ndarray:
    """[num_latents]: grid k is multiplied by 2^octave, so that coarse grids move faster."""
    return np.concatenate(
        [np.full(h * w, 2.0**k, np.float32) for (h, w), k in zip(shapes, octaves, strict=True)]
    )


def bins(latents, shapes, config: C3Config):
    """Continuous latents in units of the quantization step: [num_latents]."""
    return latents * jnp.asarray(gains(shapes, config.latents.octaves()) / config.latents.q_step)


def quantized(latents, shapes, key, anneal: Anneal, config: C3Config):
    """Latents in bins as the stage has them: noisy in stage 1, rounded in stage 2."""
    quantizer = config.quantizer

    def stage1(x):
        sample = {
            "kumaraswamy": quantizers.kumaraswamy_noise,
            "gaussian": quantizers.gaussian_noise,
        }[quantizer.noise]
        noise = sample(key, x.shape, anneal.noise)
        if not quantizer.soft_round:
            return x + noise
        y = quantizers.soft_round(x, anneal.temperature) + noise
        return quantizers.soft_round_conditional_mean(y, anneal.temperature)

    def stage2(x):
        if quantizer.gradient == "linear":
            return quantizers.round_linear_gradient(x, quantizer.linear_gradient_scale)
        return quantizers.round_soft_gradient(x, anneal.temperature)

    return jax.lax.cond(anneal.hard, stage2, stage1, bins(latents, shapes, config))


def split(flat, shapes) -> list:
    """Cuts [num_latents] into planes [rows, columns]."""
    planes, position = [], 0
    for h, w in shapes:
        planes.append(flat[position : position + h * w].reshape(h, w))
        position += h * w
    return planes


# -- Entropy model ---------------------------------------------------------------------------------


def previous_planes(planes: list, order: tuple[int, ...]) -> list:
    """For each grid the one coded before it, resized to its shape; zeros for the first coded."""
    previous = [jnp.zeros_like(plane) for plane in planes]
    for before, grid in zip(order[:-1], order[1:], strict=True):
        source, (h, w) = planes[before], planes[grid].shape
        rows = jnp.asarray(resize_matrix(source.shape[0], h), source.dtype)
        columns = jnp.asarray(resize_matrix(source.shape[1], w), source.dtype)
        previous[grid] = rows @ source @ columns.T
    return previous


def laplace_parameters(weights, taps, grid, config: C3Config):
    """(location, scale) in bins of each position: taps [taps, n] in bins -> two arrays [n]."""
    entropy, q_step = config.entropy, config.latents.q_step
    if entropy.per_grid == "separate":
        weights = {name: array[grid] for name, array in weights.items()}
    depth = len(entropy.widths) + 1
    x = q_step * taps
    for i in range(depth):
        x = primitives.linear(weights[f"w{i}"], weights[f"b{i}"], x)
        if i < depth - 1:
            if entropy.per_grid == "film":
                x = weights[f"scale{i}"][grid][:, None] * x + weights[f"shift{i}"][grid][:, None]
            x = primitives.ACTIVATIONS[entropy.activation](x)
    # Eq. 12's scale is exp(-s/2) of the shifted output s, clipped to [SCALE_MIN, SCALE_MAX].
    low, high = -2 * math.log(SCALE_MAX), -2 * math.log(SCALE_MIN)
    # `clamp` because its gradient is a mask; that of `jnp.clip` also shares out ties.
    scale = jnp.exp(-0.5 * jax.lax.clamp(low, x[1] + entropy.log_scale_shift, high))
    return x[0] / q_step, scale / q_step


def context_layout(shapes, config: C3Config) -> Raster:
    margin = max(config.entropy.context, config.entropy.previous, 1)
    positions = shapes[0][0] * (shapes[0][1] + margin)
    if jax.default_backend() != "cpu":
        # Grids are a quarter of each other: sixteen strips in the largest waste little in the rest.
        positions = -(-positions // 16)
    return raster(shapes, margin, primitives.strip_length(positions))


def latent_bits(weights, latents_in_bins, shapes, config: C3Config):
    """Rate of all latents in bits, shape ()."""
    planes = split(latents_in_bins, shapes)
    layout = context_layout(shapes, config)
    offsets = (causal_offsets(config.entropy.context),)
    sources = (to_raster(planes, layout),)
    if config.entropy.previous >= 0:
        offsets += (full_offsets(config.entropy.previous),)
        sources += (to_raster(previous_planes(planes, coding_order(config)), layout),)

    def cost(weights, context, latent, grid):
        loc, scale = laplace_parameters(weights, context, grid, config)
        return distributions.laplace_bits(latent, loc, scale)

    return primitives.neighborhood_sum(cost, layout, offsets, weights, sources)


# -- Synthesis -------------------------------------------------------------------------------------


def upsampled(weights, planes: list, height: int, width: int, config: C3Config):
    """All grids at the image's resolution: [grids, height, width]."""
    if config.synthesis.upsampling == "learned":
        # One pass up the pyramid: all that is coarser is doubled, then this octave's grid joins.
        octaves = config.latents.octaves()
        stack = planes[-1][None]
        for octave in range(octaves[-1] - 1, -1, -1):
            h, w = -(-height // 2**octave), -(-width // 2**octave)
            stack = primitives.upsample_twice(weights["upsampling"], stack)[:, :h, :w]
            if octave >= octaves[0]:
                stack = jnp.concatenate([planes[octave - octaves[0]][None], stack])
        return stack
    up = []
    for plane in planes:
        method = config.synthesis.upsampling
        rows = jnp.asarray(resize_matrix(plane.shape[0], height, method), plane.dtype)
        columns = jnp.asarray(resize_matrix(plane.shape[1], width, method), plane.dtype)
        up.append(plane if plane.shape == (height, width) else rows @ (plane @ columns.T))
    return jnp.stack(up)


def synthesize(weights, planes: list, shape, config: C3Config):
    """Image [channels, height, width] in [0, 1] from latents in units of the signal (not bins)."""
    channels, height, width = shape
    synthesis = config.synthesis
    x = upsampled(weights, planes, height, width, config).reshape(len(planes), -1)
    depth = len(synthesis.widths) + 1

    def network(weights, x):
        return primitives.mlp(weights, x, synthesis.activation, depth)

    layers = {name: weights[name] for i in range(depth) for name in (f"w{i}", f"b{i}")}
    x = jnp.reshape(primitives.pixelwise(network, layers, x), (channels, height, width))
    for i in range(synthesis.residual_layers):
        x = x + primitives.conv(weights[f"residual_w{i}"], weights[f"residual_b{i}"], x)
        if i < synthesis.residual_layers - 1:
            x = primitives.ACTIVATIONS[synthesis.activation](x)
    return jax.lax.clamp(0.0, x, 1.0)


# -- Loss ------------------------------------------------------------------------------------------


def loss(params, base, signal, key, anneal: Anneal, lmbda, config: C3Config):
    """MSE + lmbda * latent bits per pixel (Eq. 4), and both terms.

    With a base the rate also has what the networks' changes cost.
    """
    _, height, width = signal.shape
    shapes = config.latents.shapes(height, width)
    in_bins = quantized(params["latents"], shapes, key, anneal, config)
    bits = latent_bits(params["entropy"], in_bins, shapes, config)
    planes = split(config.latents.q_step * in_bins, shapes)
    image = synthesize(params["synthesis"], planes, signal.shape, config)
    distortion = jnp.mean(jnp.square(image - signal))
    rate = bits if base is None else jnp.add(bits, network_bits(params, base))
    return distortion + lmbda * rate / (height * width), Aux(distortion, bits)


def network_bits(params, base):
    """About what the changes of the networks against their base cost, in bits, shape ()."""
    costs = [
        distributions.change_bits(params[network][name] - center, base.scales[network][name]).sum()
        for network, arrays in base.networks.items()
        for name, center in arrays.items()
    ]
    return jnp.stack(costs).sum()
