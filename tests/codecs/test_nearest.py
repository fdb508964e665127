import io
import math

import numpy as np
import pytest
from PIL import Image

from overfit.codecs import codec as registry
from overfit.codecs.nearest import FAMILIAR, nearest_size
from overfit.errors import UserError
from overfit.metrics.psnr import psnr


def picture(height, width, seed=0):
    """Smooth random shapes with some texture, uint8 [H, W, 3]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width] / 30
    waves = [np.sin(a * rows + b * columns + c) for a, b, c in rng.normal(0, 2, (9, 3))]
    smooth = np.stack(waves, axis=2).reshape(height, width, 3, 3).sum(axis=3)
    return np.clip(128 + 35 * smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


IMAGE = picture(72, 100)


def jpeg_sizes(image):
    sizes = {}
    for quality in range(1, 101):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality, optimize=True)
        sizes[quality] = buffer.tell()
    return sizes


def test_the_jpeg_nearest_in_size_is_found():
    sizes = jpeg_sizes(IMAGE)
    for target in (900, 1500, 2500, 4000, 7000):
        anchor = nearest_size(IMAGE, "jpeg", target)
        best = min(abs(size - target) for size in sizes.values())
        assert anchor.bytes == sizes[anchor.value]
        assert abs(anchor.bytes - target) <= best + 0.005 * target  # sizes ripple


@pytest.mark.parametrize("codec", FAMILIAR)
def test_an_anchor_is_a_real_file(codec):
    anchor = nearest_size(IMAGE, codec, 2000)
    buffer = io.BytesIO()
    options = {"jpeg": {"optimize": True, "subsampling": "4:2:0"}, "webp": {"method": 6}}[codec]
    Image.fromarray(IMAGE).save(buffer, codec, quality=anchor.value, **options)
    assert anchor.codec == codec
    assert anchor.bytes == buffer.tell()
    assert anchor.bytes == pytest.approx(2000, rel=0.1)
    assert anchor.psnr == pytest.approx(psnr(IMAGE, np.asarray(Image.open(buffer))))
    assert anchor.ms_ssim is None  # smaller than 161 px


@pytest.mark.parametrize("codec", FAMILIAR)
def test_more_bytes_give_better_images(codec):
    image = picture(161, 180)
    small, large = (nearest_size(image, codec, target) for target in (2000, 12000))
    assert small.bytes < large.bytes
    assert small.psnr < large.psnr
    assert small.ms_ssim is not None and large.ms_ssim is not None
    assert 0 < small.ms_ssim < large.ms_ssim < 1


@pytest.mark.parametrize("codec", FAMILIAR)
def test_targets_out_of_reach_give_the_ends_of_the_scale(codec):
    assert nearest_size(IMAGE, codec, 0).value <= 2  # JPEG at 1 is often larger than at 2
    assert nearest_size(IMAGE, codec, 10**9).value == 100


@pytest.mark.parametrize("codec", FAMILIAR)
def test_grey_images(codec):
    grey = IMAGE[:, :, :1]
    anchor = nearest_size(grey, codec, 2000)
    assert anchor.bytes == pytest.approx(2000, rel=0.1)
    assert 20 < anchor.psnr < math.inf


@pytest.mark.parametrize("codec", FAMILIAR)
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 7, 3), (9, 1, 1), (40, 56, 3)])
def test_noise_and_tiny_images_at_the_highest_quality(codec, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert nearest_size(image, codec, 10**6).bytes > 0


def test_few_encodings_are_made(monkeypatch):
    jpeg, calls = registry.load("jpeg"), []
    counted = jpeg._replace(encode=lambda *a: calls.append(a) or jpeg.encode(*a))
    monkeypatch.setattr(registry, "load", lambda name: counted)
    nearest_size(IMAGE, "jpeg", 2000)
    assert len(calls) <= 9


def test_knobs_that_turn_the_other_way():
    # The ratio of JPEG 2000 and the QP of HEVC make smaller files when turned up.
    small, large = (nearest_size(IMAGE, "jpeg2000", target) for target in (1500, 6000))
    assert small.bytes == pytest.approx(1500, rel=0.05)
    assert large.bytes == pytest.approx(6000, rel=0.2)  # at this end the ratio takes large steps
    assert small.value > large.value and small.psnr < large.psnr


def test_images_beyond_the_format_are_refused():
    wide = np.zeros((1, 16384, 3), np.uint8)
    with pytest.raises(UserError, match="16383"):
        nearest_size(wide, "webp", 1000)
    assert nearest_size(wide, "jpeg", 1000).psnr == math.inf
    widest = np.zeros((1, 65500, 1), np.uint8)
    assert nearest_size(widest, "jpeg", 1000).psnr == math.inf
    with pytest.raises(UserError, match="65500"):
        nearest_size(np.zeros((1, 65501, 1), np.uint8), "jpeg", 1000)


def test_an_unknown_codec_is_refused():
    with pytest.raises(UserError, match="jpeg, webp"):
        nearest_size(IMAGE, "?", 1000)
