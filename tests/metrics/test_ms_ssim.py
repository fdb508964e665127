import math

import numpy as np
import pytest

from overfit.metrics.ms_ssim import ms_ssim, ms_ssim_db

signal = pytest.importorskip("scipy.signal")
WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])


def rate(a, b):
    value = ms_ssim(a, b)
    assert value is not None
    return value


def picture(height, width, channels=3, seed=0):
    """Smooth random shapes with some texture, uint8 [H, W, C]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width] / 40
    waves = [np.sin(a * rows + b * columns + c) for a, b, c in rng.normal(0, 2, (3 * channels, 3))]
    smooth = np.stack(waves, axis=2).reshape(height, width, channels, 3).sum(axis=3)
    noise = rng.normal(0, 6, smooth.shape)
    return np.clip(128 + 35 * smooth + noise, 0, 255).astype(np.uint8)


def noisy(image, sigma, seed=1):
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(np.round(image + noise), 0, 255).astype(np.uint8)


def pool(plane):
    height, width = plane.shape
    result = np.zeros((-(-height // 2), -(-width // 2)))
    for dy in (0, 1):
        for dx in (0, 1):
            for row in range(result.shape[0]):
                source = 2 * row + dy - height % 2
                columns = np.arange(result.shape[1]) * 2 + dx - width % 2
                if source >= 0:
                    result[row] += np.where(columns >= 0, plane[source, columns], 0) / 4
    return result


def reference(a, b):
    """The definition as it stands, with full two-dimensional windows."""
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2

    def mean(plane):
        return signal.fftconvolve(plane, window, mode="valid")

    values = []
    for channel in range(a.shape[2]):
        x, y = a[:, :, channel].astype(float), b[:, :, channel].astype(float)
        terms = []
        for scale in range(5):
            mx, my = mean(x), mean(y)
            vx, vy = mean((x - 128) ** 2) - (mx - 128) ** 2, mean((y - 128) ** 2) - (my - 128) ** 2
            vxy = mean((x - 128) * (y - 128)) - (mx - 128) * (my - 128)
            cs = (2 * vxy + 58.5225) / (vx + vy + 58.5225)
            luminance = (2 * mx * my + 6.5025) / (mx**2 + my**2 + 6.5025)
            terms.append(np.mean(cs * luminance if scale == 4 else cs))
            x, y = pool(x), pool(y)
        values.append(np.prod(np.maximum(terms, 0) ** WEIGHTS))
    return np.mean(values)


@pytest.mark.parametrize("shape", [(161, 161), (176, 208), (201, 167), (163, 330)])
def test_against_the_definition(shape):
    a = picture(*shape)
    for b in (noisy(a, 20), np.roll(a, 1, axis=0), (a * 0.7).astype(np.uint8)):
        assert ms_ssim(a, b) == pytest.approx(reference(a, b), abs=1e-9)


def test_negative_similarity_counts_as_zero():
    a = picture(161, 170, 1)
    assert reference(a, 255 - a) == 0
    assert ms_ssim(a, 255 - a) == 0


def test_equal_images():
    a = picture(170, 180)
    assert ms_ssim(a, a) == pytest.approx(1, abs=1e-12)
    assert ms_ssim_db(1.0) == math.inf


def test_it_is_symmetric_and_falls_with_noise():
    a = picture(192, 176)
    values = [rate(a, noisy(a, sigma)) for sigma in (0, 2, 8, 30)]
    assert values == sorted(values, reverse=True)
    assert 0 < values[-1] < values[0] <= 1
    assert ms_ssim(noisy(a, 8), a) == pytest.approx(values[2], abs=1e-12)


def test_channels_are_averaged():
    a = picture(165, 190)
    b = noisy(a, 15)
    each = [rate(a[:, :, c : c + 1], b[:, :, c : c + 1]) for c in range(3)]
    assert ms_ssim(a, b) == pytest.approx(np.mean(each), abs=1e-12)


@pytest.mark.parametrize("shape", [(160, 400), (400, 160), (1, 1)])
def test_small_images_have_none(shape):
    assert ms_ssim(picture(*shape), picture(*shape)) is None


def test_bad_images_are_refused():
    a = picture(161, 161)
    with pytest.raises(ValueError, match="one shape"):
        ms_ssim(a, a[:, :, :1])
    with pytest.raises(ValueError, match="uint8"):
        ms_ssim(a, a.astype(np.float32))


def test_decibels():
    assert ms_ssim_db(0.9) == pytest.approx(10)
    assert ms_ssim_db(0.0) == 0
