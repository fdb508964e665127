import errno
import os
from fractions import Fraction

import numpy as np
import pytest

from overfit.errors import UserError
from overfit.io import clip_writers, colour
from overfit.io.clip import Clip
from overfit.io.clip_writers import check_clip_output, save_clip
from overfit.io.clips import load_clip, plane_samples

RNG = np.random.default_rng(0)
# As they come from `load_clip`: views into one buffer, not contiguous.
SAMPLES = RNG.integers(0, 256, (3, 17 * 23 + 2 * 9 * 12), dtype=np.uint8)
YUV = Clip(
    (
        SAMPLES[:, : 17 * 23].reshape(3, 17, 23),
        SAMPLES[:, 17 * 23 : 17 * 23 + 108].reshape(3, 9, 12),
        SAMPLES[:, 17 * 23 + 108 :].reshape(3, 9, 12),
    ),
    Fraction(30000, 1001),
)
RGB = Clip((RNG.integers(0, 256, (12, 5, 7, 3), dtype=np.uint8),), Fraction(25))


def assert_same(clip, other):
    assert clip.shape == other.shape
    for plane, again in zip(clip.planes, other.planes, strict=True):
        assert np.array_equal(plane, again)


@pytest.mark.parametrize("name", ["a.y4m", "A.Y4M", "a_23x17_29.97fps.yuv"])
def test_420_files_hold_the_samples_as_they_are(tmp_path, name):
    save_clip(tmp_path / name, YUV)
    assert_same(load_clip(tmp_path / name), YUV)
    assert os.listdir(tmp_path) == [name]


def test_other_players_read_the_y4m_file(tmp_path):
    av = pytest.importorskip("av")
    save_clip(tmp_path / "a.y4m", YUV)
    with av.open(str(tmp_path / "a.y4m")) as container:
        assert container.streams.video[0].average_rate == YUV.fps
        frames = list(container.decode(video=0))
        assert len(frames) == 3
        for frame, *planes in zip(frames, *YUV.planes, strict=True):
            for plane, expected in zip(frame.planes, planes, strict=True):
                assert np.array_equal(plane_samples(plane), expected)


@pytest.mark.parametrize("name", ["frames", "frames/"])
def test_a_folder_holds_one_png_per_frame(tmp_path, name):
    os.mkdir(tmp_path / "frames")  # empty: replaced
    save_clip(str(tmp_path / name), RGB)
    assert len(os.listdir(tmp_path / "frames")) == 12
    assert_same(load_clip(tmp_path / "frames"), RGB)
    assert os.listdir(tmp_path) == ["frames"]


def test_420_becomes_rgb_in_a_folder(tmp_path):
    save_clip(tmp_path / "frames", YUV)
    again = load_clip(tmp_path / "frames")
    expected = colour.yuv420_to_rgb(*YUV.planes, colour.BT709, False)
    assert np.array_equal(again.planes[0], expected)


@pytest.mark.parametrize(
    "name, clip, said",
    [
        ("a.y4m", RGB, "4:2:0 clips only"),
        ("a.mp4", YUV, "clips are written to a .y4m file"),
        ("full", RGB, "no empty folder"),
        ("gone/frames", RGB, "must exist"),
        ("gone/a.yuv", YUV, "does not exist"),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path, name, clip, said):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept.txt").write_text("x")
    with pytest.raises(UserError, match=said):
        save_clip(tmp_path / name, clip)
    assert os.listdir(tmp_path) == ["full"] and os.listdir(tmp_path / "full") == ["kept.txt"]


def test_outputs_are_checked_beforehand(tmp_path):
    for good, form in (("a.y4m", "yuv420"), ("b.yuv", "yuv420"), ("new", "rgb")):
        check_clip_output(tmp_path / good, form)
    for bad, form in (("a.yuv", "rgb"), ("a.mkv", "yuv420"), ("", "rgb")):
        with pytest.raises(UserError):
            check_clip_output(tmp_path / bad if bad else "", form)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_no_part_of_a_folder(tmp_path, monkeypatch):
    def fails_later(path, array):
        if path.endswith("00002.png"):
            raise OSError(errno.ENOSPC, "No space left on device")
        save(path, array)

    save = clip_writers.save_image
    monkeypatch.setattr(clip_writers, "save_image", fails_later)
    with pytest.raises(UserError, match="No space left"):
        save_clip(tmp_path / "frames", RGB)
    assert os.listdir(tmp_path) == []
