"""That the streams carry what their names say, seen by FFmpeg rather than by our own decoder."""

import io
from fractions import Fraction

import numpy as np
import pytest

from overfit.codecs.codec import load, names
from overfit.io.clip import Clip
from overfit.io.clips import load_clip
from overfit.metrics.psnr import psnr

av = pytest.importorskip("av")
PictureType = av.video.frame.PictureType

ROWS, COLUMNS = np.mgrid[0:128, 0:128]  # large enough to be coded without padding
SATURATED = np.stack([ROWS * 2, COLUMNS * 2, 255 - 2 * COLUMNS], axis=-1).astype(np.uint8)


def moving_clip(frames=8):
    """A texture that moves: worth a B-frame."""
    texture = np.random.default_rng(0).integers(0, 200, (128, 200)).astype(float)
    smooth = sum(np.roll(texture, shift, axis=1) for shift in range(6)) / 6
    y = np.stack([smooth[:, 2 * t : 2 * t + 128] for t in range(frames)]).astype(np.uint8)
    chroma = np.full((frames, 64, 64), 128, np.uint8)
    return Clip((y, chroma, chroma), Fraction(25))


def frames_of(data, muxer):
    with av.open(io.BytesIO(data), format=muxer) as container:
        return list(container.decode(video=0))


@pytest.mark.parametrize("name", ["hevc-intra", "x265-veryslow-nobframes-444", "x264-medium"])
def test_colours_are_right_in_other_players(name):
    codec = load(name)
    signal = SATURATED if codec.kind == "image" else Clip((SATURATED[None],), Fraction(25))
    data = codec.encode(signal, codec.ladder[-1])
    (frame,) = frames_of(data, "h264" if name.startswith("x264") else "hevc")
    # A wrong matrix or range costs some 20 dB.
    assert psnr(SATURATED, frame.to_ndarray(format="rgb24")) > 34


def test_rgb_is_coded_as_rgb():
    clip = Clip((SATURATED[None],), Fraction(25))
    (frame,) = frames_of(load("x265-medium-nobframes-rgb").encode(clip, 17), "hevc")
    assert frame.format.name == "gbrp"
    assert psnr(SATURATED, frame.to_ndarray(format="rgb24")) > 40


@pytest.mark.parametrize("name", [name for name in names("video") if name.startswith("x26")])
def test_b_frames_are_where_the_name_allows_them(name):
    codec = load(name)
    clip = moving_clip()
    if name.endswith(("-rgb", "-444")):
        clip = Clip((np.repeat(clip.planes[0][..., None], 3, axis=-1),), clip.fps)
    data = codec.encode(clip, codec.ladder[1])
    frames = frames_of(data, "h264" if "264" in name else "hevc")
    has_b_frames = any(frame.pict_type == PictureType.B for frame in frames)
    assert has_b_frames == (name in ("x264-medium", "x265-veryslow"))


def test_grey_images_have_no_chroma():
    (frame,) = frames_of(load("hevc-intra").encode(SATURATED[..., 0], 30), "hevc")
    assert frame.format.name == "gray"


def test_qp_is_the_quantizer():
    # One step of QP is 2^(1/6) in the quantizer: 12 steps are 4 times as coarse, some 12 dB.
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    codec = load("hevc-intra")
    low, high = (psnr(noise, codec.decode(codec.encode(noise, qp), noise.shape)) for qp in (34, 22))
    assert high - low == pytest.approx(12, abs=1.5)


@pytest.mark.parametrize("name", ["x264-medium", "x265-medium-nobframes", "svtav1-4"])
def test_a_written_stream_is_a_clip_again(name, tmp_path):
    codec = load(name)
    clip = moving_clip(4)
    data = codec.encode(clip, codec.ladder[-1])
    path = tmp_path / f"stream{codec.extension}"
    path.write_bytes(data)
    decoded, again = codec.decode(data, clip.shape), load_clip(path)
    for ours, read in zip(decoded.planes, again.planes, strict=True):
        assert np.array_equal(ours, read)
