"""From a fitted group to the integers of a file: what its folded network adds to the base."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from overfit.coding import parameters
from overfit.methods.upsampler import model
from overfit.methods.upsampler.architecture import is_shift, parameter_shapes
from overfit.methods.upsampler.config import Config
from overfit.methods.upsampler.inference import Network

EXPONENTS = tuple(range(15))  # steps 2^0 to 2^-14
_SAMPLES = 8  # patches that candidates are compared on


def lmbda_of(qp: float) -> float:
    """What a bit is worth to a video encoder at that quantizer, in squared error of pixels in 0..1.

    0.85 * 2^((QP - 12) / 3) in 8-bit units: Wiegand et al., "Rate-constrained coder control and
    comparison of video coding standards", IEEE TCSVT 2003.
    """
    return 0.85 * 2 ** ((qp - 12) / 3) / 255**2


@functools.partial(jax.jit, static_argnames="config")
def _folded(params, signal, config: Config):
    return model.folded(params, signal, config)


@functools.partial(jax.jit, static_argnames="config")
def _distortions(candidates, known, signal, config: Config):
    """Of each of a stack of deltas: weighted MSE of 8-bit pixels, on the same random patches."""
    patches = model.random_patches(jax.random.key(0), signal, 1.0, _SAMPLES, config)

    def one(delta):
        network = jax.tree.map(jnp.add, known, delta)
        error = model.restored(network, patches, config) - patches.original
        return model.weighted(error)

    return jax.lax.map(one, candidates)


def quantize(params, base: Network | None, signal, lmbda: float, config: Config, search):
    """{network: {array: Quantized}}: what a folded network adds to the base, or to nothing.

    The steps of all arrays are searched for the least D + lmbda * R, R in bits per pixel of the
    group. search: `engine.parameter_steps.search`; signal: `model.Signal`.
    """
    signal = model.Signal(*map(jnp.asarray, signal))
    folded = jax.tree.map(np.asarray, _folded(params, signal, config))
    shapes = parameter_shapes(config)
    known = base or {
        name: {array: np.zeros(shape, np.float32) for array, shape in own.items()}
        for name, own in shapes.items()
    }
    deltas = {
        f"{name}.{array}": folded[name][array] - known[name][array]
        for name, own in shapes.items()
        for array in own
    }

    def cost(candidates):
        return np.asarray(_distortions(_nested(candidates), known, signal, config), np.float64)

    frames, _, rows, columns = signal.original.shape
    per_bit = lmbda / (4 * frames * rows * columns)
    found = search(
        deltas,
        is_shift,
        cost,
        per_bit,
        lambda name, array, e: parameters.quantize(array, e),
        parameters.bits,
        EXPONENTS,
    )
    return _nested(found)


def _nested(flat: dict) -> dict:
    """{"network.array": value} as {network: {array: value}}."""
    result: dict = {}
    for path, value in flat.items():
        name, _, array = path.partition(".")
        result.setdefault(name, {})[array] = value
    return result
