"""The C3 model as it is fitted: latents, entropy model, synthesis, loss. Floats, JAX.

Its exact integer twin, which files are made with, is codec.py; tests hold the two together.
Shapes: signal [channels, height, width], or [channels, frames, height, width] of a clip, float32
in [0, 1], or y, u, v of a 4:2:0 clip (samples.py); params is a dict of
    latents   [num_latents]: all grids one after the other, finest first, each row by row
    entropy   {w0, b0, ...}, a leading grid axis on every array if per_grid is "separate",
              and {scale0, shift0, ...} [grids, width] if it is "film"; with a context in the frame
              before {frame_w}, its part of the first layer
    synthesis {w0, b0, ...}, {residual_w0, residual_b0, ...}, {upsampling [8, 8]} if learned
    masks     [masks, 2], with masks only: where they lie, see frame_context.py
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from overfit.method import Anneal, Aux
from overfit.methods.c3 import analysis, frame_context, motion, samples
from overfit.methods.c3.architecture import (
    causal_offsets,
    check_rank,
    coding_order,
    entropy_sizes,
    frame_offsets,
    frame_weight_shape,
    full_offsets,
    num_masks,
    residual_taps,
    synthesis_sizes,
    taps_in_frame,
)
from overfit.methods.c3.codec import check_base, check_size
from overfit.methods.c3.config import C3Config
from overfit.nn import distributions, primitives, quantizers, vectors
from overfit.nn.raster import Raster, raster, to_raster
from overfit.nn.resize import resize_matrix, resized

SCALE_MIN, SCALE_MAX = 1e-3, 150.0  # of the Laplace distribution, before division by q_step


# -- Initialization --------------------------------------------------------------------------------


def _layers(key, sizes: tuple[int, ...]) -> dict[str, jax.Array]:
    """w [out, in] from a normal of deviation fan_in^-1/2 truncated at two deviations, b zero."""
    weights = {}
    for i, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        normal = _truncated_normal(jax.random.fold_in(key, i), (fan_out, fan_in))
        weights[f"w{i}"] = normal / math.sqrt(max(fan_in, 1))
        weights[f"b{i}"] = jnp.zeros(fan_out)
    return weights


def _truncated_normal(key, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.truncated_normal(key, -2, 2, shape)


def _entropy_network(key, config: C3Config, whole_window: bool) -> dict[str, jax.Array]:
    """The entropy networks of all grids; with `whole_window` what masks are found by."""
    entropy, grids = config.entropy, config.latents.num_grids
    own, sizes = taps_in_frame(config), (taps_in_frame(config), *entropy_sizes(config)[1:])
    if entropy.per_grid == "separate":
        weights = jax.vmap(lambda k: _layers(k, sizes))(jax.random.split(key, grids))
    else:
        weights = _layers(key, sizes)
    if entropy.per_grid == "film":
        for i, size in enumerate(entropy.widths):
            weights[f"scale{i}"] = jnp.ones((grids, size))
            weights[f"shift{i}"] = jnp.zeros((grids, size))
    if entropy.frame < 0:
        return weights
    width = 2 * entropy.frame + 1
    taps = width**2 if whole_window else len(frame_offsets(config, 0))
    shape = frame_weight_shape(config, taps)
    frame_w = _truncated_normal(jax.random.fold_in(key, len(sizes)), shape)
    frame_w /= math.sqrt(own + taps)
    # The first layer has as many inputs more, except in grids without a mask.
    more = math.sqrt(own / (own + taps))
    if entropy.mask:
        more = np.where(np.arange(grids) < num_masks(config), more, 1.0)[:, None, None]
    weights["w0"] *= jnp.asarray(more, jnp.float32)
    if whole_window:
        return weights | {"window": frame_w.reshape(*shape[:-1], width, width)}
    return weights | {"frame_w": frame_w}


def init(key, signal, base, config: C3Config, whole_window: bool = False):
    """Parameters to start from: zero latents, random networks, zero residual layers (A.1).

    The networks are the base's, if there is one, and the latents what it makes of the signal.

    whole_window: for the first phase of a fit with masks (masks.py).

    Raises UserError for a signal that no file can hold, or that the settings are not for, before
    anything is fitted.
    """
    channels, *size = samples.shape_of(signal)
    check_size(size, config)
    check_rank(tuple(size), config)
    latents = jnp.zeros(sum(map(math.prod, config.latents.shapes(*size))))
    params: dict = {"latents": latents}
    if config.entropy.mask and not whole_window:
        params["masks"] = frame_context.centered(config)
    if any(config.latents.margin):
        params["places"] = motion.places(signal, config)
    if base is None:
        return params | _random_networks(key, signal, channels, config, whole_window)
    check_base(jax.tree.map(jnp.shape, base.networks), config, channels)
    if analysis.knows(base.encoder, signal, config):
        params["latents"] = analysis.latents(base.encoder, signal, config)
    return params | {network: dict(arrays) for network, arrays in base.networks.items()}


def _random_networks(key, signal, channels: int, config: C3Config, whole_window: bool):
    key_entropy, key_synthesis = jax.random.split(key)
    synthesis = _layers(key_synthesis, synthesis_sizes(config, channels))
    if config.start.mean_color:
        last = f"b{len(config.synthesis.widths)}"
        synthesis[last] = samples.mean_color(signal)
    for i in range(config.synthesis.residual_layers):
        synthesis[f"residual_w{i}"] = jnp.zeros((channels, residual_taps(config) * channels))
        synthesis[f"residual_b{i}"] = jnp.zeros(channels)
    if config.synthesis.upsampling == "learned":
        synthesis["upsampling"] = jnp.asarray(bicubic_kernel(), jnp.float32)
    return {
        "entropy": _entropy_network(key_entropy, config, whole_window),
        "synthesis": synthesis,
    }


def bicubic_kernel() -> np.ndarray:
    """[8, 8] transposed-convolution kernel that doubles a plane bicubically."""
    # Response to one sample, far from the edges: a column of the resize matrix.
    response = resize_matrix(9, 18, "bicubic")[5:13, 4]
    return np.outer(response, response)


# -- Latents ---------------------------------------------------------------------------------------


def gains(shapes, octaves) -> np.ndarray:
    """[num_latents]: grid k is multiplied by 2^octave, so that coarse grids move faster."""
    return np.concatenate(
        [np.full(math.prod(s), 2.0**k, np.float32) for s, k in zip(shapes, octaves, strict=True)]
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
    weights, x = weights | {"w0": q_step * weights["w0"]}, taps  # many more taps than weights
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
    entropy = config.entropy
    frame = entropy.mask - 1 if entropy.mask else entropy.frame
    margin = max(entropy.context, entropy.previous, frame, 1)
    *rows, columns = shapes[0]
    positions = math.prod(rows) * (columns + margin)
    strip = primitives.strip_length(positions) if jax.default_backend() == "cpu" else None
    return raster(shapes, margin, strip)


def latent_bits(weights, latents_in_bins, shapes, config: C3Config, masks=None):
    """Rate of all latents in bits, shape (); masks: where they lie, if there are any."""
    planes = vectors.split(latents_in_bins, shapes)
    layout = context_layout(shapes, config)
    offsets = (causal_offsets(config.entropy.context),)
    sources = (to_raster(planes, layout),)
    if config.entropy.previous >= 0:
        offsets += (full_offsets(config.entropy.previous),)
        sources += (to_raster(previous_planes(planes, coding_order(config)), layout),)
    if config.entropy.frame >= 0:
        weights, more, seen = frame_context.sources(weights, planes, masks, config)
        offsets += more
        sources += tuple(to_raster(source, layout) for source in seen)

    def cost(weights, context, latent, grid):
        loc, scale = laplace_parameters(weights, context, grid, config)
        return distributions.laplace_bits(latent, loc, scale)

    return primitives.neighborhood_sum(cost, layout, offsets, weights, sources)


# -- Synthesis -------------------------------------------------------------------------------------


def upsampled(weights, planes: list, size: tuple[int, ...], config: C3Config):
    """All grids at the resolution of the signal, `size`: [grids, *size]."""
    if config.synthesis.upsampling == "learned":
        # One pass up the pyramid: all that is coarser is doubled, then this octave's grid joins.
        octaves = config.latents.octaves()
        stack = planes[-1][None]
        for octave in range(octaves[-1] - 1, -1, -1):
            h, w = (-(-n // 2**octave) for n in size)
            stack = primitives.upsample_twice(weights["upsampling"], stack)[:, :h, :w]
            if octave >= octaves[0]:
                stack = jnp.concatenate([planes[octave - octaves[0]][None], stack])
        return stack
    return jnp.stack([resized(plane, size, config.synthesis.upsampling) for plane in planes])


def on_frames(x: jax.Array, places, size: tuple[int, ...]) -> jax.Array:
    """What frames show of the canvas: [grids, frames, ..] -> [grids, *size].

    places: of the frames' upper left corners, [frames, 2].
    """
    corners = jax.lax.stop_gradient(places).astype(jnp.int32)
    part = len(x), *size[1:]

    def one(frame):
        plane, (row, column) = frame
        return jax.lax.dynamic_slice(plane, (0, row, column), part)

    return jax.lax.map(one, (x.swapaxes(0, 1), corners)).swapaxes(0, 1)


def synthesize(weights, planes: list, shape, config: C3Config, places=None):
    """Signal of `shape` in [0, 1] from latents in units of the signal (not bins).

    places: of the frames on the canvas, where it has a margin.
    """
    channels, *size = shape
    synthesis = config.synthesis
    *frames, rows, columns = size
    canvas = *frames, *config.latents.canvas(rows, columns)
    x = upsampled(weights, planes, canvas, config)
    if places is not None:
        x = on_frames(x, places, tuple(size))
    x = x.reshape(len(planes), -1)
    depth = len(synthesis.widths) + 1

    def network(weights, x):
        return primitives.mlp(weights, x, synthesis.activation, depth)

    layers = {name: weights[name] for i in range(depth) for name in (f"w{i}", f"b{i}")}
    x = jnp.reshape(primitives.pixelwise(network, layers, x), shape)
    frames = primitives.conv_frames if synthesis.per_frame else primitives.conv_volume
    convolve = primitives.conv if len(size) == 2 else frames
    for i in range(synthesis.residual_layers):
        x = x + convolve(weights[f"residual_w{i}"], weights[f"residual_b{i}"], x)
        if i < synthesis.residual_layers - 1:
            x = primitives.ACTIVATIONS[synthesis.activation](x)
    if len(size) == 3:
        return _to_levels(x)
    return jax.lax.clamp(0.0, x, 1.0)


@jax.custom_vjp
def _to_levels(x):
    """x within [0, 1], with the gradient of x itself where descent leads back into the range.

    The first steps of Adam move all 81 weights of a 3x3x3 convolution by the same amount, which can
    take every sample of a clip out of the range. `clamp` has no gradient there, and the fit would
    never come back. Source of the rule: the lower bounds of Balle et al., "Variational image
    compression with a scale hyperprior", ICLR 2018, as TensorFlow Compression has them.
    """
    return jax.lax.clamp(0.0, x, 1.0)


def _to_levels_backward(x, g):
    back = ((x >= 0) | (g < 0)) & ((x <= 1) | (g > 0))
    return (jnp.where(back, g, 0.0),)


_to_levels.defvjp(lambda x: (_to_levels(x), x), _to_levels_backward)


# -- Loss ------------------------------------------------------------------------------------------


def loss(params, base, signal, key, anneal: Anneal, lmbda, config: C3Config):
    """MSE + lmbda * latent bits per pixel (Eq. 4), and both terms.

    With a base the rate also has what the networks' changes cost.
    """
    shape = samples.shape_of(signal)
    size = shape[1:]
    shapes = config.latents.shapes(*size)
    in_bins = quantized(params["latents"], shapes, key, anneal, config)
    bits = latent_bits(params["entropy"], in_bins, shapes, config, params.get("masks"))
    planes = vectors.split(config.latents.q_step * in_bins, shapes)
    image = synthesize(params["synthesis"], planes, shape, config, params.get("places"))
    shown = samples.planes_shown(image, config)
    distortion = samples.distortion(shown, samples.planes_of(signal), config)
    cost = distortion + lmbda * bits / math.prod(size)
    if base is not None:
        cost += lmbda * network_bits(params, base) / math.prod(size)
    return cost, Aux(distortion, bits)


def network_bits(params, base):
    """About what the changes of the networks against their base cost, in bits, shape ()."""
    costs = [
        distributions.change_bits(params[network][name] - center, base.scales[network][name])
        for network, arrays in base.networks.items()
        for name, center in arrays.items()
    ]
    return jnp.stack(costs).sum()
