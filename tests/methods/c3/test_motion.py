"""How a clip moves as a whole, and what its canvas is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import overfit
from overfit import settings
from overfit.errors import UserError
from overfit.methods.c3 import model, motion
from overfit.methods.c3.config import CLIP_PRESETS

PATH = np.array([(0, 0), (3, -2), (1, -7), (1, -14), (-5, -12)])  # of the camera, rows and columns


def seen(path, height=40, width=56, seed=0) -> np.ndarray:
    """A scene of noise through a window at each place of a path: uint8 [3, T, H, W]."""
    path = np.asarray(path) - np.min(path, axis=0)
    scene = np.random.default_rng(seed).integers(0, 256, (3, *(path.max(axis=0) + (height, width))))
    frames = [scene[:, y : y + height, x : x + width] for y, x in path]
    return np.stack(frames, axis=1).astype(np.uint8)


def config_with(**changes):
    return settings.override(
        CLIP_PRESETS["c3-uvg-shared"], {k.replace("__", "."): v for k, v in changes.items()}
    )


def test_frames_lie_on_the_canvas_where_the_camera_was():
    signal = seen(PATH)
    config = motion.with_margin(signal, config_with(start__motion=16))
    assert config.latents.margin == (8, 16)
    places = np.asarray(motion.places(signal, config))
    np.testing.assert_array_equal(places, PATH - PATH.min(axis=0))
    # In 4:2:0 the same, by luma.
    luma = signal[0], *[np.zeros((5, 20, 28), np.uint8)] * 2
    assert motion.with_margin(luma, config_with(start__motion=16)) == config


@pytest.mark.parametrize(
    "path, reach",
    [
        (np.zeros((4, 2), int), 16),  # nothing moves
        (PATH, 0),  # nothing is looked for
        (9 * np.arange(6)[:, None] * [1, 1], 16),  # too far for a canvas
        (np.zeros((1, 2), int), 16),  # one frame
    ],
    ids=["still", "off", "far", "one frame"],
)
def test_there_is_no_margin_without_need_or_beyond_reason(path, reach):
    config = motion.with_margin(seen(path), config_with(start__motion=reach))
    assert config.latents.margin == (0, 0)
    params = model.init(jax.random.key(0), jnp.zeros((3, 4, 8, 8)), None, config)
    assert "places" not in params


def test_tiny_frames_are_fitted_without_motion():
    config = motion.with_margin(np.zeros((3, 4, 1, 1), np.uint8), config_with(start__motion=16))
    assert config.latents.margin == (0, 0)


def test_each_frame_shows_its_part_of_the_canvas():
    canvas = np.random.default_rng(0).normal(size=(2, 3, 9, 11)).astype(np.float32)
    places = np.array([(0, 0), (4, 1), (2, 3)])
    shown = model.on_frames(jnp.asarray(canvas), jnp.asarray(places, jnp.float32), (3, 5, 8))
    for t, (y, x) in enumerate(places):
        np.testing.assert_array_equal(shown[:, t], canvas[:, t, y : y + 5, x : x + 8])


@pytest.mark.parametrize("margin", ["-1,0", "0,1024", "3"])
def test_margins_that_no_file_can_hold_are_refused(margin):
    with pytest.raises(UserError, match="margin"):
        config_with(latents__margin=margin)


def test_what_moves_as_a_whole_costs_less_on_a_canvas():
    frames = np.moveaxis(seen(PATH), 0, -1)
    small = {"latents.num_grids": 2, "entropy.widths": "6", "synthesis.widths": "8"}
    small |= {"entropy.frame": 1, "entropy.context": 1}
    costs, margins = [], []
    for reach in (0, 16):
        file = overfit.encode(frames, lmbda=2e-3, steps=150, set=small | {"start.motion": reach})
        shown = overfit.decode(file)
        error = np.mean(((shown.astype(float) - frames) / 255) ** 2)
        costs.append(error + 2e-3 * 8 * len(file) / frames[..., 0].size)
        margins.append(overfit.info(file)["settings"]["latents.margin"])
    assert margins == [(0, 0), (8, 16)]
    assert costs[1] < 0.95 * costs[0]
