import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overfit.errors import UserError
from overfit.io.patches import cut, parse_size, patches, size_for

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


def test_a_patch_is_cut_as_methods_take_it():
    frames = np.random.default_rng(0).integers(0, 256, (5, 7, 9, 3), np.uint8)
    patch = patches((5, 7, 9), (2, 4, 5))[-1]
    part = cut(frames, patch)
    np.testing.assert_array_equal(part, frames[4:, 4:, 5:].transpose(3, 0, 1, 2))
    assert part.base is not None


def test_sizes_are_read_or_refused_with_an_example():
    assert parse_size("30,180,240") == (30, 180, 240)
    for text in ("30,180", "30x180x240", "0,180,240", "a,b,c", "", "1,2,3,4"):
        with pytest.raises(UserError, match="60,180,240"):
            parse_size(text)
