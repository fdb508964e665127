"""From fitted floats to the integers of a file: rounded latents, networks with searched steps."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from overfit.coding import integer_network, parameters
from overfit.methods.c3 import model, samples
from overfit.methods.c3.architecture import is_bias, parameter_shapes
from overfit.methods.c3.codec import Code
from overfit.methods.c3.config import C3Config
from overfit.nn import vectors

EXPONENTS = tuple(range(1, 15))  # steps 2^-1 to 2^-14; C3 searches 1e-2 to 5e-5


@functools.partial(jax.jit, static_argnames=("shapes", "config"))
def _rates(candidates, latents_in_bins, masks, shapes, config: C3Config):
    """Latent bits under each of a stack of entropy networks: [candidates]."""
    return jax.lax.map(
        lambda weights: model.latent_bits(weights, latents_in_bins, shapes, config, masks),
        candidates,
    )


@functools.partial(jax.jit, static_argnames=("shapes", "config"))
def _distortions(candidates, latents_in_bins, signal, places, shapes, config: C3Config):
    """Of the 8-bit image under each of a stack of synthesis networks: [candidates]."""
    planes = vectors.split(config.latents.q_step * latents_in_bins, shapes)
    shape, original = samples.shape_of(signal), samples.planes_of(signal)

    def distortion(weights):
        image = model.synthesize(weights, planes, shape, config, places)
        shown = [jnp.round(255 * plane) / 255 for plane in samples.planes_shown(image, config)]
        return samples.distortion(tuple(shown), original, config)

    return jax.lax.map(distortion, candidates)


@functools.partial(jax.jit, static_argnames=("shapes", "config"))
def _rounded(latents, shapes, config: C3Config):
    return jnp.round(model.bins(latents, shapes, config))


def quantize(params, base, signal, lmbda: float, config: C3Config, search) -> Code:
    """Rounds the latents and searches the networks' steps for the least D + lmbda * R (Eq. 24).

    search: `engine.parameter_steps.search`. The entropy network changes only the rate of the
    latents and the synthesis only the distortion, so that they are searched one after the other.
    """
    channels, *size = samples.shape_of(signal)
    shapes = config.latents.shapes(*size)
    in_bins, masks = _rounded(params["latents"], shapes, config), params.get("masks")
    places = params.get("places")
    per_bit = lmbda / math.prod(size)

    def rate_cost(candidates):
        return per_bit * np.asarray(_rates(candidates, in_bins, masks, shapes, config), np.float64)

    def distortion_cost(candidates):
        found = _distortions(candidates, in_bins, signal, places, shapes, config)
        return np.asarray(found, np.float64)

    costs = {"entropy": rate_cost, "synthesis": distortion_cost}
    quantized = {}
    for network, arrays in parameter_shapes(config, channels).items():
        floats = {name: np.asarray(params[network][name]) for name in arrays}
        if network == "entropy":
            # The integer network bounds its parameters; no sensible fit comes near.
            limit = integer_network.MAX_PARAMETER / 2**integer_network.WEIGHT_BITS
            floats = {name: np.clip(array, -limit, limit) for name, array in floats.items()}
        priors = base.network(network) if base is not None else {}
        quantized[network] = search(
            floats,
            is_bias,
            costs[network],
            per_bit,
            lambda name, array, e, priors=priors: parameters.quantize(array, e, priors.get(name)),
            parameters.bits,
            EXPONENTS,
        )
    latents = [
        np.asarray(plane, np.int32)
        for plane in vectors.split(np.asarray(in_bins).astype(np.int32), shapes)
    ]
    return Code(config, (channels, *size), quantized, latents, _integers(masks), _integers(places))


def _integers(pairs) -> tuple[tuple[int, int], ...]:
    """Of places that a fit keeps as floats; none for None."""
    return () if pairs is None else tuple((int(a), int(b)) for a, b in np.asarray(pairs))
