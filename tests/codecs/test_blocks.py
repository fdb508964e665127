"""Blocks of real streams of known motion, and their features against the paper's definition."""

import io
import subprocess
import sys
import time
import zlib
from fractions import Fraction

import numpy as np
import pytest

from overfit.codecs import base_stream, de265, h264_blocks, hevc_blocks
from overfit.codecs.blocks import BLOCK, block_map, features
from overfit.errors import UserError
from overfit.io.clip import Clip

av = pytest.importorskip("av")
needs_libde265 = pytest.mark.skipif(de265.find() is None, reason="no libde265")
READERS = {"x264": h264_blocks.read, "x265": hevc_blocks.read}


def panned(down, right, frames=5, height=131, width=150):
    """Content that moves down and to the right by so many px per frame, and a flat corner."""
    rng = np.random.default_rng(3)
    texture = rng.integers(0, 255, (height + 60, width + 60)).astype(float)
    texture = sum(np.roll(texture, (i, j), (0, 1)) for i in range(4) for j in range(4)) / 16
    starts = [(30 - down * t, 30 - right * t) for t in range(frames)]
    luma = np.stack([texture[y : y + height, x : x + width] for y, x in starts]).astype(np.uint8)
    luma[:, :40, :60] = 90
    chroma = np.full((frames, -(-height // 2), -(-width // 2)), 128, np.uint8)
    return Clip((luma, chroma, chroma), Fraction(25))


@needs_libde265
def test_libde265_passes_its_test_here():
    assert hevc_blocks.missing() is None


@pytest.mark.parametrize("codec", ["x264", pytest.param("x265", marks=needs_libde265)])
def test_vectors_are_the_motion_and_intra_frames_have_none(codec):
    clip = panned(1, 3)
    stream = base_stream.encode(clip, 18, codec, "medium", bframes=False)
    first, *others = READERS[codec](stream, clip.shape)
    assert not first["uses"].any() and not first["vectors"].any()
    assert len(others) == 4
    for blocks in others:
        assert not blocks["uses"][:, 1].any()  # list 1 is for B frames
        used = blocks[blocks["uses"][:, 0]]
        area = used["width"].astype(int) * used["height"]
        steps = used["vectors"][:, 0] / (-12, -4)  # frames between the block and its source
        moving = (used["x"] >= 64) & (used["x"] < 112) & (used["y"] >= 48) & (used["y"] < 112)
        assert np.isin(steps[moving], [[1, 1], [2, 2], [3, 3], [4, 4]]).mean() > 0.8
        still = (used["x"] < 48) & (used["y"] < 24)
        assert (area * (used["vectors"][:, 0] == 0).all(1))[still].sum() > 0.5 * area[still].sum()


@pytest.mark.parametrize("codec", ["x264", pytest.param("x265", marks=needs_libde265)])
@pytest.mark.parametrize("qp", [12, 37])
def test_blocks_of_b_frames_cover_the_picture_and_use_both_lists(codec, qp):
    clip = panned(1, 2, frames=8)
    stream = base_stream.encode(clip, qp, codec, "slow")
    pictures = list(READERS[codec](stream, clip.shape))
    assert len(pictures) == 8
    assert any(blocks["uses"].all(1).any() for blocks in pictures)
    for blocks in pictures:
        assert block_map(blocks, 131, 150) is not None
        assert (blocks["vectors"][~blocks["uses"]] == 0).all()


@needs_libde265
def test_ten_bit_streams_have_blocks_and_the_same_samples_as_in_ffmpeg():
    luma = panned(0, 2, 3, 128, 128).planes[0].astype(np.uint16) * 4
    chroma = np.full((64, 128), 512, np.uint16)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="hevc") as container:
        options = {"x265-params": "qp=20:bframes=0:log-level=none"}
        stream = container.add_stream("libx265", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv420p10le"
        for picture in luma:
            planes = np.concatenate([picture, chroma])
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p10le")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    shape = Clip((np.zeros((3, 128, 128), np.uint8),) * 3, Fraction(25)).shape
    *pictures, crc = hevc_blocks.decode(buffer.getvalue(), shape)
    assert np.median(pictures[1]["vectors"][:, 0], axis=0).tolist() == [-8, 0]
    expected = 0
    with av.open(io.BytesIO(buffer.getvalue()), format="hevc") as container:
        for frame in container.decode(video=0):
            expected = zlib.crc32(frame.to_ndarray().tobytes(), expected)
    assert crc == expected


# -- Broken streams and libraries ------------------------------------------------------------------


@needs_libde265
def test_broken_streams_are_refused_and_do_no_harm():
    clip = panned(1, 1, 3, 128, 128)
    stream = base_stream.encode(clip, 27, speed="fast")
    rng = np.random.default_rng(0)
    broken = [b"", b"\0\0\1" * 40, stream.data[:-40], rng.bytes(5000)]
    for _ in range(6):
        data = bytearray(stream.data)
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        broken.append(bytes(data))
    for data in broken:
        with pytest.raises(UserError, match="x265 file is damaged"):
            list(hevc_blocks.read(stream._replace(data=data), clip.shape))
    for shape in (clip.shape._replace(frames=2), clip.shape._replace(height=136)):
        with pytest.raises(UserError, match="x265 file is damaged"):
            list(hevc_blocks.read(stream, shape))


@needs_libde265
def test_the_process_has_bounded_memory():
    code = (
        "import numpy as np; from overfit.codecs import de265; de265._limit(10**6, 0);"
        "print(np.ones(10**8, np.uint8).sum()); np.ones(10**9, np.uint16)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "100000000" and "MemoryError" in done.stderr


def test_without_the_library_the_package_is_named(monkeypatch):
    monkeypatch.setattr(de265, "find", lambda: None)
    clip = panned(1, 1, 1, 128, 128)
    stream = base_stream.encode(clip, 40, speed="ultrafast")
    hevc_blocks.missing.cache_clear()
    try:
        with pytest.raises(UserError, match=r"needs libde265; run: pip install 'overfit\[video\]'"):
            hevc_blocks.read(stream, clip.shape)
    finally:
        hevc_blocks.missing.cache_clear()


# -- Features --------------------------------------------------------------------------------------


def block(x, y, width, height, uses=(0, 0), vectors=((0, 0), (0, 0))):
    return np.array((x, y, width, height, uses, vectors), BLOCK)


def test_features_are_those_of_the_paper():
    """Figure 4 at its full resolution: one block of 8 rows, two of 4, all 4 or 8 columns wide."""
    blocks = np.stack(
        [
            block(0, 0, 8, 8, (1, 0), ((6, -8), (0, 0))),
            block(8, 0, 4, 4, (1, 1), ((4, 0), (-1, 2047))),
            block(8, 4, 4, 4),
        ]
    )
    planes = features(blocks, 8, 12)
    assert planes.shape == (6, 4, 6) and planes.dtype == np.float16
    assert planes[:4, 0, 0].tolist() == [1.5, -2, 0, 0]
    assert planes[:4, 1, 5].tolist() == [1, 0, -0.25, 511.75]
    assert not planes[:4, 2:, 4:].any()
    sevenths, thirds = np.array([-7, -3, 1, 5]) / 7, np.array([-3, 1]) / 3
    np.testing.assert_allclose(planes[4, :, 0], sevenths, atol=1e-3)
    np.testing.assert_allclose(planes[4, :, 4], [*thirds, *thirds], atol=1e-3)
    np.testing.assert_allclose(planes[5, 0], [*sevenths, *thirds], atol=1e-3)


def test_blocks_may_reach_beyond_the_picture_but_must_cover_it_once():
    large = np.stack([block(0, 0, 64, 64), block(64, 0, 64, 64)])
    assert features(large, 37, 90).shape == (6, 19, 45)
    assert features(large, 37, 90)[5, 0, -1] == np.float16(-1 + 2 * (88 - 64) / 63)
    for bad in (large[:1], large[[0, 1, 1]], np.stack([large[0], block(60, 0, 64, 64)])):
        assert block_map(bad, 37, 90) is None
        with pytest.raises(ValueError, match="cover"):
            features(bad, 37, 90)


def test_only_waiting_for_a_decoder_counts():
    code = "import sys, time; sys.stdout.write(8 * 'x'); sys.stdout.flush(); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    reader = hevc_blocks._Reader(process, 60)
    assert reader.take(4) == b"xxxx"
    reader._left = 0.3
    time.sleep(0.5)  # a fit between two frames
    assert reader.take(4) == b"xxxx"
    with pytest.raises(UserError, match="to its end"):
        reader.take(4)
    assert process.wait(10) != 0
    process.communicate()
