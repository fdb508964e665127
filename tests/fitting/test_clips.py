"""Clips from frames to a file and back: by the API, by the command, after an interruption."""

import json

import numpy as np
import pytest
from PIL import Image
from small_model import SMALL as STILL
from small_model import words

import overfit
from overfit.cli import main
from overfit.fitting import run
from overfit.metrics.psnr import psnr

# Two patches of one shape: a round with one compiled program.
SIZE, PATCH = (4, 16, 24), (2, 16, 24)
SMALL = STILL | {"entropy.frame": 1}
MASKED = SMALL | {"entropy.frame": 4, "entropy.mask": 2, "start.mask_steps": 300}


@pytest.fixture(scope="module")
def clip(picture):
    """uint8 [T, H, W, 3]: a picture that moves."""
    frames, height, width = SIZE
    still = picture(height + frames, width + 2 * frames)
    moving = [still[t : t + height, 2 * t : 2 * t + width] for t in range(frames)]
    return np.stack(moving)


def encode(clip, **options):
    options = {"set": SMALL, "steps": 300, "lmbda": 1e-4, "patch": PATCH} | options
    return overfit.encode(clip, **options)


@pytest.fixture(scope="module")
def coded(clip):
    return encode(clip, fps=29.97)


def test_a_clip_comes_back(clip, coded):
    decoded = overfit.decode(coded)
    assert decoded.shape == clip.shape and decoded.dtype == np.uint8
    assert psnr(clip, decoded) > 20
    about = overfit.info(coded)
    assert about["fps"] == pytest.approx(29.97, abs=0.001)
    assert (about["frames"], about["height"], about["width"]) == SIZE
    assert about["patches"] == 2 and tuple(about["patch"]) == PATCH
    assert about["bytes"] == len(coded) and sum(about["bits"].values()) == 8 * len(coded)
    assert about["bpp"] == pytest.approx(8 * len(coded) / np.prod(SIZE))


def test_an_interrupted_clip_goes_on_to_the_same_file(clip, tmp_path, monkeypatch):
    """In the search for the masks' places, and behind it."""
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(run, "CHUNK_SECONDS", 0.1)
    options = {"preset": "c3-uvg-masked", "set": MASKED}
    whole = encode(clip, **options)
    heard = []

    def stop(report):
        heard.append(report)
        behind = report.total == 330 and report.step > 20
        if len(heard) == 3 or behind:
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            encode(clip, checkpoint=str(tmp_path), progress=stop, **options)
    assert {report.total for report in heard} == {300, 330}
    steps = []
    again = encode(clip, checkpoint=str(tmp_path), progress=steps.append, **options)
    assert again == whole and steps[0].step > 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def folder(clip, tmp_path_factory):
    """The clip as a folder of frames, and its file as the command writes it."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "frames").mkdir()
    for t, frame in enumerate(clip):
        Image.fromarray(frame).save(folder / "frames" / f"f{t}.png")
    command = ["encode", str(folder / "frames"), "-o", str(folder / "a.ovf"), *words(SMALL)]
    command += ["--steps", "300", "--lmbda", "1e-4", "--patch", "2,16,24"]
    assert main([*command, "--quiet", "--json", str(folder / "a.json")]) == 0
    return folder


def frames(folder):
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])


def test_the_command_writes_the_same_and_says_what_is_true(clip, coded, folder):
    data = (folder / "a.ovf").read_bytes()
    # But for the frame rate, which a folder of frames does not know.
    assert np.array_equal(overfit.decode(data), overfit.decode(coded))
    about = json.loads((folder / "a.json").read_text())
    decoded = overfit.decode(data)
    mean = np.mean([psnr(a, b) for a, b in zip(clip, decoded, strict=True)])
    assert about["psnr"] == pytest.approx(mean)
    assert about["bytes"] == len(data) and about["frames"] == 4 and about["steps"] == 300
    assert about["preset"] == "c3-uvg-shared" and about["lmbda"] == pytest.approx(1e-4)


def test_frames_are_decoded_alone(folder, tmp_path):
    assert main(["decode", str(folder / "a.ovf"), "-o", str(tmp_path / "all")]) == 0
    assert (
        main(["decode", str(folder / "a.ovf"), "-o", str(tmp_path / "b"), "--frames", "1:3"]) == 0
    )
    assert np.array_equal(frames(tmp_path / "b"), frames(tmp_path / "all")[1:3])


def test_what_is_intact_before_a_damage_is_salvaged(folder, tmp_path, capsys):
    data = bytearray((folder / "a.ovf").read_bytes())
    data[-5] ^= 1  # in the second patch
    (tmp_path / "d.ovf").write_bytes(data)
    assert main(["decode", str(tmp_path / "d.ovf"), "-o", str(tmp_path / "no")]) == 2
    assert not (tmp_path / "no").exists()
    assert "patch 2 of 2" in capsys.readouterr().err.splitlines()[-1]
    command = ["decode", str(tmp_path / "d.ovf"), "-o", str(tmp_path / "yes"), "--salvage"]
    assert main(command) == 0
    assert "patch 2 of 2" in capsys.readouterr().err
    kept, whole = frames(tmp_path / "yes"), overfit.decode((folder / "a.ovf").read_bytes())
    assert np.array_equal(kept[:2], whole[:2]) and (kept[2:] == 128).all()


@pytest.mark.parametrize(
    "options, word",
    [
        (["--patch", "1,2"], "patch"),
        (["--frames", "9"], "9"),
        (["--preset", "c3-kodak", "--set", "synthesis.upsampling=learned"], "upsampling"),
    ],
)
def test_bad_options_of_clips_are_refused(folder, tmp_path, capsys, options, word):
    command = ["encode", str(folder / "frames"), "-o", str(tmp_path / "a.ovf"), *options]
    assert main(command) == 2
    assert word in capsys.readouterr().err and not (tmp_path / "a.ovf").exists()


def test_a_clip_is_made_to_size(clip):
    """All patches with the same lambda, which is found by correcting the first one's."""
    data = encode(clip, lmbda=1e-3, target_bpp=1.8)
    assert overfit.info(data)["bpp"] == pytest.approx(1.8, rel=0.05)
    assert overfit.info(data)["patches"] == 2 and psnr(clip, overfit.decode(data)) > 20


def test_options_of_clips_are_not_for_images(folder, tmp_path, capsys):
    image = str(folder / "frames" / "f0.png")
    assert main(["encode", image, "-o", str(tmp_path / "a.ovf"), "--patch", "1,8,8"]) == 2
    assert "--patch is for clips" in capsys.readouterr().err
