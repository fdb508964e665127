"""The networks as they are fitted to a group of frames. Floats, JAX.

Their twin in the decoder is inference.py; how they are connected, wiring.py, is common to both.
params and folded networks are {network: {array: float32}}.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from overfit.method import Anneal, Aux
from overfit.methods.upsampler import normalization, wiring
from overfit.methods.upsampler.architecture import check_base, networks, scale
from overfit.methods.upsampler.config import Config
from overfit.methods.upsampler.wiring import Place
from overfit.nn import primitives
from overfit.nn.channelwise import channelwise

CHANNEL_WEIGHTS = (6 / 8, 1 / 8, 1 / 8)  # of Y, U, V in the squared error (4.3)


class Signal(NamedTuple):
    """A group of frames, on the device as it came: pixels in bytes.

    Heights and widths are those of the clip rounded up to multiples of 4: H and W.
    """

    original: jax.Array  # uint8 [T, 6, H/2, W/2]: phases, see wiring.py
    decoded: jax.Array  # uint8 [T, 6, H/4, W/4]; of a base of full resolution as `original`
    blocks: jax.Array  # float16 [T, 6, H/4, W/4], see codecs.blocks; [T, 0, ..] if there are none


def _pointwise(weights, shift, x):
    channels, *others = x.shape
    bias = jnp.zeros(len(weights)) if shift is None else -(weights @ shift)
    y = primitives.linear(weights, bias, x.reshape(channels, -1))
    return y.reshape(-1, *others)


def _channelwise(weights, shift, x):
    return channelwise(weights, x if shift is None else x - shift[:, None, None, None])


OPS = wiring.Ops(jnp, _pointwise, _channelwise)


# -- Initialization --------------------------------------------------------------------------------


def init(key, signal: Signal, base, config: Config):
    """Parameters to start from: the base, or random ones and no residual.

    The networks of a base are folded ones. They are unfolded by the statistics that come with them,
    so that a fit begins as those that the base was learned from; those of a group before have none,
    and with the statistics of this group the networks do what they did. While a base is learned,
    they are those of `averageable`.

    Random weights are PyTorch's default, uniform in +-1 / sqrt(fan_in); those of the last layers
    are zero, so that a fit starts at the bilinear picture.
    """
    if base is not None:
        return _begun(base.networks, signal, config)
    found = networks(config)
    # One draw for all: every draw of another size takes as long to compile as a layer.
    uniform = jax.random.uniform(key, (_weights(found),), minval=-1.0)
    params, taken = {}, 0
    for name, own in found.items():
        params[name] = {}
        for i, layer in enumerate(own):
            count, fan_in = math.prod(layer.weights), layer.weights[1]
            w = uniform[taken : taken + count].reshape(layer.weights) / math.sqrt(fan_in)
            taken += count
            ends = name in ("denoiser", "luma", "chroma") and i == len(own) - 1
            params[name][f"w{i}"] = jnp.zeros_like(w) if ends else w
            if layer.normalized:
                params[name][f"beta{i}"] = jnp.zeros(layer.inputs)
    return params


def _begun(network, signal: Signal, config: Config):
    """Parameters of a base's networks, of whichever kind."""
    names = {name.rstrip("0123456789") for own in network.values() for name in own}
    if "beta" in names:
        return normalization.parameters(network, config)
    check_base(jax.tree.map(jnp.shape, network), config)
    if "deviation" in names:
        found = {
            (name, i): (network[name][f"mean{i}"], network[name][f"deviation{i}"])
            for name, own in networks(config).items()
            for i, layer in enumerate(own)
            if layer.normalized
        }
    else:
        weights = normalization.folded(network)
        seen = _statistics(weights, signal, config, _sparse(signal))
        found = {key: (own.mean, own.deviation) for key, own in seen.items()}
    return normalization.unfold(network, found, config)


def _weights(found) -> int:
    return sum(math.prod(layer.weights) for own in found.values() for layer in own)


# -- Patches ---------------------------------------------------------------------------------------


class Patches(NamedTuple):
    """A batch: [6, batch, rows, columns] each, values 0..1 but for the blocks."""

    original: jax.Array
    decoded: jax.Array
    blocks: jax.Array
    place: Place


def _cut(signal: Signal, frame, top, left, rows: int, columns: int, config: Config) -> Patches:
    """Patches at frame, top, left (int32 [batch]); all but frame in units of z (see wiring.py)."""
    fine = scale(config)  # of a base of full resolution z is the grid of the phases

    def cut(array, factor):
        def one(t, y, x):
            size = (1, array.shape[1], rows * factor, columns * factor)
            return lax.dynamic_slice(array, (t, 0, y * factor, x * factor), size)[0]

        patches = jax.vmap(one)(frame, top, left)  # (batch, channels, rows, columns)
        return patches.astype(jnp.float32).transpose(1, 0, 2, 3)

    frames, _, height, width = signal.decoded.shape
    place = Place(frame, top, left, frames, height, width)
    original, decoded = cut(signal.original, fine) / 255, cut(signal.decoded, 1) / 255
    return Patches(original, decoded, cut(signal.blocks, 1), place)


def random_patches(key, signal: Signal, share, batch: int, config: Config) -> Patches:
    """Patches at random places of the first `share` (0..1) of the frames."""
    frames, _, rows, columns = signal.decoded.shape
    unit = 2 * scale(config)  # px of the clip per position of z
    height = min(config.training.patch_height // unit, rows)
    width = min(config.training.patch_width // unit, columns)
    available = jnp.clip(jnp.ceil(share * frames), 1, frames)
    places = jnp.stack([available, rows - height + 1.0, columns - width + 1.0])
    chosen = jax.random.uniform(key, (3, batch)) * places[:, None]
    # In float32 the product can round up to its bound.
    frame, top, left = jnp.minimum(jnp.floor(chosen), places[:, None] - 1).astype(jnp.int32)
    return _cut(signal, frame, top, left, height, width, config)


def whole_frame(signal: Signal, index, config: Config) -> Patches:
    """A frame as a batch of one; index: int32, shape ()."""
    zero = jnp.zeros((1,), jnp.int32)
    rows, columns = signal.decoded.shape[2:]
    return _cut(signal, index[None], zero, zero, rows, columns, config)


# -- Loss ------------------------------------------------------------------------------------------


def weighted(error):
    """Mean square of an error of phases [6, ..], channels weighted: shape ()."""
    errors = jnp.square(error)
    y, u, v = CHANNEL_WEIGHTS
    return y * errors[:4].mean() + u * errors[4].mean() + v * errors[5].mean()


def loss(params, base, signal: Signal, key, anneal: Anneal, lmbda, config: Config):
    """Weighted MSE on random patches, and the paper's weight decay as a term of its own.

    Its gradient, decay * weights, adds up with that of the error as in PyTorch's Adam. There are
    no latents, and lambda has no part in it. `anneal.noise` is the share of the frames that are
    available (4.5: the first i N / I in step i of I).
    """
    del base, lmbda
    training = config.training
    share = jnp.minimum(anneal.noise, 1.0)
    patches = random_patches(key, signal, share, training.batch, config)
    weights = normalization.by_batch(params, config)
    predicted = wiring.predict(OPS, weights, patches.decoded, patches.blocks, patches.place, config)
    error = weighted(predicted - patches.original)
    squares = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params))
    decay = 0.5 * training.weight_decay * squares
    return error + decay, Aux(error, jnp.zeros(()))


# -- From a fit to a folded network ----------------------------------------------------------------

_SPARSE_FRAMES = 8


def _sparse(signal: Signal):
    """Indices of a few frames, evenly spaced."""
    frames = len(signal.decoded)
    count = min(frames, _SPARSE_FRAMES)
    return (jnp.arange(count, dtype=jnp.int32) * frames) // count


def _statistics(weights, signal: Signal, config: Config, frames):
    """Moments of every normalized layer over those frames."""

    def of_frame(index):
        patches = whole_frame(signal, index, config)
        watching, seen = normalization.observed(weights, config)
        wiring.predict(OPS, watching, patches.decoded, patches.blocks, patches.place, config)
        return seen

    return normalization.mean_statistics(lax.map(of_frame, frames))


def _settled(params, signal: Signal, config: Config):
    """Moments of every normalized layer over the whole group.

    A layer's statistics depend on those of the layers before it. Starting from none at all, each
    pass settles one layer more; a few frames will do for all passes but the last.
    """
    found = networks(config)

    def one_pass(statistics, frames):
        network = normalization.fold(params, statistics, config)
        return _statistics(normalization.folded(network), signal, config, frames)

    start = {
        (name, i): normalization.Moments(jnp.zeros(layer.inputs), jnp.ones(layer.inputs))
        for name, own in found.items()
        for i, layer in enumerate(own)
        if layer.normalized
    }
    few = _sparse(signal)
    statistics = lax.fori_loop(0, len(start), lambda _, s: one_pass(s, few), start)
    return one_pass(statistics, jnp.arange(len(signal.decoded), dtype=jnp.int32))


def folded(params, signal: Signal, config: Config):
    """The network of a fit with the statistics of the whole group."""
    return normalization.fold(params, _settled(params, signal, config), config)


def restored(network, patches: Patches, config: Config):
    """Phases as a folded network gives them, of 8 bits, 0..1: like `patches.original`."""
    weights = normalization.folded(network)
    predicted = wiring.predict(OPS, weights, patches.decoded, patches.blocks, patches.place, config)
    return jnp.round(255 * jnp.clip(predicted, 0.0, 1.0)) / 255


# -- Learning a base -------------------------------------------------------------------------------


def averageable(params, signal: Signal, config: Config):
    """The parameters of a fit with the moments of its group beside them: {network: {array: ..}}.

    Means of these over fits make sense, where those of folded networks do not: a channel that
    hardly varies in one group has weights there that are huge anywhere else.
    """
    result = {name: dict(own) for name, own in params.items()}
    for (name, i), own in _settled(params, signal, config).items():
        result[name] |= {f"mean{i}": own.mean, f"square{i}": own.square}
    return result


def as_base(start, config: Config):
    """Folded networks of such means, with the mean and the deviation of each layer's input, and the
    scales of their changes; `bases.base.Start` both."""
    learned, scales = start.networks, start.scales
    found = normalization.statistics(learned, config)
    networks = normalization.fold(normalization.parameters(learned, config), found, config)
    changes = {name: dict(own) for name, own in scales.items()}
    for (name, i), own in found.items():
        deviation, old = own.deviation, scales[name]
        changes[name] |= {
            f"w{i}": old[f"w{i}"] * (1 / deviation).mean(),
            f"shift{i}": old[f"beta{i}"] * deviation.mean() + old[f"mean{i}"],
            f"deviation{i}": jnp.ones(()),  # never coded, like the mean
        }
        networks[name] |= {f"mean{i}": own.mean, f"deviation{i}": deviation}
    return start._replace(networks=networks, scales=changes)
