"""Coding of the latents: waves of positions under distributions in exact integers.

The encoder and the decoder run the same function, the one with the latents and the other without.
docs/reference.md specifies every step. Planes are float64 arrays of integers.
"""

from typing import NamedTuple

import numpy as np

from overfit.coding import factorized, laplace, mixture
from overfit.coding.fixed_point import ACTIVATION_BITS
from overfit.coding.integer_network import shift
from overfit.coding.parameters import Quantized
from overfit.errors import UserError
from overfit.methods.reference import networks as wiring
from overfit.methods.reference.architecture import NEIGHBORS, Order
from overfit.methods.reference.config import ReferenceConfig
from overfit.nn.layers import Arithmetic

LIMIT = 127  # the entropy model sees latents between -127 and 127
MAX_LATENT = 1 << 20  # what a file may hold
_MARGIN = 2  # zeros around the plane: the reach of the context
_SCALE_LIMITS = (2 * laplace.SCALE_UNITS, 13 * laplace.SCALE_UNITS)  # of 2^-4 and 2^7 bins
_RECIPROCAL = 1 << 56  # a reciprocal root has 28 fractional bits


def _activations(latents: np.ndarray) -> np.ndarray:
    """Latents as the networks see them, with ACTIVATION_BITS fractional bits."""
    return np.clip(latents, -LIMIT, LIMIT).astype(np.float64) * (1 << ACTIVATION_BITS)


def hyper_features(layers: Arithmetic, z: np.ndarray) -> np.ndarray:
    """float64 [2 * latents, n] from hyper-latents int64 [hyper_width, rows, columns]."""
    return wiring.hyper_synthesis(layers, _activations(z))


def code_hyper_latents(coder, z: np.ndarray | None, shape, prior: dict[str, Quantized]):
    """int64 [hyper_width, rows, columns] = shape, written, or read where z is None."""
    count = shape[1] * shape[2]
    if "frequencies" in prior:
        center, table = (prior[name].k for name in ("center", "frequencies"))
        flat = None if z is None else z.reshape(shape[0], count)
        return _checked(factorized.code(coder, flat, center, table, count)).reshape(shape)
    locations = shift(prior["mean"].k * 2.0 ** (5 - prior["mean"].e), 0)
    scales = shift(prior["log2_scale"].k * 2.0 ** (3 - prior["log2_scale"].e), 0)
    scales = scales - laplace.SCALE_UNITS * laplace.MIN_LOG2_SCALE
    values = coder.code(
        None if z is None else z.ravel(),
        np.repeat(np.clip(locations, -32 * LIMIT, 32 * LIMIT).astype(np.int64), count),
        np.repeat(np.clip(scales, *_SCALE_LIMITS).astype(np.int64), count),
        "gaussian",
    )
    return _checked(values).reshape(shape)


def _checked(values: np.ndarray) -> np.ndarray:
    if values.size and np.abs(values).max() > MAX_LATENT:
        raise UserError("the file is damaged: a latent is out of range")
    return values


def _model(predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(locations in 1/32 bins, scale indices), int64 [latents * n] each."""
    mean, log2_scale = np.split(predicted, 2)
    index = shift(log2_scale, ACTIVATION_BITS - 3) - laplace.SCALE_UNITS * laplace.MIN_LOG2_SCALE
    location = shift(mean, ACTIVATION_BITS - 5)
    index = np.clip(index, *_SCALE_LIMITS)
    return location.ravel().astype(np.int64), index.ravel().astype(np.int64)


def _law(models: list, shares: list, gains: list) -> mixture.Mixture:
    """The distribution of a wave's latents, of what each stage says: the last, or a mixture.

    shares [latents, n], or None without a mixture, and gains [n], 10 fractional bits both.
    """
    if shares[0] is None:
        return mixture.single(*models[-1])
    location, scale = (np.stack(parts) for parts in zip(*models, strict=True))
    logs = np.stack([shift(share, ACTIVATION_BITS - 5).ravel() for share in shares])
    weights = np.stack([np.tile(gain, len(shares[0])) for gain in gains])
    share = mixture.shares(logs.astype(np.int64), weights.astype(np.int64))
    return mixture.Mixture(location, scale, share)


# -- Search ----------------------------------------------------------------------------------------


def reciprocal_root(squares: np.ndarray) -> np.ndarray:
    """floor(sqrt(floor(2^56 / n))) of int64 n, 0 of 0; int64."""
    quotient = _RECIPROCAL // np.maximum(squares, 1)
    root = np.floor(np.sqrt(quotient.astype(np.float64))).astype(np.int64)
    root -= root * root > quotient  # float64 is one off at most
    root += (root + 1) * (root + 1) <= quotient
    return np.where(squares > 0, root, 0)


class Found(NamedTuple):
    """Of each target: its reference."""

    index: np.ndarray  # int64 [n], among the candidates; 0 where there is none
    similarity: np.ndarray  # float64 [n] of integers, 10 fractional bits; 0: no reference


def find(candidates: np.ndarray, roots: np.ndarray, queries: np.ndarray) -> Found:
    """The candidate of the largest cosine with each query (Eq. 4); of equal ones the first coded.

    candidates [m, k] and queries [k, n] hold integers up to 127, roots [m] the reciprocals of the
    candidates' lengths. |dot| is at most the product of both lengths, so that dot * root stays
    below 2^28 times the length of the query, 2^41: exact in float64.
    """
    count = queries.shape[1]
    if not len(candidates):
        return Found(np.zeros(count, np.int64), np.zeros(count))
    scores = (candidates @ queries) * roots[:, None]
    index = scores.argmax(axis=0)
    best = np.maximum(scores[index, np.arange(count)], 0.0)
    own = reciprocal_root(np.square(queries).sum(axis=0).astype(np.int64))
    similarity = np.minimum(shift(shift(best, 18) * own, 28), 1 << 10)
    return Found(index, similarity)


# -- Waves -----------------------------------------------------------------------------------------


class Trace(NamedTuple):
    """What the entropy model saw, by position in raster order, for inspection."""

    reference: np.ndarray  # int64 [n]: raster index, -1 for none
    similarity: np.ndarray  # float64 [n], 0..1
    confidence: np.ndarray  # float64 [n], 0..1
    bits: np.ndarray  # float64 [latents, n]


def code_latents(
    coder,
    y: np.ndarray | None,
    shape: tuple[int, int, int],
    layers: Arithmetic,
    features: np.ndarray | None,
    order: Order,
    config: ReferenceConfig,
    traced: bool = False,
) -> tuple[np.ndarray, Trace]:
    """Latents int64 [latents, rows, columns] = shape, written, or read where y is None.

    features: those of the hyperprior. The trace is filled where it is asked for.
    """
    channels, rows, columns = shape
    neighbors = NEIGHBORS[config.entropy.context]
    n, pitch = rows * columns, columns + 2 * _MARGIN
    plane = np.zeros((channels, (rows + 2 * _MARGIN) * pitch))
    values = np.zeros((channels, n), np.int64)
    padded = np.arange(n) // columns * pitch + np.arange(n) % columns + _MARGIN * (pitch + 1)
    candidates, roots = np.zeros((n, len(neighbors.query) * channels)), np.zeros(n)
    masses = np.zeros(n)  # of coded positions, in coding order: 10 fractional bits
    trace = Trace(np.full(n, -1), np.zeros(n), np.zeros(n), np.zeros((channels, n)))

    def patch(centers: np.ndarray, offsets) -> np.ndarray:
        taps = [plane[:, padded[centers] + dy * pitch + dx] for dy, dx in offsets]
        return np.concatenate(taps)

    one = 1 << ACTIVATION_BITS
    mixed = config.entropy.distribution == "mixture"
    for start, stop in zip(order.starts[:-1], order.starts[1:], strict=True):
        wave = order.positions[start:stop]
        gathered, shares, gains = [], [], []
        models: list[tuple[np.ndarray, np.ndarray]] = []
        predicted = None
        for i, stage in enumerate(config.entropy.stages):
            gain = np.full(len(wave), one)
            if stage == "context":
                gathered.append(layers.dense("context", 0, one * patch(wave, neighbors.context)))
            elif stage == "reference":
                queries = patch(wave, neighbors.query)
                known = slice(order.candidates, start)
                found = find(candidates[known], roots[known], queries)
                best = found.index + order.candidates
                gain = found.similarity
                if config.entropy.confidence:
                    gain = shift(gain * masses[best], 10)
                fetched = patch(order.positions[best], neighbors.fetched)
                feature = layers.dense("reference", 0, one * fetched)
                gathered.append(layers.scale(feature, gain))
                candidates[start:stop] = queries.T
                roots[start:stop] = reciprocal_root(np.square(queries).sum(axis=0).astype(np.int64))
                if traced:
                    any_is = found.similarity > 0
                    trace.reference[wave] = np.where(any_is, order.positions[best], -1)
                    trace.similarity[wave] = found.similarity / 1024
                    trace.confidence[wave] = np.where(any_is, masses[best], 0) / 1024
            else:
                assert features is not None
                gathered.append(features[:, wave])
            predicted, share = wiring.predict(layers, i, gathered, predicted, mixed)
            models.append(_model(predicted))
            shares.append(share)
            gains.append(gain)
        law = _law(models, shares, gains)
        given = None if y is None else y.reshape(channels, n)[:, wave].ravel()
        coded = _checked(mixture.code(coder, given, law))
        if traced:
            trace.bits[:, wave] = mixture.costs(coded, law).reshape(channels, -1)
        if config.entropy.reference and config.entropy.confidence:
            mass = laplace.masses(coded, *models[0], "gaussian").reshape(channels, -1)
            masses[start:stop] = mass.sum(axis=0) // channels >> 14
        coded = coded.reshape(channels, -1)
        values[:, wave] = coded
        plane[:, padded[wave]] = np.clip(coded, -LIMIT, LIMIT)
    return values.reshape(shape), trace
