"""Training clips from videos: within scenes, moving, exact, and resumable."""

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from overfit.cli import main
from overfit.io.clip import Clip
from overfit.io.clip_writers import save_clip
from overfit.io.clips import as_yuv420, load_clip, rgb_frames
from overfit.io.datasets import find
from overfit.meta import cutting
from overfit.meta.cutting import Cutting, choose, cut_clips, scene_cuts, stretches
from overfit.meta.footage import load, windows

HEIGHT, WIDTH = 48, 64
LENGTH = 4


# -- Where clips can be ----------------------------------------------------------------------------


def test_cuts_stand_out():
    rng = np.random.default_rng(0)
    quiet, fast = rng.uniform(0.5, 2, 20), rng.uniform(14, 22, 20)
    changes = [0.0, *quiet, 45.0, *quiet, 60.0, *fast, 90.0, *fast]
    assert scene_cuts(changes) == [21, 42, 63]


@pytest.mark.parametrize("changes", [[], [0.0], [0.0, 9.0], [0.0] * 9, [0.0, *[30.0] * 9]])
def test_no_cuts(changes):
    assert scene_cuts(changes) == []


def test_static_and_short_stretches_are_rejected():
    changes = [0.0, *[2.0] * 9, 60.0, *[0.0] * 9, *[2.0] * 5]
    starts, rejected = stretches(changes, 4)
    assert starts == [0, 4, 18]
    assert rejected == [
        {"frames": [8, 10], "reason": "short"},
        {"frames": [10, 18], "reason": "static"},
        {"frames": [22, 25], "reason": "short"},
    ]


@given(st.lists(st.sampled_from((0.0, 0.1, 2.0, 50.0)), max_size=60), st.integers(2, 9))
def test_every_frame_is_in_a_candidate_or_rejected(changes, length):
    starts, rejected = stretches(changes, length)
    parts = [(start, start + length) for start in starts]
    parts += [tuple(part["frames"]) for part in rejected]
    frames = [frame for begin, end in sorted(parts) for frame in range(begin, end)]
    assert frames == list(range(len(changes)))
    cuts = scene_cuts(changes)
    assert not any(start < cut < start + length for start in starts for cut in cuts)


def test_the_choice_of_a_video_does_not_depend_on_the_others():
    starts = {"a": list(range(0, 70, 7)), "b": [0, 7], "c": []}
    chosen = choose(starts, Cutting(count=3))
    assert {name: len(those) for name, those in chosen.items()} == {"a": 3, "b": 2, "c": 0}
    assert chosen["a"] == sorted(chosen["a"]) == choose({"a": starts["a"]}, Cutting(count=3))["a"]
    assert {tuple(choose(starts, Cutting(count=3, seed=s))["a"]) for s in range(5)} != {
        tuple(chosen["a"])
    }


def test_a_total_is_kept():
    chosen = choose({"a": list(range(9)), "b": list(range(9))}, Cutting(count=4, total=5))
    assert sum(map(len, chosen.values())) == 5
    assert max(map(len, chosen.values())) <= 4


# -- Clips of a video ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def videos(tmp_path_factory, picture):
    """A scene that pans, another that stands still for a while, and a third."""
    folder = tmp_path_factory.mktemp("videos")

    def pan(seed, shifts):
        wide = picture(HEIGHT, WIDTH + 60, seed=seed)
        return [wide[:, shift : shift + WIDTH] for shift in shifts]

    frames = pan(1, range(0, 30, 3)) + pan(2, [0] * 9 + [4 * i for i in range(9)])
    save_clip(folder / "long.y4m", as_yuv420(Clip((np.stack(frames),), Fraction(25))))
    short = np.stack(pan(3, range(0, 40, 4)))
    save_clip(folder / "short.y4m", as_yuv420(Clip((short,), Fraction(25))))
    return folder


def cut(videos, output, *options):
    return main(["clips", str(videos), "-o", str(output), "--quiet", *options])


def manifest_of(output):
    return json.loads((output / "manifest.json").read_text())


def test_clips_are_the_frames_that_the_manifest_says(videos, tmp_path):
    assert cut(videos, tmp_path, "--length=4") == 0
    manifest = manifest_of(tmp_path)
    long, short = manifest["videos"]
    assert (long["frames"], long["cuts"], short["cuts"]) == (28, [10], [])
    assert {"frames": [10, 18], "reason": "static"} in long["rejected"]
    assert [clip["folder"] for clip in manifest["clips"]] == [
        "long/000000", "long/000004", "long/000018", "long/000022", "short/000000", "short/000004",
    ]  # fmt: skip
    for clip in manifest["clips"]:
        source = list(rgb_frames(load_clip(videos / f"{clip['video']}.y4m")))
        (frames,) = load_clip(tmp_path / clip["folder"]).planes
        assert np.array_equal(frames, source[slice(*clip["frames"])])
        assert frames.shape == (LENGTH, clip["height"], clip["width"], 3)


def test_training_reads_the_clips(videos, tmp_path):
    assert cut(videos, tmp_path, "--length=4", "--total=3") == 0
    instances = find(f"clips:{tmp_path}")
    assert len(instances) == 3
    (window,) = windows(load(instances, 32, 3), 32, 3, 1, (0,))
    assert window.shape == (3, 32, 32, 3)


def test_frames_are_shrunk_but_not_enlarged(videos, tmp_path):
    assert cut(videos, tmp_path / "small", "--count=1", "--height=24") == 0
    assert cut(videos, tmp_path / "same", "--count=1", "--height=480") == 0
    for name, size in (("small", (24, 32)), ("same", (HEIGHT, WIDTH))):
        (clip, _) = manifest_of(tmp_path / name)["clips"]
        (frames,) = load_clip(tmp_path / name / clip["folder"]).planes
        assert frames.shape[1:3] == size == (clip["height"], clip["width"])
        assert frames.std() > 10


def test_an_interrupted_run_goes_on(videos, tmp_path, monkeypatch):
    def stop(done, count, doing):
        if doing == "long/000004":
            raise KeyboardInterrupt

    instances = find(str(videos))
    with pytest.raises(KeyboardInterrupt):
        cut_clips(instances, tmp_path, Cutting(LENGTH), stop)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    assert len(times) == 2 * LENGTH
    monkeypatch.setattr(cutting, "_changes", None)  # scenes are not looked for again
    manifest = cut_clips(instances, tmp_path, Cutting(LENGTH))
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert len(find(f"clips:{tmp_path}")) == len(manifest["clips"]) == 6
    for clip in manifest["clips"]:
        source = list(rgb_frames(load_clip(videos / f"{clip['video']}.y4m")))
        (frames,) = load_clip(tmp_path / clip["folder"]).planes
        assert np.array_equal(frames, source[slice(*clip["frames"])])


def test_a_video_that_has_changed_is_looked_at_again(videos, tmp_path):
    copy = tmp_path / "long.y4m"
    copy.write_bytes((videos / "short.y4m").read_bytes())
    (instance,) = find(str(copy))
    first = cutting._scanned(instance, tmp_path / "scan.json", lambda frame: None)
    copy.write_bytes((videos / "long.y4m").read_bytes())
    second = cutting._scanned(instance, tmp_path / "scan.json", lambda frame: None)
    assert (first.frames, second.frames) == (10, 28)


def test_a_folder_is_of_one_run(videos, tmp_path, capsys):
    assert cut(videos, tmp_path, "--count=1") == 0
    assert cut(videos, tmp_path, "--count=1") == 0
    assert cut(videos, tmp_path, "--count=2") == 2
    assert "choose another folder" in capsys.readouterr().err
    (tmp_path / "manifest.json").write_text("[]")
    assert cut(videos, tmp_path, "--count=1") == 2


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("text.mp4", b"no video", "cannot read"),
        ("text.txt", b"no video", "no pictures and no clips"),
        ("empty.y4m", b"YUV4MPEG2 W16 H16 F25:1\n", "holds no frames"),
        ("gone.mp4", None, "no pictures and no clips"),
    ],
)
def test_what_is_no_video(tmp_path, capsys, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert cut(tmp_path / name, tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("overfit: error: ") and message in line
    assert not list(tmp_path.glob("out/*"))


def test_pictures_are_no_videos(tmp_path, capsys, picture):
    Image.fromarray(picture(16, 16)).save(tmp_path / "a.png")
    assert cut(tmp_path / "a.png", tmp_path / "out") == 2
    assert "has no videos" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--length=1", "--height=8", "--count=0", "--total=0"])
def test_bad_settings(videos, tmp_path, capsys, option):
    assert cut(videos, tmp_path, option) == 2
    assert option.partition("=")[0] in capsys.readouterr().err


def test_nothing_is_left(videos, tmp_path, capsys):
    assert cut(videos, tmp_path, "--length=20") == 2
    assert "20 frames of one scene" in capsys.readouterr().err
    reasons = {r["reason"] for video in manifest_of(tmp_path)["videos"] for r in video["rejected"]}
    assert reasons == {"short"}


def test_a_damaged_video_does_not_stop_the_others(videos, tmp_path, capsys):
    data = (videos / "short.y4m").read_bytes()
    for name, content in (("good", data), ("damaged", data[:-1])):
        (tmp_path / f"{name}.y4m").write_bytes(content)
    assert cut(tmp_path, tmp_path / "out", "--length=4") == 1
    assert "damaged: " in capsys.readouterr().err
    manifest = manifest_of(tmp_path / "out")
    assert list(manifest["failures"]) == ["damaged"]
    assert {clip["video"] for clip in manifest["clips"]} == {"good"}


def test_progress_and_a_summary_are_told(videos, tmp_path, capsys):
    assert main(["clips", str(videos), "-o", str(tmp_path), "--length=4", "--json=-"]) == 0
    told = capsys.readouterr()
    assert "looking for scenes in long" in told.err and "6/6  short/000004" in told.err
    assert "6 clips of 4 frames from 2 videos" in told.err
    assert json.loads(told.out)["output"] == str(tmp_path)
