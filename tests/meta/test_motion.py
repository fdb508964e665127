"""Stills in motion: every kind of it does what it says, and shows nothing but the picture."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overfit.meta.motion import MOTION, Motion, moving

# Nothing happens, unless a test asks for it.
NOTHING = Motion(
    still=1.0, bent=0.0, objects=(1.0,), smeared=0.0, defocused=0.0, noisy=0.0, drifting=0.0
)
PAN = NOTHING._replace(still=0.0, zoom=0.0, turn=0.0, shear=0.0)
ALWAYS = MOTION._replace(
    still=0.0, bent=1.0, objects=(0.0, 0.0, 1.0), smeared=1.0, defocused=1.0
)  # fmt: skip


def clip_of(image, motion, seed=0, frames=5, size=48, others=()):
    return moving(image, frames, size, np.random.default_rng(seed), others, motion).astype(int)


def test_a_clip_follows_from_the_seed(picture):
    image = picture(90, 120)
    clips = [moving(image, 4, 40, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert clips[0].shape == (4, 40, 40, 3) and clips[0].dtype == np.uint8
    assert np.array_equal(clips[0], clips[1]) and not np.array_equal(clips[0], clips[2])


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32), size=st.integers(8, 80), frames=st.integers(1, 6),
    room=st.integers(0, 40), faster=st.sampled_from((1, 4)),
)  # fmt: skip
def test_a_frame_is_covered_by_the_pictures(seed, size, frames, room, faster):
    """A codec that is shown black corners learns to predict black corners."""
    motion = ALWAYS._replace(noisy=0.0, drifting=0.0, shift=faster * MOTION.shift)
    image = np.full((size + room, size, 3), 200, np.uint8)
    clip = moving(image, frames, size, np.random.default_rng(seed), [image], motion)
    assert clip.min() >= 199 and clip.max() <= 201


def test_nothing_moves_before_a_still_camera(picture):
    clip = clip_of(picture(90, 90), NOTHING)
    assert (clip == clip[0]).all()
    assert np.std(clip[0]) > 5


def _apart(a, b):
    return np.abs(a - b).mean()


def test_a_pan_shifts_the_picture(picture):
    image = picture(120, 120)
    found = []
    for seed in range(8):
        first, *_, last = clip_of(image, PAN, seed)
        around = range(-15, 16)
        shifted = {
            (dy, dx): _apart(
                first[max(dy, 0) : 48 + min(dy, 0), max(dx, 0) : 48 + min(dx, 0)],
                last[max(-dy, 0) : 48 + min(-dy, 0), max(-dx, 0) : 48 + min(-dx, 0)],
            )
            for dy in around for dx in around
        }  # fmt: skip
        best = min(shifted, key=shifted.__getitem__)
        found.append(best)
        assert shifted[best] <= shifted[0, 0]
        if best != (0, 0):
            assert shifted[best] < 0.7 * shifted[0, 0]
    assert len(set(found)) > 4


@pytest.mark.parametrize("kind", ["zoom", "turn", "shear"])
def test_a_camera_does_more_than_pan(picture, kind):
    motion = PAN._replace(shift=0.0, **{kind: 0.1})
    image = picture(48, 48)  # as large as the frame, so that every clip is of the same part
    still = clip_of(image, NOTHING)
    clips = [clip_of(image, motion, seed) for seed in range(6)]
    assert np.mean([_apart(clip[0], clip[-1]) for clip in clips]) > 1
    assert all(_apart(clip[2], still[2]) < 0.5 for clip in clips)  # paths meet in the middle


def test_pictures_bend(picture):
    image = picture(48, 48)
    clips = [clip_of(image, NOTHING._replace(bent=1.0, bend=20.0), seed) for seed in range(6)]
    assert np.mean([_apart(clip[0], clip[-1]) for clip in clips]) > 0.5


def test_objects_hide_a_part_of_the_picture():
    image, other = np.full((60, 60, 3), 250, np.uint8), np.full((50, 70, 3), 10, np.uint8)
    motion = NOTHING._replace(objects=(0.0, 1.0), shift=30.0, radii=(0.2, 0.2))
    shares = []
    for seed in range(12):
        clip = clip_of(image, motion, seed, others=[other])
        assert clip.min() >= 10 and clip.max() <= 250
        shares.append(np.mean(clip < 130))
    assert 0.02 < np.mean(shares) < 0.2
    assert max(shares) < 0.2


def test_objects_move_on_their_own():
    """With a path of its own, whether the camera moves or not."""
    image, other = np.zeros((60, 60, 3), np.uint8), np.full((60, 60, 3), 255, np.uint8)
    motion = NOTHING._replace(objects=(0.0, 1.0))
    clips = [clip_of(image, motion, seed, others=[other]) for seed in range(6)]
    assert sum(_apart(clip[0], clip[-1]) > 0.5 for clip in clips) >= 3


def test_motion_blur_smooths():
    image = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    fast = PAN._replace(shift=100.0)
    sharp = [clip_of(image, fast, s).std() for s in range(6)]
    smeared = [clip_of(image, fast._replace(smeared=1.0), s).std() for s in range(6)]
    assert np.mean(smeared) < 0.8 * np.mean(sharp)


def test_defocus_smooths():
    image = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    sharp = [clip_of(image, NOTHING, s).std() for s in range(6)]
    blurred = [clip_of(image, NOTHING._replace(defocused=1.0), s).std() for s in range(6)]
    assert np.mean(blurred) < 0.9 * np.mean(sharp)


def test_noise_is_new_in_every_frame():
    gray = np.full((50, 50, 3), 128, np.uint8)
    noisy = NOTHING._replace(noisy=1.0, noise=60.0)
    clip = max((clip_of(gray, noisy, seed) for seed in range(6)), key=np.std)
    between, within = np.std(clip[1] - clip[0]), np.std(clip[0])
    assert within > 5 and between == pytest.approx(2**0.5 * within, rel=0.05)


def test_exposure_drifts_one_way():
    gray = np.full((50, 50, 3), 100, np.uint8)
    clips = [clip_of(gray, NOTHING._replace(drifting=1.0, drift=0.3), seed=s) for s in range(8)]
    steps = [np.diff(clip.mean(axis=(1, 2, 3))) for clip in clips]
    assert all((s >= 0).all() or (s <= 0).all() for s in steps)
    assert {np.sign(s.sum()) for s in steps} >= {-1.0, 1.0}
