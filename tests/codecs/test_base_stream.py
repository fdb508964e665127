"""Base streams: real x265 and x264, decoded again, and what happens to broken ones."""

from fractions import Fraction

import numpy as np
import pytest

from overfit.codecs import base_stream
from overfit.errors import UserError
from overfit.io.clip import Clip
from overfit.io.clips import load_clip
from overfit.metrics.psnr import psnr

av = pytest.importorskip("av")
PictureType = av.video.frame.PictureType


def panned(frames=4, height=131, width=150):
    """A smooth texture that moves: 4:2:0, odd sizes."""
    texture = np.random.default_rng(0).integers(0, 255, (height + 20, width + 40)).astype(float)
    texture = sum(np.roll(texture, (i, j), (0, 1)) for i in range(4) for j in range(4)) / 16

    def plane(step):
        rows, columns = -(-height // step), -(-width // step)
        return np.stack([texture[t : t + rows, 2 * t : 2 * t + columns] for t in range(frames)])

    return Clip(tuple(plane(step).astype(np.uint8) for step in (1, 2, 2)), Fraction(25))


@pytest.mark.parametrize("codec", ["x265", "x264"])
def test_a_clip_of_odd_size_comes_back(codec):
    clip = panned()
    coarse, fine = (base_stream.encode(clip, qp, codec, "veryfast") for qp in (37, 17))
    decoded = base_stream.decode(fine, clip.shape)
    assert decoded.shape == clip.shape
    assert psnr(clip.planes[0], decoded.planes[0]) > 38
    assert 2 * len(coarse.data) < len(fine.data)
    assert base_stream.encode(clip, 17, codec, "veryfast") == fine


def test_other_players_read_the_stream(tmp_path):
    clip = panned(3, 128, 128)
    stream = base_stream.encode(clip, 27, speed="medium", tune="ssim", bframes=False)
    (tmp_path / "a.265").write_bytes(stream.data)
    again, decoded = load_clip(tmp_path / "a.265"), base_stream.decode(stream, clip.shape)
    for ours, theirs in zip(decoded.planes, again.planes, strict=True):
        assert np.array_equal(ours, theirs)


def test_zero_latency_has_no_b_frames():
    clip = panned(6, 128, 128)
    kinds = {}
    for bframes in (True, False):
        stream = base_stream.encode(clip, 30, bframes=bframes)
        kinds[bframes] = {
            PictureType(picture.pict_type).name
            for picture in base_stream.pictures(stream, clip.shape)
        }
    assert kinds == {True: {"I", "P", "B"}, False: {"I", "P"}}


def test_every_flipped_bit_of_a_picture_is_noticed():
    """FFmpeg alone conceals all of these."""
    clip = panned(4, 128, 128)
    stream = base_stream.encode(clip, 27, speed="fast")
    rng = np.random.default_rng(0)
    for place in rng.integers(120, len(stream.data), 20):
        data = bytearray(stream.data)
        data[place] ^= 1 << rng.integers(8)
        with pytest.raises(UserError, match="x265 file is damaged"):
            base_stream.decode(stream._replace(data=bytes(data)), clip.shape)


def test_streams_of_another_shape_or_kind_are_refused():
    clip = panned(4, 128, 160)
    stream = base_stream.encode(clip, 27, speed="fast")
    cases = [
        (stream._replace(data=stream.data[: len(stream.data) // 2]), clip.shape),
        (stream._replace(data=b""), clip.shape),
        (stream._replace(data=b"\0\0\0\1" * 50), clip.shape),
        (stream._replace(codec="x264"), clip.shape),
        (stream, clip.shape._replace(frames=3)),
        (stream, clip.shape._replace(frames=5)),
        (stream, clip.shape._replace(width=158)),
    ]
    for broken, shape in cases:
        with pytest.raises(UserError, match="file is damaged"):
            base_stream.decode(broken, shape)


def test_a_stream_cannot_ask_for_more_memory_than_its_clip_needs():
    large = panned(1, 400, 400)
    stream = base_stream.encode(large, 40, speed="ultrafast")
    small = large.shape._replace(height=64, width=64)
    with pytest.raises(UserError, match="damaged: it cannot be decoded"):
        base_stream.decode(stream, small)


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"qp": 52}, "from 0 to 51"),
        ({"qp": 30, "speed": "slowest"}, "veryslow"),
        ({"qp": 30, "tune": "grain"}, "psnr, ssim"),
    ],
)
def test_arguments_are_checked(arguments, said):
    with pytest.raises(UserError, match=said):
        base_stream.encode(panned(1, 16, 16), **arguments)


def test_rgb_is_refused():
    with pytest.raises(UserError, match="4:2:0"):
        base_stream.encode(Clip((np.zeros((1, 16, 16, 3), np.uint8),), Fraction(25)), 30)


def test_frames_are_told_as_they_are_coded():
    told = []
    base_stream.encode(panned(6, 128, 128), 30, speed="veryfast", progress=told.append)
    assert told == [1, 2, 3, 4, 5, 6]
