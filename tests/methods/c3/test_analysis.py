"""Latents to start from, guessed from the image."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from overfit.methods.c3 import analysis
from overfit.methods.c3.config import KODAK

CONFIG = dataclasses.replace(KODAK, latents=dataclasses.replace(KODAK.latents, num_grids=3))

features = jax.jit(analysis.features, static_argnames="config")
guessed = jax.jit(analysis.latents, static_argnames="config")
moments = jax.jit(analysis.moments, static_argnames="config")


@pytest.mark.parametrize("size", [(24, 32), (1, 3)])
def test_features_have_the_positions_of_the_grids(size):
    signal = np.random.default_rng(0).random((3, *size), np.float32)
    found = features(jnp.asarray(signal), CONFIG)
    expected = [31 * h * w for h, w in CONFIG.latents.shapes(*size)]
    assert [x.size for x in found] == expected
    np.testing.assert_allclose(found[0][27:30], signal.reshape(3, -1) - 0.5, rtol=1e-6)
    np.testing.assert_array_equal(found[-1][30], 1)


def test_features_of_a_clip_also_see_the_frames_before_and_after():
    signal = np.random.default_rng(0).random((3, 5, 8, 6), np.float32)
    found = features(jnp.asarray(signal), CONFIG)
    assert [x.size for x in found] == [37 * np.prod(s) for s in CONFIG.latents.shapes(5, 8, 6)]
    finest = np.asarray(found[0]).reshape(37, 5, 8, 6)
    still, before, after = finest[12:15], finest[27:30], finest[30:33]
    np.testing.assert_allclose(before[:, 1:], still[:, :-1], atol=1e-6)
    np.testing.assert_allclose(after[:, :-1], still[:, 1:], atol=1e-6)
    np.testing.assert_allclose(finest[33:36], signal - 0.5, rtol=1e-6)


def test_an_encoder_is_for_its_own_kind_of_signal():
    image, clip = jnp.zeros((3, 8, 8)), jnp.zeros((3, 2, 8, 8))
    of_images, of_clips = {"w": np.zeros((3, 31))}, {"w": np.zeros((3, 37))}
    assert analysis.knows(of_images, image, CONFIG) and analysis.knows(of_clips, clip, CONFIG)
    assert not analysis.knows(of_images, clip, CONFIG)
    assert not analysis.knows(of_clips, image, CONFIG)
    assert not analysis.knows({}, image, CONFIG)
    canvas = dataclasses.replace(CONFIG.latents, margin=(8, 0))
    assert not analysis.knows(of_clips, clip, dataclasses.replace(CONFIG, latents=canvas))


def test_a_flat_image_has_no_detail():
    for x in features(jnp.full((3, 24, 32), 0.75), CONFIG):
        np.testing.assert_allclose(x[:27], 0, atol=1e-6)


def test_least_squares_find_latents_that_are_linear_in_the_image():
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(3, 31)).astype(np.float32)
    signals = [jnp.asarray(rng.random((3, 24, 32), np.float32)) for _ in range(4)]
    sums = None
    for signal in signals:
        seen = features(signal, CONFIG)
        latents = jnp.concatenate([w @ x for w, x in zip(weights, seen, strict=True)])
        more = moments({"latents": latents}, signal, CONFIG)
        sums = more if sums is None else tuple(a + b for a, b in zip(sums, more, strict=True))
    encoder = analysis.solved(sums)
    found = guessed(encoder, signals[0], CONFIG)
    truth = guessed({"w": jnp.asarray(weights)}, signals[0], CONFIG)
    assert float(jnp.square(found - truth).mean()) < 1e-2 * float(jnp.square(truth).mean())
