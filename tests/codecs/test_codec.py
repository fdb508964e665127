"""What every codec of the registry promises."""

import functools
import math
import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from PIL import features

from overfit.codecs.codec import load, names
from overfit.errors import UserError
from overfit.io import colour
from overfit.io.clip import Clip
from overfit.metrics.psnr import psnr

SIGNATURES = {  # offset and first bytes that tell other programs what the file is
    ".jpg": (0, b"\xff\xd8\xff"),
    ".webp": (8, b"WEBP"),
    ".jp2": (4, b"jP  \r\n\x87\n"),
    ".avif": (4, b"ftypavif"),
    ".jxl": (0, b"\xff\x0a"),
    ".obu": (0, b"\x12\x00"),  # a temporal delimiter
    ".hevc": (0, b"\x00\x00\x00\x01\x40"),
    ".265": (0, b"\x00\x00\x00\x01\x40"),
    ".264": (0, b"\x00\x00\x00\x01\x67"),
    ".266": (0, b"\x00\x00\x00\x01\x00"),
}


def picture(height, width, shift=0):
    """Smooth shapes and some texture, uint8 [H, W, 3]; they move with `shift`."""
    rows, columns = np.mgrid[0:height, 0:width]
    columns = columns + 2 * shift
    waves = [np.sin(rows / a + columns / b) for a, b in ((5, 9), (-7, 4), (3, -6))]
    texture = np.random.default_rng(0).normal(0, 6, (height, width, 1))
    return np.clip(128 + 90 * np.stack(waves, -1) + texture, 0, 255).astype(np.uint8)


def rgb_clip(frames=3, height=48, width=64):
    pictures = np.stack([picture(height, width, shift) for shift in range(frames)])
    return Clip((pictures,), Fraction(30000, 1001))


def yuv_clip(frames=3, height=48, width=64):
    pixels = rgb_clip(frames, height, width).planes[0]
    planes = (pixels[..., 0], pixels[:, ::2, ::2, 1], pixels[:, ::2, ::2, 2])
    return Clip(planes, Fraction(25))


def available(name):
    codec = load(name)
    if reason := codec.missing():
        pytest.skip(reason)
    return codec


def takes_rgb_only(name):
    return name.endswith(("-rgb", "-444"))


def signal_for(codec):
    if codec.kind == "image":
        return picture(136, 96)
    return rgb_clip() if takes_rgb_only(codec.name) else yuv_clip()


@functools.cache
def encoded(name, value):
    """The file of `signal_for`, made once for all tests."""
    codec = load(name)
    return codec.encode(signal_for(codec), value)


def quality(codec, signal, decoded):
    """PSNR in dB of an image, or of the luma or the RGB samples of a clip."""
    if codec.kind == "image":
        return psnr(signal, decoded)
    return psnr(signal.planes[0], decoded.planes[0])


@pytest.mark.parametrize("name", names())
def test_files_are_what_they_say_and_always_the_same(name):
    codec = available(name)
    signal = signal_for(codec)
    value = codec.ladder[len(codec.ladder) // 2]
    data = encoded(name, value)
    offset, signature = SIGNATURES[codec.extension]
    assert data[offset : offset + len(signature)] == signature
    assert data == codec.encode(signal, value)
    # Encoders like to sign their work, which weighs on small files.
    assert not any(text in data for text in (b"x264", b"x265", b"options:"))


@pytest.mark.parametrize("name", names())
def test_the_ladder_climbs(name):
    codec = available(name)
    signal = signal_for(codec)
    last_size, last_quality = 0, -math.inf
    for value in (codec.ladder[0], codec.ladder[len(codec.ladder) // 2], codec.ladder[-1]):
        data = encoded(name, value)
        reached = quality(codec, signal, codec.decode(data, signal.shape))
        assert len(data) > last_size and reached > last_quality
        last_size, last_quality = len(data), reached
    assert last_quality > 30


@pytest.mark.parametrize("shape", [(33, 17, 3), (1, 1, 3), (1, 9, 1), (21, 30), (5, 3, 1)])
@pytest.mark.parametrize("name", names("image"))
def test_images_of_all_sizes_keep_their_shape(name, shape):
    codec = available(name)
    image = picture(*shape[:2])
    if shape[2:] != (3,):
        image = image[..., 0].reshape(shape)
    decoded = codec.decode(codec.encode(image, codec.scale[-1]), shape)
    assert decoded.shape == shape and decoded.dtype == np.uint8
    assert psnr(image, decoded) > (20 if len(shape) == 3 and shape[2] == 3 else 28)


@pytest.mark.parametrize("size", [(1, 1), (33, 130)])
@pytest.mark.parametrize("make", [rgb_clip, yuv_clip])
@pytest.mark.parametrize("name", names("video"))
def test_clips_of_all_sizes_keep_their_shape(name, make, size):
    codec = available(name)
    clip = make(2, *size)
    if make is yuv_clip and takes_rgb_only(name):
        with pytest.raises(UserError, match="takes RGB clips"):
            codec.encode(clip, codec.ladder[-1])
        return
    decoded = codec.decode(codec.encode(clip, codec.ladder[-1]), clip.shape)
    assert decoded.shape == clip.shape
    assert [plane.dtype for plane in decoded.planes] == [np.uint8] * len(clip.planes)
    assert psnr(clip.planes[0], decoded.planes[0]) > (20 if make is rgb_clip else 28)


@pytest.mark.parametrize("name", [name for name in names("video") if not takes_rgb_only(name)])
def test_rgb_clips_are_coded_as_their_420_conversion(name):
    codec = available(name)
    clip = rgb_clip(2, 128, 128)
    converted = Clip(colour.rgb_to_yuv420(clip.planes[0], colour.BT709, False), clip.fps)
    direct, indirect = (
        codec.decode(codec.encode(one, codec.ladder[-1]), one.shape) for one in (clip, converted)
    )
    expected = colour.yuv420_to_rgb(*indirect.planes, colour.BT709, False)
    assert np.array_equal(direct.planes[0], expected)


@pytest.mark.parametrize("damage", ["empty", "zeros", "no start", "head only", "third"])
@pytest.mark.parametrize("name", names())
def test_damaged_files_are_refused(name, damage):
    codec = available(name)
    if name == "hevc-intra" and damage == "third":
        pytest.skip("FFmpeg fills what is missing at the end of a single HEVC picture")
    data = encoded(name, codec.ladder[-1])
    broken = {
        "empty": b"",
        "zeros": bytes(300),
        "no start": data[40:],
        "head only": data[:30],
        "third": data[: len(data) // 3],
    }[damage]
    with pytest.raises(UserError, match=f"the {name} file is damaged"):
        codec.decode(broken, signal_for(codec).shape)


@pytest.mark.parametrize("name", names())
def test_a_file_of_another_shape_is_refused(name):
    codec = available(name)
    shape = signal_for(codec).shape
    wrong = (80, *shape[1:]) if codec.kind == "image" else shape._replace(frames=4)
    with pytest.raises(UserError, match="instead of 96x80|4 whole frames"):
        codec.decode(encoded(name, codec.ladder[0]), wrong)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cannot choose cores here")
@pytest.mark.parametrize("name", names())
def test_files_do_not_depend_on_the_number_of_cores(name):
    codec = available(name)
    cores = os.sched_getaffinity(0)
    value = codec.ladder[-1]
    shared = encoded(name, value)
    try:
        os.sched_setaffinity(0, {min(cores)})
        assert codec.encode(signal_for(codec), value) == shared
    finally:
        os.sched_setaffinity(0, cores)


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="no such priorities here")
@pytest.mark.parametrize("name", names())
def test_whatever_comes_after_has_the_usual_priority(name):
    """As root, SVT-AV1 would leave behind a thread that goes before all others."""
    codec = available(name)
    codec.decode(codec.encode(signal_for(codec), codec.ladder[0]), signal_for(codec).shape)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


@pytest.mark.parametrize("shape", [(8, 8, 4), (8,), (2, 8, 8, 3)])
def test_arrays_that_are_no_images_are_refused(shape):
    with pytest.raises(ValueError, match="RGB or grey"):
        load("jpeg").encode(np.zeros(shape, np.uint8), 50)
    with pytest.raises(ValueError, match="float"):
        load("jpeg").encode(np.zeros((8, 8, 3)), 50)


@pytest.mark.parametrize("name", names())
def test_values_off_the_scale_are_refused(name):
    codec = available(name)
    assert all(value in codec.scale for value in codec.ladder)
    with pytest.raises(UserError, match=f"{name} has a {codec.knob} from"):
        codec.encode(signal_for(codec), 1001)


@pytest.mark.parametrize(
    "name, package, remedy",
    [
        ("jxl", "pillow_jxl", "pillow-jxl-plugin"),
        ("hevc-intra", "av", "PyAV"),
        ("svtav1-4", "av", "PyAV"),
        ("vvenc-medium", "imageio_ffmpeg", "imageio-ffmpeg"),
    ],
)
def test_a_missing_package_is_named(name, package, remedy, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)  # importing it fails
    codec = load(name)
    sentence = codec.missing()
    assert sentence is not None and remedy in sentence and "pip install" in sentence
    for call in (codec.encode, codec.decode):
        with pytest.raises(UserError, match=remedy):
            call(None, 30)


def test_pillow_without_avif_is_told(monkeypatch):
    monkeypatch.setattr(features, "check", lambda feature: False)
    with pytest.raises(UserError, match="Pillow 11.3"):
        load("avif").encode(picture(8, 8), 50)


def test_listing_the_codecs_needs_none_of_their_packages():
    code = (
        "import sys; from overfit.codecs.codec import names; print(len(names()));"
        "print([m for m in ('av', 'pillow_jxl', 'imageio_ffmpeg', 'jax') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split("\n")[:2] == [str(len(names())), "[]"], result.stderr


def test_names():
    assert set(names("image")) | set(names("video")) == set(names())
    assert all(load(name).kind == kind for kind in ("image", "video") for name in names(kind))


@pytest.mark.parametrize("name, near", [("jpg", "jpeg"), ("x265-medium", "x265-medium-nobframes")])
def test_unknown_names_list_the_near_ones(name, near):
    with pytest.raises(UserError, match=near):
        load(name)
    with pytest.raises(UserError, match="hevc-intra.*svtav1"):
        load("?")
