"""Batch normalization: in the fit by each batch, in a file folded into the convolutions.

A layer normalizes its input to (x - mean) / deviation + beta before it convolves. The factor that
batch normalization usually learns is left out, as the convolution behind it has it already. Both
are the same as convolving x - shift by weights / deviation with

    shift = mean - beta * deviation

borders included: the zeros around a 3x3 convolution are zeros of x - shift. A folded network has
these weights and shifts. A fit has weights and betas; it can begin at a folded network by the
inverse, for which only its group's mean and deviation are needed.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from overfit.methods.upsampler.architecture import networks
from overfit.methods.upsampler.config import Config

_EPSILON = 1e-5  # added to variances, as PyTorch does
_LARGEST = 4.0  # weight or beta that a fit begins with: a few times what fits end with
_CONSTANT = 1e-6  # of the mean square: what float32 cannot tell from no variance

Params = dict[str, dict[str, jax.Array]]  # {network: {array: values}}


class Moments(NamedTuple):
    """Of the input of one layer; arrays [channels]."""

    mean: jax.Array
    square: jax.Array  # mean of the squares

    @property
    def deviation(self) -> jax.Array:
        """1 of a channel that is constant up to rounding: a group whose successor has it in use (a
        group of one frame has one t) must not leave weights and shifts to it that explode there.
        """
        variance = jnp.maximum(self.square - jnp.square(self.mean), 0.0)
        constant = variance < _CONSTANT * (1e-2 + self.square)
        return jnp.where(constant, 1.0, jnp.sqrt(variance + _EPSILON))


Statistics = dict[tuple[str, int], Moments]  # by network and layer


def statistics(network: Params, config: Config) -> Statistics:
    """Those that stand beside the parameters, as "mean{i}" and "square{i}"."""
    return {
        (name, i): Moments(network[name][f"mean{i}"], network[name][f"square{i}"])
        for name, own in networks(config).items()
        for i, layer in enumerate(own)
        if layer.normalized
    }


def parameters(network: Params, config: Config) -> Params:
    """What `statistics` leaves."""
    return {
        name: {a: v for a, v in network[name].items() if not a.startswith(("mean", "square"))}
        for name in networks(config)
    }


def moments(x) -> Moments:
    """Of x [channels, batch, rows, columns]."""
    return Moments(x.mean((1, 2, 3)), jnp.square(x).mean((1, 2, 3)))


def _folded(layer, weights, beta, own: Moments):
    """(weights, shift) of one layer."""
    factor = 1.0 / own.deviation
    return weights * _by_input(layer, factor), own.mean - beta * own.deviation


def _by_input(layer, factor):
    """A factor per input channel, as one of the layer's weights."""
    return factor[:, None] if layer.kind == "D" else factor[None, :]


def by_batch(params: Params, config: Config) -> Callable:
    """`wiring.Weights` of a fit: each layer is folded with the moments of its own input."""
    found = networks(config)

    def weights(name, i, x):
        layer, own = found[name][i], params[name]
        if not layer.normalized:
            return own[f"w{i}"], None
        return _folded(layer, own[f"w{i}"], own[f"beta{i}"], moments(x))

    return weights


def folded(network: Params) -> Callable:
    """`wiring.Weights` of a folded network."""

    def weights(name, i, x):
        del x
        return network[name][f"w{i}"], network[name].get(f"shift{i}")

    return weights


def observed(weights: Callable, config: Config) -> tuple[Callable, Statistics]:
    """The same weights, and a dict that holds the moments of all normalized layers after a run."""
    found, seen = networks(config), {}

    def observing(name, i, x):
        if found[name][i].normalized:
            seen[name, i] = moments(x)
        return weights(name, i, x)

    return observing, seen


def fold(params: Params, statistics: Statistics, config: Config) -> Params:
    """The folded network of a fit."""
    result: Params = {}
    for name, own in networks(config).items():
        result[name] = {}
        for i, layer in enumerate(own):
            w = params[name][f"w{i}"]
            if layer.normalized:
                w, shift = _folded(layer, w, params[name][f"beta{i}"], statistics[name, i])
                result[name] |= {f"w{i}": w, f"shift{i}": shift}
            else:
                result[name][f"w{i}"] = w
    return result


def unfold(network: Params, found: dict, config: Config) -> Params:
    """The inverse of `fold`, as far as that gives parameters of a size that fits have.

    A channel that varies far more than where the network comes from would have others: its weights
    are then made smaller together.

    found: {(network, layer): (mean, deviation) of its input}.
    """
    result: Params = {}
    for name, own in networks(config).items():
        result[name] = {}
        for i, layer in enumerate(own):
            w = network[name][f"w{i}"]
            if layer.normalized:
                mean, deviation = found[name, i]
                w = w * _by_input(layer, deviation)
                largest = jnp.abs(w).max(axis=1 if layer.kind == "D" else 0)
                w = w * _by_input(layer, jnp.minimum(1.0, _LARGEST / (largest + 1e-9)))
                beta = (mean - network[name][f"shift{i}"]) / deviation
                result[name] |= {f"w{i}": w, f"beta{i}": beta.clip(-_LARGEST, _LARGEST)}
            else:
                result[name][f"w{i}"] = w
    return result


def mean_statistics(all_of_them: Statistics) -> Statistics:
    """Of equally large parts, each entry [parts, channels], the moments of the whole."""
    return jax.tree.map(lambda values: values.mean(0), all_of_them)
