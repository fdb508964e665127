import math

import numpy as np
import pytest

from overfit.metrics.psnr import (
    clip_psnr,
    mean_psnr,
    mse,
    pooled_psnr,
    psnr,
    psnr_of_mse,
    yuv_psnr,
)

RNG = np.random.default_rng(0)


def test_known_values():
    black = np.zeros((4, 5, 3), np.uint8)
    assert mse(black, black + 1) == 1
    assert psnr(black, black + 255) == 0
    assert psnr(black, black) == math.inf
    assert psnr(black, black + 10) == pytest.approx(28.1308, abs=1e-4)


def test_differences_do_not_wrap_around():
    a, b = np.full((1, 1, 3), 3, np.uint8), np.full((1, 1, 3), 250, np.uint8)
    assert mse(a, b) == mse(b, a) == 247**2


def test_against_the_formula_on_several_chunks_and_on_views():
    a, b = RNG.integers(0, 256, (2, 700, 600, 3), dtype=np.uint8)
    for x, y in [(a, b), (a[::2, ::-1], b[::2, ::-1])]:
        expected = np.mean((x.astype(np.float64) - y) ** 2)
        assert mse(x, y) == pytest.approx(expected, rel=1e-12)
        assert psnr(x, y) == pytest.approx(20 * np.log10(255) - 10 * np.log10(expected))


def test_bad_arrays_are_refused():
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="one shape"):
        mse(image, image[:2])
    with pytest.raises(ValueError, match="one shape"):
        mse(image[:0], image[:0])
    with pytest.raises(ValueError, match="uint8"):
        mse(image, image.astype(np.float32))


def test_pooled_psnr_is_that_of_all_pixels_together():
    """The convention of some papers: below the mean of the PSNRs, and not to be mixed with it."""
    sizes = [(6, 5, 3), (9, 4, 3)]
    pairs = [RNG.integers(0, 256, (2, *size), dtype=np.uint8) for size in sizes]
    pairs[1][1] = pairs[1][0] ^ 1
    together = psnr(*(np.concatenate([pair[i].reshape(-1, 3) for pair in pairs]) for i in (0, 1)))
    errors = [mse(*pair) for pair in pairs]
    assert pooled_psnr(errors, [30, 36]) == pytest.approx(together)
    assert pooled_psnr(errors, [1, 1]) < mean_psnr([psnr(*pair) for pair in pairs])


def test_pooled_psnr_of_exact_images():
    assert pooled_psnr([0, 0], [5, 9]) == math.inf
    assert pooled_psnr([0, 2], [5, 5]) == pytest.approx(psnr_of_mse(1))


def test_yuv_psnr_weighs_luma_six_times():
    assert yuv_psnr(40, 42, 46) == pytest.approx((6 * 40 + 42 + 46) / 8)


def test_grey_video_has_exact_chroma_and_still_a_psnr():
    """Exact planes must not make a lossy file look lossless."""
    assert yuv_psnr(40, math.inf, math.inf) == pytest.approx((6 * 40 + 100 + 100) / 8)
    assert yuv_psnr(math.inf, math.inf, math.inf) == math.inf


@pytest.mark.parametrize("shape", [(3, 6, 8, 3), (3, 6, 8)])
def test_clip_psnr_is_the_mean_over_frames(shape):
    a, b = RNG.integers(0, 256, (2, *shape), dtype=np.uint8)
    b[1] = a[1] ^ 1
    assert clip_psnr(a, b) == pytest.approx(np.mean([psnr(a[t], b[t]) for t in range(3)]))
    assert clip_psnr(a, b) > psnr(a, b)  # which pools the error


def test_exact_frames_count_100_db_unless_all_are():
    """One black frame must not make the PSNR of a clip infinite."""
    a = RNG.integers(0, 256, (2, 6, 8, 3), dtype=np.uint8)
    b = a.copy()
    assert clip_psnr(a, b) == math.inf
    b[0] ^= 1
    assert clip_psnr(a, b) == pytest.approx((100 + psnr(a[0], b[0])) / 2)


def test_means_of_nothing_are_refused():
    clip = np.zeros((2, 4, 4), np.uint8)
    with pytest.raises(ValueError, match="at least one"):
        mean_psnr([])
    with pytest.raises(ValueError, match="one shape"):
        clip_psnr(clip, clip[:1])
    with pytest.raises(ValueError, match="one shape"):
        clip_psnr(clip[:0], clip[:0])
    with pytest.raises(ValueError, match="one shape"):
        clip_psnr(clip[0], clip[0])  # an image, whose rows are no frames
    with pytest.raises(ValueError):
        pooled_psnr([1.0, 2.0], [3])
