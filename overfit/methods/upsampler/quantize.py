"""From a fitted group to the integers of a file: its folded network, or its change of a base."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from overfit.bases.base import Base
from overfit.coding import parameters
from overfit.methods.upsampler import model
from overfit.methods.upsampler.architecture import is_shift, parameter_shapes
from overfit.methods.upsampler.config import Config

EXPONENTS = tuple(range(15))  # steps 2^0 to 2^-14
_SAMPLES = 8  # patches that candidates are compared on


@functools.partial(jax.jit, static_argnames="config")
def _folded(params, signal, config: Config):
    return model.folded(params, signal, config)


@functools.partial(jax.jit, static_argnames="config")
def _distortions(candidates, signal, config: Config):
    """Of each of a stack of networks: weighted MSE of 8-bit pixels, on the same random patches."""
    patches = model.random_patches(jax.random.key(0), signal, 1.0, _SAMPLES, config)

    def one(network):
        error = model.restored(network, patches, config) - patches.original
        return model.weighted(error)

    return jax.lax.map(one, candidates)


def quantize(params, base: Base | None, signal, lmbda: float, config: Config, search):
    """{network: {array: Quantized}}, or {..: Change} where there is a base.

    The steps of all arrays are searched for the least D + lmbda * R, R in bits per pixel of the
    group. search: `engine.parameter_steps.search`; signal: `model.Signal`.
    """
    signal = model.Signal(*map(jnp.asarray, signal))
    folded = jax.tree.map(np.asarray, _folded(params, signal, config))
    arrays = {
        f"{name}/{array}": folded[name][array]
        for name, own in parameter_shapes(config).items()
        for array in own
    }

    def cost(candidates):
        return np.asarray(_distortions(_nested(candidates), signal, config), np.float64)

    def rounded(path, array, e):
        return parameters.quantize(array, e, None if base is None else base.arrays[path])

    frames, _, rows, columns = signal.original.shape
    per_bit = lmbda / (4 * frames * rows * columns)
    found = search(arrays, is_shift, cost, per_bit, rounded, parameters.bits, EXPONENTS)
    return _nested(found)


def _nested(flat: dict) -> dict:
    """{"network/array": value} as {network: {array: value}}."""
    result: dict = {}
    for path, value in flat.items():
        name, _, array = path.partition("/")
        result.setdefault(name, {})[array] = value
    return result
