"""4:2:0 clips that stay 4:2:0, from a file to a file: by the command, other processes, the API."""

import json
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from small_model import SMALL as STILL
from small_model import words

import overfit
from overfit.cli import main
from overfit.errors import UserError
from overfit.fitting import run
from overfit.io.clip import Clip
from overfit.io.clip_writers import save_clip
from overfit.io.clips import as_yuv420, load_clip
from overfit.metrics.psnr import clip_psnr, yuv_psnr

# Neither rows nor columns are even; the right and lower patches are smaller.
PATCH = (3, 10, 16)
SMALL = STILL | {"entropy.frame": 1, "samples.format": "yuv420"}


@pytest.fixture(scope="module")
def clip(picture):
    """A picture that moves: 3 frames of 27x15."""
    still = picture(20, 36)
    moving = np.stack([still[t : 15 + t, 2 * t : 27 + 2 * t] for t in range(3)])
    return as_yuv420(Clip((moving,), Fraction(30000, 1001)))


@pytest.fixture(scope="module")
def folder(clip, tmp_path_factory):
    """With the clip, in.y4m, and its file as the command writes it, a.ovf and a.json."""
    folder = tmp_path_factory.mktemp("yuv420")
    save_clip(folder / "in.y4m", clip)
    command = ["encode", str(folder / "in.y4m"), "-o", str(folder / "a.ovf"), *words(SMALL)]
    command += ["--steps", "400", "--lmbda", "1e-4", "--patch", ",".join(map(str, PATCH))]
    assert main([*command, "--quiet", "--json", str(folder / "a.json")]) == 0
    return folder


def assert_equal(a: Clip, b: Clip):
    assert a.shape == b.shape
    for one, other in zip(a.planes, b.planes, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_samples_come_back_in_another_process(clip, folder, tmp_path):
    command = [sys.executable, "-m", "overfit", "decode", str(folder / "a.ovf"), "-o"]
    subprocess.run([*command, str(tmp_path / "out.y4m")], check=True, timeout=100)
    shown = load_clip(tmp_path / "out.y4m")
    assert shown.shape == clip.shape
    assert_equal(shown, overfit.decode((folder / "a.ovf").read_bytes()))
    # Luma and chroma are those of the clip, not only something of their size.
    for plane, original in zip(shown.planes, clip.planes, strict=True):
        assert clip_psnr(original, plane) > 22


def test_what_is_said_is_measured_on_the_decoded_planes(clip, folder):
    about = json.loads((folder / "a.json").read_text())
    data = (folder / "a.ovf").read_bytes()
    shown = overfit.decode(data)
    y, u, v = (clip_psnr(a, b) for a, b in zip(clip.planes, shown.planes, strict=True))
    assert [about[f"psnr_{c}"] for c in "yuv"] == pytest.approx([y, u, v])
    assert about["psnr_yuv"] == pytest.approx(yuv_psnr(y, u, v)) and about["psnr"] is None
    told = overfit.info(data)
    assert told["format"] == "yuv420" and told["settings"]["samples.format"] == "yuv420"
    assert told["patches"] == 4 and told["bytes"] == len(data) == about["bytes"]


def test_some_frames_as_pictures_or_planes(folder, tmp_path):
    whole = overfit.decode((folder / "a.ovf").read_bytes())
    command = ["decode", str(folder / "a.ovf"), "--frames", "1:3", "-o"]
    assert main([*command, str(tmp_path / "some.y4m")]) == 0
    assert_equal(
        load_clip(tmp_path / "some.y4m"), Clip(tuple(p[1:] for p in whole.planes), whole.fps)
    )
    assert main([*command, str(tmp_path / "pictures")]) == 0
    assert len(list((tmp_path / "pictures").iterdir())) == 2


def test_a_damaged_patch_is_an_error_or_grey(folder, tmp_path, capsys):
    data = bytearray((folder / "a.ovf").read_bytes())
    data[-5] ^= 1  # in the last patch
    (tmp_path / "d.ovf").write_bytes(data)
    assert main(["decode", str(tmp_path / "d.ovf"), "-o", str(tmp_path / "no.y4m")]) == 2
    assert not (tmp_path / "no.y4m").exists()
    assert "patch 4 of 4" in capsys.readouterr().err.splitlines()[-1]
    saved = ["decode", str(tmp_path / "d.ovf"), "-o", str(tmp_path / "yes.y4m"), "--salvage"]
    assert main(saved) == 0
    whole, kept = overfit.decode((folder / "a.ovf").read_bytes()), load_clip(tmp_path / "yes.y4m")
    for plane, original, row, column in zip(
        kept.planes, whole.planes, (10, 5, 5), (16, 8, 8), strict=True
    ):
        lost = np.zeros(plane.shape, bool)
        lost[:, row:, column:] = True
        assert (plane[lost] == 128).all()
        np.testing.assert_array_equal(plane[~lost], original[~lost])


def test_an_rgb_clip_is_converted_by_the_command_and_refused_by_the_api(picture, tmp_path, capsys):
    rgb = Clip((np.stack([picture(8, 8)] * 2),), Fraction(25))
    save_clip(tmp_path / "frames", rgb)
    command = ["encode", str(tmp_path / "frames"), "-o", str(tmp_path / "a.ovf"), *words(SMALL)]
    assert main([*command, "--steps", "1", "--json", str(tmp_path / "a.json")]) == 0
    assert json.loads((tmp_path / "a.json").read_text())["psnr_y"] > 0
    assert "dB after decoding" in capsys.readouterr().out
    with pytest.raises(UserError, match="samples.format=rgb"):
        overfit.encode(rgb, set=SMALL, steps=1)


def test_clips_that_do_not_fit_the_settings_are_refused(clip, folder, tmp_path, capsys):
    with pytest.raises(UserError, match="samples.format=yuv420"):
        overfit.encode(clip, set=STILL, steps=1)
    y, u, v = clip.planes
    with pytest.raises(UserError, match="half the rows"):
        overfit.encode(Clip((y, u[:, 1:], v), clip.fps), set=SMALL, steps=1)
    command = ["encode", str(folder / "in.y4m"), "-o", str(tmp_path / "a.ovf"), *words(SMALL)]
    assert main([*command, "--patch", "3,5,16"]) == 2
    assert "even rows and columns" in capsys.readouterr().err
    assert not (tmp_path / "a.ovf").exists()


def test_a_clip_of_the_api_is_interrupted_and_goes_on_to_the_same_bytes(
    clip, tmp_path, monkeypatch
):
    monkeypatch.setattr(run, "CHUNK_SECONDS", 0.0)
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", 0.0)
    options = {"set": SMALL, "steps": 30, "patch": PATCH}
    whole = overfit.encode(clip, **options)
    heard = []

    def stop(report):
        heard.append(report)
        if len(heard) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        overfit.encode(clip, checkpoint=str(tmp_path), progress=stop, **options)
    assert list(tmp_path.iterdir())
    steps = []
    again = overfit.encode(clip, checkpoint=str(tmp_path), progress=steps.append, **options)
    assert again == whole and steps[0].step > 1


def test_a_420_clip_is_made_to_a_quality(clip):
    data = overfit.encode(clip, set=SMALL, steps=200, target_psnr=24)
    shown = overfit.decode(data)
    planes = (clip_psnr(a, b) for a, b in zip(clip.planes, shown.planes, strict=True))
    assert yuv_psnr(*planes) == pytest.approx(24, abs=0.5)
