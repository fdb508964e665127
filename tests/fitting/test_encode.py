"""The Python interface: arrays in, bytes out, and what is said about them is true."""

import math

import numpy as np
import pytest
from small_model import SMALL

import overfit
from overfit.errors import UserError
from overfit.fitting.encode import encode
from overfit.fitting.groups import Options, Request
from overfit.metrics.psnr import psnr

# Networks so small that a test compiles and fits them in seconds.
HEIGHT, WIDTH = 32, 40


def small(**options):
    return {"set": SMALL, "steps": 60} | options


@pytest.fixture(scope="module")
def image(picture):
    return picture(HEIGHT, WIDTH)


# One image


def test_what_is_said_about_a_file_is_true(image):
    (result,) = encode([Request(image, Options(**small(lmbda=1e-4, steps=200)))])
    decoded = overfit.decode(result.data)
    about = result.about
    assert about["psnr"] == psnr(image, decoded) > 20
    assert about["bytes"] == len(result.data)
    assert about["bpp"] == 8 * len(result.data) / (HEIGHT * WIDTH)
    assert sum(about["bits"].values()) == 8 * len(result.data)
    assert (about["width"], about["height"], about["pixels"]) == (WIDTH, HEIGHT, WIDTH * HEIGHT)
    assert (about["steps"], about["seed"], about["lmbda"]) == (200, 0, np.float32(1e-4))
    # The loss is D + lambda * R before the networks are quantized, so the file is near it.
    distortion = 10 ** (-about["psnr"] / 10)
    rate = about["bits"]["latents"] / about["pixels"]
    assert distortion + 1e-4 * rate == pytest.approx(about["loss"], rel=0.25)
    assert about["settings"]["latents.num_grids"] == 2
    assert tuple(about["settings"]["entropy.widths"]) == (4,)
    known = overfit.info(result.data)
    assert all(about[key] == value for key, value in known.items())


def test_latents_may_have_no_context(image):
    """Each is coded under one distribution for its whole grid, as far as its network says."""
    data = overfit.encode(image, set=SMALL | {"entropy.context": 0}, steps=60)
    assert overfit.decode(data).shape == image.shape


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(image):
    first = overfit.encode(image, **small())
    assert isinstance(first, bytes)
    assert overfit.encode(image, **small(seed=0)) == first
    other = overfit.encode(image, **small(seed=1))
    assert other != first
    assert overfit.decode(other).shape == overfit.decode(first).shape == image.shape


def test_lambda_trades_size_for_quality(image):
    fine, coarse = (
        encode([Request(image, Options(**small(lmbda=lmbda, steps=200)))])[0].about
        for lmbda in (1e-5, 1e-1)
    )
    assert fine["bytes"] > 1.5 * coarse["bytes"] and fine["psnr"] > coarse["psnr"] + 1


def test_fits_of_one_architecture_share_a_program_and_get_what_they_would_get_alone(image):
    """Whatever their lambda, schedule, seed and number of steps."""
    jobs = [
        Request(image, Options(**small())),
        Request(image[:, ::-1], Options(**small(lmbda=1e-2, seed=3))),
        Request(image, Options(**small(steps=30) | {"set": SMALL | {"fit.lr": 3e-3}})),
    ]
    together = [result.data for result in encode(jobs)]
    assert together == [encode([job])[0].data for job in jobs]
    assert len(set(together)) == 3


def test_the_input_is_not_changed_and_may_be_a_view(image):
    flipped = image[::-1, ::-1]
    copy = flipped.copy()
    flipped.flags.writeable = False
    data = overfit.encode(flipped, **small())
    np.testing.assert_array_equal(flipped, copy)
    assert data == overfit.encode(copy, **small())


def test_grey_images_stay_grey(picture):
    grey = picture(HEIGHT, WIDTH, 1)
    data = overfit.encode(grey, **small(lmbda=1e-4, steps=200))
    decoded = overfit.decode(data)
    assert decoded.shape == (HEIGHT, WIDTH) and decoded.dtype == np.uint8
    assert psnr(grey[..., 0], decoded) > 20
    assert overfit.info(data)["channels"] == 1
    assert overfit.encode(grey[..., 0], **small(lmbda=1e-4, steps=200)) == data


def test_one_pixel_is_an_image():
    pixel = np.array([[[255, 128, 0]]], np.uint8)
    decoded = overfit.decode(overfit.encode(pixel, **small(lmbda=1e-6, steps=300)))
    assert decoded.shape == (1, 1, 3)
    assert np.abs(decoded.astype(int) - pixel).max() < 40


# Several images


def test_a_list_is_encoded_as_its_images_alone_would_be(picture):
    """Fitted together or alone, of equal shape or not: the order is kept and so is the result."""
    images = [picture(HEIGHT, WIDTH), picture(HEIGHT, WIDTH, 1)[..., 0]]
    images.append(picture(HEIGHT, WIDTH, seed=1))
    together = overfit.encode(images, **small(lmbda=1e-4, steps=200))
    assert isinstance(together, list) and len(together) == 3
    for image, data in zip(images, together, strict=True):
        alone = overfit.encode(image, **small(lmbda=1e-4, steps=200))
        decoded = overfit.decode(data)
        assert decoded.shape == image.shape
        # Images share devices in another way than the parts of one image do, and floats are then
        # added in another order: the files are equally good, not equal.
        assert psnr(image, decoded) == pytest.approx(psnr(image, overfit.decode(alone)), abs=0.5)
        assert len(data) == pytest.approx(len(alone), rel=0.05)


def test_no_images_are_no_files():
    assert overfit.encode([]) == []


# Progress


def test_progress_is_told_until_the_end(image):
    heard = []
    overfit.encode(image, **small(steps=100), progress=heard.append)
    steps = [report.step for report in heard]
    assert steps == sorted(steps) and steps[0] >= 1 and steps[-1] == 110
    for report in heard:
        assert report.total == 110
        assert math.isfinite(report.loss) and report.loss > 0
        assert 0 <= report.bpp < 24 * 3 and 0 < report.psnr < 60
        assert report.steps_per_second > 0
        assert report.seconds_left == pytest.approx((110 - report.step) / report.steps_per_second)


def test_a_progress_function_can_stop_the_fit(image):
    def stop(report):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        overfit.encode(image, **small(steps=10**9), progress=stop)


# Targets


# Without a search the file has 0.9 bpp and 22 dB. It grows and shrinks by 32-bit words: 3 % here.


@pytest.mark.parametrize("target", [0.8, 0.85])
def test_a_target_size_is_met(image, target):
    data = overfit.encode(image, **small(target_bpp=target, steps=300))
    assert 8 * len(data) / (HEIGHT * WIDTH) == pytest.approx(target, rel=0.06)


@pytest.mark.parametrize("target", [23.0])
def test_a_target_quality_is_met(image, target):
    data = overfit.encode(image, **small(target_psnr=target, steps=300))
    assert psnr(image, overfit.decode(data)) == pytest.approx(target, abs=0.35)


def test_a_target_out_of_reach_is_approached(image):
    """The networks alone take more: the search ends, with the smallest file that it has found."""
    usual = overfit.encode(image, **small())
    data = overfit.encode(image, **small(target_bpp=0.01))
    assert len(data) <= len(usual)
    assert overfit.decode(data).shape == image.shape


# What is refused


@pytest.mark.parametrize(
    "bad, word",
    [
        (np.zeros((8, 8, 3), np.float32), "uint8"),
        (np.zeros((8, 8, 3), np.uint16), "uint8"),
        (np.zeros((8, 8, 3), bool), "uint8"),
        (np.zeros((8, 8, 4), np.uint8), "(8, 8, 4)"),
        (np.zeros((8, 8, 2), np.uint8), "(8, 8, 2)"),
        (np.zeros((0, 8, 3), np.uint8), "(0, 8, 3)"),
        (np.zeros(8, np.uint8), "(8"),
        (np.zeros((), np.uint8), "()"),
        (np.zeros((2, 8, 8, 4), np.uint8), "clip"),
        (np.zeros((2, 0, 8, 3), np.uint8), "clip"),
        ("photo.png", "uint8"),
        (None, "uint8"),
    ],
    ids=lambda value: str(getattr(value, "shape", value)),
)
def test_what_is_no_image_is_refused(bad, word):
    with pytest.raises(UserError) as error:
        overfit.encode(bad, **small())
    assert word in str(error.value) and "\n" not in str(error.value)


def test_one_bad_image_is_found_before_the_others_are_fitted(image):
    with pytest.raises(UserError, match="uint8"):
        overfit.encode([image, image.astype(float)], **small(steps=10**9))


@pytest.mark.parametrize(
    "options, word",
    [
        ({"method": "c4"}, "c3"),
        ({"preset": "c3-kodac"}, "c3-kodak"),
        ({"steps": 0}, "steps"),
        ({"steps": -5}, "steps"),
        ({"lmbda": 0.0}, "lambda"),
        ({"lmbda": -1e-3}, "lambda"),
        ({"lmbda": math.nan}, "lambda"),
        ({"lmbda": math.inf}, "lambda"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"set": {"entropy.contxt": 2}}, "entropy.context"),
        ({"set": {"entropy.context": 9}}, "entropy.context"),
        ({"target_bpp": 1.0, "target_psnr": 30.0}, "one of"),
        ({"target_bpp": 0.0}, "target-bpp"),
        ({"target_bpp": 100.0}, "target-bpp"),
        ({"target_bpp": math.nan}, "target-bpp"),
        ({"target_psnr": 200.0}, "target-psnr"),
        ({"target_psnr": -3.0}, "target-psnr"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(image, options, word):
    with pytest.raises(UserError) as error:
        overfit.encode(image, **options)
    assert word in str(error.value) and "\n" not in str(error.value)


def test_images_that_no_file_can_hold_are_refused_before_the_fit():
    with pytest.raises(UserError, match="cut it into parts"):
        overfit.encode(np.zeros((1, 2**14 + 1, 3), np.uint8), **small(steps=10**9))


@pytest.mark.parametrize("data", [b"", b"OVF", b"\x89PNG\r\n\x1a\n", bytes(1000)])
def test_what_is_no_file_is_not_decoded(data):
    for function in (overfit.decode, overfit.info):
        with pytest.raises(UserError):
            function(data)
