import math

import numpy as np
import pytest

from overfit.metrics.psnr import mse, psnr

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
