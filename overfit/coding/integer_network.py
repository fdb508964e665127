"""The entropy network in exact integer arithmetic: the same models on every machine.

A parameter is an integer times a power of two, k * 2^-e. Activations are fixed point with 10
fractional bits, accumulations are integers below 2^53, rescaling is a rounding shift, GELU a table.
NumPy holds the integers in float64, where sums and products of them are exact in any order, so BLAS
may use any number of threads and any instruction set. docs/format.md gives every step.
"""

import functools
import zlib
from typing import NamedTuple

import numpy as np

from overfit.coding import laplace

WEIGHT_BITS = 16  # fractional bits of a parameter: exponents e are 0 .. 16
ACTIVATION_BITS = 10
STEP_BITS = 16  # fractional bits of the quantization step
MAX_PARAMETER = 1 << 20  # |k * 2^(16 - e)|: parameters stay below 16 in magnitude
MAX_CONTEXT = (1 << 11) - 1  # |latent| as the network sees it
MAX_ACTIVATION = 1 << 25
_GELU_RANGE = 8 << ACTIVATION_BITS
_GELU_CRC = 0xC7ED7C44


def exact_gelu() -> np.ndarray:
    """2^10 * gelu(x / 2^10) before rounding, for x in [-8 * 2^10, 8 * 2^10); float64."""
    x = np.arange(-_GELU_RANGE, _GELU_RANGE) / (1 << ACTIVATION_BITS)
    return (
        (x * (1 << ACTIVATION_BITS))
        * 0.5
        * (1 + np.tanh(0.7978845608028654 * (x + 0.044715 * x**3)))
    )


@functools.cache
def gelu_table() -> np.ndarray:
    """`exact_gelu` rounded to integers, as float64 [2^14]."""
    table = np.floor(exact_gelu() + 0.5)
    if zlib.crc32(table.astype(">i4").tobytes()) != _GELU_CRC:
        raise RuntimeError(
            "the GELU table differs from the one of the format: this machine's tanh() is off by "
            "more than any correct one; files made here would not decode elsewhere"
        )
    return table


def _gelu(x: np.ndarray) -> np.ndarray:
    index = x.astype(np.int64)
    index += _GELU_RANGE
    y = gelu_table().take(index, mode="clip")
    if x.size and np.maximum.reduce(x, axis=None) >= _GELU_RANGE:
        y += np.maximum(x - (_GELU_RANGE - 1), 0.0)
    return y


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


ACTIVATIONS = {"gelu": _gelu, "relu": _relu}


def shift(x: np.ndarray, bits: int) -> np.ndarray:
    """x * 2^-bits rounded to the nearest integer, halves up."""
    return np.floor(x * 2.0**-bits + 0.5)


def _clamped(x: np.ndarray, limit: int) -> np.ndarray:
    # Two ufuncs are faster than np.clip on the small arrays of a wave.
    return np.minimum(np.maximum(x, -limit), limit)


class Layer(NamedTuple):
    """w [out, in] and what is done to its sums: floor(gain * (w @ x) + b), b [out, 1]; float64.

    These are the format's integers with the rounding shift in them: gain, b and the w of all layers
    but the first are multiplied by 2^-bits, and b has the half that rounds. Powers of two change no
    digit, so every operation is as exact as on integers.
    """

    w: np.ndarray
    gain: float  # 1 where w has it
    b: np.ndarray
    modulation: tuple[np.ndarray, np.ndarray] | None  # of FiLM, likewise: (gain, b), [out, 1]
    clamp: bool  # False where no context can drive the outputs beyond MAX_ACTIVATION


class IntegerNetwork(NamedTuple):
    """The entropy network of one grid, ready to run."""

    layers: tuple[Layer, ...]
    activation: str
    location_gain: float  # of raw outputs to locations in 1/32 bins: 2^-21 * (2^16 / step)
    scale_offset: float  # scale index of a raw output of 0, and the half that rounds
    max_scale_index: int


# The scale is exp(-(raw + shift) / 2), so its index falls by 8 / (2 ln 2) per unit of the output.
SCALE_SLOPE = round(laplace.SCALE_UNITS / (2 * np.log(2)) * (1 << 14))
_INDEX_BITS = 24  # fractional bits of an index before it is rounded
_SCALE_MAX = 150.0  # C3's upper clip of the scale, before division by the step
_UNIT = 2.0**-WEIGHT_BITS


def build(parameters, activation: str, q_units: tuple[int, int], log_scale_shift: int):
    """parameters: per layer a dict of (k, e) with the keys w, b and, for FiLM, scale and shift.

    q_units: the quantization step as an exact fraction (numerator, denominator).
    """
    numerator, denominator = q_units
    last = len(parameters) - 1
    layers = []
    # Largest magnitude of a layer's inputs, times what the accumulator's shift takes off.
    reach = MAX_CONTEXT * 2.0 ** (ACTIVATION_BITS - WEIGHT_BITS)
    for i, layer in enumerate(parameters):
        accumulator = WEIGHT_BITS + (STEP_BITS if i == 0 else ACTIVATION_BITS)
        modulation = None
        if "scale" in layer and i < last:
            shift_bits = WEIGHT_BITS + ACTIVATION_BITS
            modulation = (
                _fixed(layer["scale"], WEIGHT_BITS)[:, None] * _UNIT,
                _fixed(layer["shift"], shift_bits)[:, None] * _UNIT + 0.5,
            )
        bias = _fixed(layer["b"], accumulator)[:, None]
        w = _fixed(layer["w"], WEIGHT_BITS)
        reach = np.abs(w).sum(axis=1).max() * reach + np.abs(bias).max() * 2.0 ** (
            ACTIVATION_BITS - accumulator
        )
        clamp = modulation is not None or reach >= MAX_ACTIVATION - 1
        step = ((numerator << STEP_BITS) + denominator // 2) // denominator
        unit = 2.0 ** (ACTIVATION_BITS - accumulator)
        w, gain = (w, step * unit) if i == 0 else (w * unit, 1.0)
        layers.append(Layer(w, gain, bias * unit + 0.5, modulation, bool(clamp)))
        reach = min(reach + 1, MAX_ACTIVATION) * 2.0**-WEIGHT_BITS
    log2_step = np.log2(numerator / denominator)
    units, least = laplace.SCALE_UNITS, laplace.MIN_LOG2_SCALE
    offset = units * (-least - log2_step) * 2.0**_INDEX_BITS
    offset = int(np.floor(offset + 0.5)) - (SCALE_SLOPE * log_scale_shift << ACTIVATION_BITS)
    return IntegerNetwork(
        tuple(layers),
        activation,
        # ACTIVATION_BITS + STEP_BITS fractional bits, of which 5 stay: 1/32 of a bin.
        ((denominator << STEP_BITS) // numerator) * 2.0 ** (5 - ACTIVATION_BITS - STEP_BITS),
        offset * 2.0**-_INDEX_BITS + 0.5,
        int(units * (np.log2(_SCALE_MAX) - log2_step - least)),
    )


def _fixed(parameter: tuple[np.ndarray, int], bits: int) -> np.ndarray:
    k, e = parameter
    return k.astype(np.float64) * 2.0 ** (bits - e)


def predict(network: IntegerNetwork, context: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(location in 1/32 bins, scale index), int64 [n], from latents in bins, float64 [taps, n].

    Latents in the context must be within MAX_CONTEXT, see `seen`.
    """
    x = context
    last = len(network.layers) - 1
    for i, layer in enumerate(network.layers):
        x = layer.w @ x
        if layer.gain != 1.0:
            x *= layer.gain
        x += layer.b
        np.floor(x, out=x)
        if layer.clamp:
            x = _clamped(x, MAX_ACTIVATION)
        if i < last:
            if layer.modulation is not None:
                gain, b = layer.modulation
                x *= gain
                x += b
                x = _clamped(np.floor(x, out=x), MAX_ACTIVATION)
            x = ACTIVATIONS[network.activation](x)
    location = np.floor(x[0] * network.location_gain + 0.5)
    index = np.floor(x[1] * (-SCALE_SLOPE * 2.0**-_INDEX_BITS) + network.scale_offset)
    index = np.minimum(np.maximum(index, 0), network.max_scale_index)
    return location.astype(np.int64), index.astype(np.int64)


def seen(latents: np.ndarray) -> np.ndarray:
    """Latents in bins as contexts have them: within MAX_CONTEXT."""
    return _clamped(latents, MAX_CONTEXT)
