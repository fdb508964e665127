from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overfit.errors import UserError
from overfit.io.clip import Clip, ClipShape
from overfit.io.patches import cut, parse_size, patches, size_for, splits_chroma

SIZES = st.tuples(*[st.integers(1, 7)] * 3)


@given(SIZES, SIZES)
def test_patches_cover_a_clip_once(clip, size):
    count = np.zeros(clip, int)
    found = patches(clip, size)
    for patch in found:
        count[patch.slices] += 1
        ends = [a + n for a, n in zip(patch.start, patch.size, strict=True)]
        # Only the last one in a direction is smaller.
        for n, side, end, whole in zip(patch.size, size, ends, clip, strict=True):
            assert n == side or (n < side and end == whole)
    assert (count == 1).all()
    assert found == sorted(found)


@pytest.mark.parametrize(
    "lmbda, size, count",
    [
        (2e-2, (75, 270, 320), 96), (1e-3, (60, 180, 240), 240), (2.1e-4, (60, 180, 240), 240),
        (2e-4, (30, 180, 240), 480), (1e-5, (30, 180, 240), 480),
    ],
)  # fmt: skip
def test_300_frames_of_uvg_make_as_many_patches_as_in_the_paper(lmbda, size, count):
    assert size_for(lmbda) == size
    assert len(patches((300, 1080, 1920), size)) == count


def test_a_patch_is_cut_without_a_copy():
    frames = np.random.default_rng(0).integers(0, 256, (5, 7, 9, 3), np.uint8)
    patch = patches((5, 7, 9), (2, 4, 5))[-1]
    part = cut(Clip((frames,), Fraction(25)), patch)
    np.testing.assert_array_equal(part.planes[0], frames[4:, 4:, 5:])
    assert part.planes[0].base is not None


@given(SIZES, SIZES)
def test_patches_of_420_clips_cover_every_plane_once(clip, size):
    size = size[0], 2 * size[1], 2 * size[2]
    assert not splits_chroma(clip, size)
    shape = ClipShape("yuv420", *clip, Fraction(25))
    counts = [np.zeros((clip[0], *plane), int) for plane in shape.plane_shapes]
    for patch in patches(clip, size):
        part = ClipShape("yuv420", *patch.size, Fraction(25))
        for count, where, plane in zip(
            counts, patch.of_planes("yuv420"), part.plane_shapes, strict=True
        ):
            assert count[where].shape == (patch.size[0], *plane)
            count[where] += 1
    assert all((count == 1).all() for count in counts)


def test_a_patch_that_begins_between_chroma_samples_is_noticed():
    assert splits_chroma((4, 9, 8), (4, 5, 8)) and splits_chroma((4, 8, 9), (4, 8, 3))
    # The clip's own odd sizes are none of a patch's beginning.
    assert not splits_chroma((4, 9, 7), (3, 9, 7)) and not splits_chroma((4, 9, 7), (4, 11, 15))


def test_sizes_are_read_or_refused_with_an_example():
    assert parse_size("30,180,240") == (30, 180, 240)
    for text in ("30,180", "30x180x240", "0,180,240", "a,b,c", "", "1,2,3,4"):
        with pytest.raises(UserError, match="60,180,240"):
            parse_size(text)
