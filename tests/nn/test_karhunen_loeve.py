"""Transforms that networks begin as: what they keep of a picture, and through which layers."""

import numpy as np
import pytest

from overfit.methods.reference import config as reference_config
from overfit.methods.reference import model as reference_model
from overfit.methods.reference import networks as reference_wiring
from overfit.methods.stat_ssf import config as stat_ssf_config
from overfit.methods.stat_ssf import model as stat_ssf_model
from overfit.methods.stat_ssf import networks as stat_ssf_wiring
from overfit.nn import karhunen_loeve, layers
from overfit.settings import override


def random_layers(channels, rng):
    """w0, b0, w1, ..: from channels to channels, without biases."""
    arrays = {}
    for i, (inputs, outputs) in enumerate(zip(channels, channels[1:], strict=False)):
        arrays[f"w{i}"] = rng.standard_normal((outputs, 25 * inputs)).astype(np.float32)
        arrays[f"b{i}"] = np.zeros(outputs, np.float32)
    return arrays


def through(sizes, picture, more=0):
    """(deviations, latents, the picture from them) of an autoencoder that was random before.

    more: random channels that the synthesis sees beside the latents.
    """
    rng = np.random.default_rng(0)
    back = [3, *sizes][::-1]
    networks = {
        "analysis": random_layers([3, *sizes], rng),
        "synthesis": random_layers([back[0] + more, *back[1:]], rng),
    }
    deviations = karhunen_loeve.begin(networks["analysis"], networks["synthesis"], (1, -1))
    computed = layers.floats(networks)
    x = picture
    for i in range(len(sizes)):
        x = computed.down("analysis", i, layers.relu(x) if i else x)
    latents = x
    x = np.concatenate([x, rng.standard_normal((more, *x.shape[1:])).astype(np.float32)])
    for i in range(len(sizes)):
        x = computed.up("synthesis", i, layers.relu(x) if i else x)
    return deviations, latents, x


def texture(size, rng):
    """Of the covariance that the transforms are made for: [3, size, size]."""
    side = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    along = np.linalg.cholesky(karhunen_loeve.CORRELATION**side)
    colors = np.linalg.cholesky(karhunen_loeve.COLORS)
    white = rng.standard_normal((3, size, size))
    x = karhunen_loeve.DEVIATION * np.einsum("cd,dij->cij", colors, along @ white @ along.T)
    return x.astype(np.float32)


def test_nothing_is_lost_where_there_are_as_many_channels_as_samples():
    picture = texture(16, np.random.default_rng(1))
    deviations, latents, back = through((24, 48), picture)
    assert len(deviations) == 48 and np.allclose(back, picture, atol=1e-4)
    assert np.sum(latents**2) == pytest.approx(np.sum(picture**2), rel=1e-3)  # orthonormal


def test_spare_channels_and_other_inputs_change_nothing():
    picture = texture(16, np.random.default_rng(1))
    for more in (0, 5):
        assert np.allclose(through((30, 50), picture, more)[2], picture, atol=1e-4)


def test_latents_are_as_large_as_said_and_the_rest_is_what_is_lost():
    pictures = [texture(128, np.random.default_rng(i)) for i in range(8)]
    found = [through((24, 24, 24), picture) for picture in pictures]
    deviations = found[0][0]
    measured = np.sqrt(np.mean([latents**2 for _, latents, _ in found], axis=(0, 2, 3)))
    assert np.all(np.diff(deviations) <= 0)
    assert np.allclose(measured[1:], deviations[1:], rtol=0.15)
    lost = np.mean([np.square(back - x) for x, (*_, back) in zip(pictures, found, strict=True)])
    total = 3 * 64 * karhunen_loeve.DEVIATION**2
    expected = (total - np.sum(deviations**2)) / (3 * 64)
    assert lost == pytest.approx(expected, rel=0.1)
    assert lost < 0.05 * karhunen_loeve.DEVIATION**2


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (6, 6, 6, 8), (2, 3, 500)])
def test_any_number_of_channels_will_do(sizes):
    picture = texture(16, np.random.default_rng(2))
    assert np.isfinite(through(sizes, picture)[2]).all()


def autoencoder(method, start):
    """picture -> what its untrained transforms make of it, without quantization."""
    rng = np.random.default_rng(3)
    if method == "stat-ssf":
        config = override(stat_ssf_config.SMALL, {"training.start": start})
        networks = stat_ssf_model.init(rng, config)
        computed = layers.floats(networks)
        return lambda x: (
            stat_ssf_wiring.synthesis(
                computed, "intra", stat_ssf_wiring.analysis(computed, "intra", x - np.float32(0.5))
            )
            + np.float32(0.5)
        )
    config = override(reference_config.SMALL, {"training.start": start})
    networks = reference_model.bounded(reference_model.init(rng, config))
    networks = {n: {k: np.asarray(v) for k, v in a.items()} for n, a in networks.items()}
    computed = layers.floats(networks)
    return lambda x: reference_wiring.synthesis(
        computed, networks, reference_wiring.analysis(computed, networks, x)
    )


@pytest.mark.parametrize("method", ["stat-ssf", "reference"])
def test_codecs_show_the_picture_before_they_are_trained(method):
    picture = texture(64, np.random.default_rng(4)) + np.float32(0.5)
    error = {
        start: np.mean(np.square(autoencoder(method, start)(picture) - picture))
        for start in ("transform", "random")
    }
    deviation = karhunen_loeve.DEVIATION
    assert error["transform"] < 0.06 * deviation**2 and error["random"] > 0.5 * deviation**2
