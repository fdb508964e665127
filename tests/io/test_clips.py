import io
import lzma
import sys
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from overfit.errors import UserError
from overfit.io import clips
from overfit.io.clips import as_rgb, load_clip

HEIGHT, WIDTH, FRAMES = 17, 22, 5
RNG = np.random.default_rng(0)
Y = RNG.integers(0, 256, (FRAMES, HEIGHT, WIDTH), dtype=np.uint8)
U, V = RNG.integers(0, 256, (2, FRAMES, 9, 11), dtype=np.uint8)
FRAME_BYTES = [b"".join(p[i].tobytes() for p in (Y, U, V)) for i in range(FRAMES)]
RAW = b"".join(FRAME_BYTES)


def y4m(tags=f"W{WIDTH} H{HEIGHT} F30000:1001 Ip A1:1 C420jpeg", frames=FRAME_BYTES):
    return b"YUV4MPEG2 " + tags.encode() + b"\n" + b"".join(b"FRAME\n" + f for f in frames)


def assert_is_the_clip(clip, frames=FRAMES, fps=Fraction(30000, 1001)):
    assert (clip.format, clip.frames, clip.height, clip.width) == ("yuv420", frames, HEIGHT, WIDTH)
    assert clip.fps == fps
    assert [plane.dtype for plane in clip.planes] == [np.uint8] * 3
    for plane, expected in zip(clip.planes, (Y, U, V), strict=True):
        assert np.array_equal(plane, expected[:frames])


@pytest.mark.parametrize(
    "name, data, fps",
    [
        ("a.y4m", y4m(), Fraction(30000, 1001)),
        ("b.Y4M", y4m(f"W{WIDTH} H{HEIGHT} F25:1"), 25),
        ("c.y4m", y4m(f"C420mpeg2 H{HEIGHT} W{WIDTH} XCOLORRANGE=FULL"), 25),
        ("d.y4m.xz", lzma.compress(y4m()), Fraction(30000, 1001)),
        ("ReadySetGo_22x17_120fps_420_8bit_YUV.yuv", RAW, 120),
        ("BasketballPass_22x17_50.yuv", RAW, 50),
        ("clip_22x17_59.94fps.yuv", RAW, Fraction(60000, 1001)),
        ("clip_22x17_12.5Hz.yuv", RAW, Fraction(25, 2)),
        ("clip_24fps_22x17.yuv", RAW, 24),
        ("clip_22x17_420_8bit_30Hz.yuv", RAW, 30),
        ("clip_400x_22x17_60.yuv", RAW, 60),
        ("clip_22x17_50fps.yuv.xz", lzma.compress(RAW), 50),
    ],
)
def test_420_files_are_read_as_they_are(tmp_path, name, data, fps):
    (tmp_path / name).write_bytes(data)
    assert_is_the_clip(load_clip(tmp_path / name), fps=fps)
    assert_is_the_clip(load_clip(str(tmp_path / name), frames=2), 2, fps)


def test_only_the_frames_asked_for_are_read(tmp_path):
    # What follows them may be damaged or endless.
    (tmp_path / "a.y4m").write_bytes(y4m(frames=FRAME_BYTES[:2]) + b"FRAME\nshort")
    assert load_clip(tmp_path / "a.y4m", 2).frames == 2
    with pytest.raises(UserError, match="ends within a frame"):
        load_clip(tmp_path / "a.y4m", 3)


def test_a_clip_is_read_frame_by_frame(tmp_path):
    (tmp_path / "a.y4m").write_bytes(y4m(frames=FRAME_BYTES[:2]) + b"FRAME\nshort")
    with clips.open_clip(tmp_path / "a.y4m") as (shape, frames):
        assert shape == ("yuv420", 0, HEIGHT, WIDTH, Fraction(30000, 1001))
        for i in range(2):
            for plane, expected in zip(next(frames), (Y, U, V), strict=True):
                assert np.array_equal(plane, expected[i])
        with pytest.raises(UserError, match="ends within a frame"):
            next(frames)


def test_frame_parameters_of_y4m_are_skipped(tmp_path):
    data = y4m().replace(b"FRAME\n", b"FRAME Ip\n")
    (tmp_path / "a.y4m").write_bytes(data)
    assert_is_the_clip(load_clip(tmp_path / "a.y4m"))


@pytest.mark.parametrize(
    "name, data, message",
    [
        ("a.y4m", b"", "does not start as a YUV4MPEG2"),
        ("a.y4m", b"RIFF" + RAW, "does not start as a YUV4MPEG2"),
        ("a.y4m", y4m("W22 H17 F25:1 C420p10"), "C420p10"),
        ("a.y4m", y4m("W22 H17 F25:1 C444"), "C444"),
        ("a.y4m", y4m("W22 H17 F25:1 Cmono"), "Cmono"),
        ("a.y4m", y4m("W22 H17 F25:1 It"), "interlaced"),
        ("a.y4m", y4m("W22 F25:1"), "size and frame rate"),
        ("a.y4m", y4m("W22 Hx F25:1"), "size and frame rate"),
        ("a.y4m", y4m("W22 H17 F25:0"), "size and frame rate"),
        ("a.y4m", y4m("W22 H-17 F25:1"), "22x-17"),
        ("a.y4m", y4m("W22 H170000 F25:1"), "22x170000"),
        ("a.y4m", y4m(frames=[]), "no frames"),
        ("a.y4m", y4m()[:-1], "ends within a frame"),
        ("a.y4m", y4m() + b"MORE\n", "FRAME"),
        ("a_22x17_50fps.yuv", RAW[:-1], "ends within a frame"),
        ("a_22x17_50fps.yuv", b"", "no frames"),
        ("a_50fps.yuv", RAW, "no size in its name"),
        ("a_22x17.yuv", RAW, "no frame rate in its name"),
        ("a_22x17_420.yuv", RAW, "no frame rate in its name"),
        ("a_22x17_50fps_10bit.yuv", RAW, "10bit"),
        ("a_22x17_50fps_420p10le.yuv", RAW, "10le"),
        ("a_22x17_50fps_yuv444p.yuv", RAW, "444"),
        ("a_22x17_50fps.yuv.xz", lzma.compress(RAW)[:-20], "damaged"),
        ("a_22x17_50fps.yuv.xz", RAW, "damaged"),
        ("a.mkv.xz", lzma.compress(RAW), "only .yuv.xz and .y4m.xz"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message):
        load_clip(tmp_path / name)


@pytest.mark.parametrize("name", ["gone.y4m", "gone_2x2_5fps.yuv", "gone.y4m.xz"])
def test_a_file_that_is_not_there(tmp_path, name):
    with pytest.raises(UserError, match="no such file"):
        load_clip(tmp_path / name)


@pytest.mark.parametrize("frames, message", [(6, "holds 5 frames, not 6"), (0, "at least one")])
def test_more_frames_than_there_are(tmp_path, frames, message):
    (tmp_path / "a.y4m").write_bytes(y4m())
    with pytest.raises(UserError, match=message):
        load_clip(tmp_path / "a.y4m", frames)


# -- Folders ---------------------------------------------------------------------------------------


def save_frames(folder, frames):
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame{index + 1}.png")


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path):
    pixels = RNG.integers(0, 256, (11, 6, 5, 3), dtype=np.uint8)
    save_frames(tmp_path, pixels)  # frame10 sorts before frame2 as text
    (tmp_path / "notes.txt").write_text("no image")
    clip = load_clip(tmp_path)
    assert clip.format == "rgb" and clip.fps == 25
    assert np.array_equal(clip.planes[0], pixels)
    assert np.array_equal(load_clip(tmp_path, 3).planes[0], pixels[:3])


def test_grey_frames_get_three_channels(tmp_path):
    pixels = RNG.integers(0, 256, (2, 6, 5), dtype=np.uint8)
    save_frames(tmp_path, pixels)
    (plane,) = load_clip(tmp_path).planes
    assert all(np.array_equal(plane[..., channel], pixels) for channel in range(3))


def test_folders_without_a_clip_are_refused(tmp_path):
    with pytest.raises(UserError, match="no images"):
        load_clip(tmp_path)
    save_frames(tmp_path, [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)])
    with pytest.raises(UserError, match="one size"):
        load_clip(tmp_path)
    assert load_clip(tmp_path, 1).frames == 1


# -- Through PyAV ----------------------------------------------------------------------------------


def write_video(path, codec, pixels, arrays):
    """A lossless video of arrays as PyAV lays them out for that pixel format."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(24))
        stream.height, stream.width = arrays[0].shape[:2]
        if pixels.startswith("yuv"):
            stream.height = arrays[0].shape[0] * 2 // 3
        stream.pix_fmt = pixels
        for array in arrays:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format=pixels)))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("extension", ["mkv", "avi"])
def test_420_video_stays_420(tmp_path, extension):
    arrays = RNG.integers(0, 256, (4, 24, 18), dtype=np.uint8)  # 16 rows of y, then u and v
    write_video(tmp_path / f"a.{extension}", "ffv1", "yuv420p", arrays)
    clip = load_clip(tmp_path / f"a.{extension}")
    y, u, v = clip.planes
    assert clip.fps == 24 and clip.format == "yuv420"
    assert np.array_equal(y, arrays[:, :16])
    assert np.array_equal(np.concatenate([u, v], axis=1).reshape(4, 8, 18), arrays[:, 16:])
    assert load_clip(tmp_path / f"a.{extension}", 2).frames == 2


def test_rgb_video_stays_rgb(tmp_path):
    arrays = RNG.integers(0, 256, (3, 17, 19, 3), dtype=np.uint8)
    write_video(tmp_path / "a.mov", "png", "rgb24", arrays)
    clip = load_clip(tmp_path / "a.mov")
    assert clip.format == "rgb"
    assert np.array_equal(clip.planes[0], arrays)


def test_sound_is_noticed(tmp_path):
    av = pytest.importorskip("av")
    arrays = RNG.integers(0, 256, (2, 24, 16), dtype=np.uint8)
    write_video(tmp_path / "mute.mkv", "ffv1", "yuv420p", arrays)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        pictures = container.add_stream("ffv1", rate=24)
        pictures.height, pictures.width = 16, 16
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.rate = 8000
        container.mux(pictures.encode(av.VideoFrame.from_ndarray(arrays[0], format="yuv420p")))
        for stream, last in ((sound, frame), (sound, None), (pictures, None)):
            container.mux(stream.encode(last))
    assert load_clip(tmp_path / "a.mkv").frames == 1
    (tmp_path / "a.y4m").write_bytes(y4m())
    (tmp_path / "folder").mkdir()
    found = [clips.has_sound(tmp_path / n) for n in ("a.mkv", "mute.mkv", "a.y4m", "folder")]
    assert found == [True, False, False, False]


def test_videos_that_cannot_be_read_are_refused(tmp_path):
    deep = RNG.integers(0, 256, (2, 24, 16), dtype=np.uint16)
    write_video(tmp_path / "deep.mkv", "ffv1", "yuv420p10le", deep)
    with pytest.raises(UserError, match="yuv420p10le"):
        load_clip(tmp_path / "deep.mkv")
    with pytest.raises(UserError, match="no such file"):
        load_clip(tmp_path / "gone.mp4")
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(UserError, match="complete video"):
        load_clip(tmp_path / "text.mp4")


def test_without_pyav_the_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(UserError, match=r"needs PyAV; run: pip install 'overfit\[video\]'"):
        load_clip(tmp_path / "a.mp4")


# -- Clips that are large --------------------------------------------------------------------------


def test_a_large_clip_lies_in_a_file_and_is_the_same(tmp_path, monkeypatch):
    (tmp_path / "a.y4m").write_bytes(y4m())
    small = as_rgb(load_clip(tmp_path / "a.y4m"))
    monkeypatch.setattr(clips, "IN_MEMORY", 2 * len(FRAME_BYTES[0]))
    large = load_clip(tmp_path / "a.y4m")
    assert_is_the_clip(large)
    rgb = as_rgb(large)
    for plane in (*large.planes, *rgb.planes):
        assert isinstance(plane, np.memmap)  # a view: nothing was copied
    assert np.array_equal(rgb.planes[0], small.planes[0])


def test_no_room_for_a_large_clip_is_said(tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(clips, "IN_MEMORY", 1)
    monkeypatch.setattr(clips.tempfile, "TemporaryFile", lambda **_: Full())
    (tmp_path / "a.y4m").write_bytes(y4m())
    with pytest.raises(UserError, match="No space left.*TMPDIR"):
        load_clip(tmp_path / "a.y4m")
