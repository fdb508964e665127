"""The learned video codec on the command line: trained, coded, adapted, decoded elsewhere."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from small_stat_ssf import clip_of

from overfit.cli import main
from overfit.io.clips import load_clip

TINY = [
    "--set", "training.crop=64", "--set", "training.batch=1", "--set", "training.frames=2",
    "--set", "rates.lmbdas=1e-3", "--set", "transform.network_width=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A clip of PNG frames, and a base in the library."""
    folder = tmp_path_factory.mktemp("stat_ssf")
    (folder / "clips" / "moving").mkdir(parents=True)
    for i, frame in enumerate(clip_of(3, 64, 80).planes[0]):
        Image.fromarray(frame).save(folder / "clips" / "moving" / f"{i}.png")
    command = ["pretrain", f"clips:{folder / 'clips'}", "--method", "stat-ssf", "--variant", "tat"]
    command += ["--width", "4", "--steps", "2", *TINY, "-o", str(folder / "tiny.ovb"), "--quiet"]
    assert main(command) == 0
    return folder


@pytest.fixture
def library(folder, monkeypatch):
    monkeypatch.setenv("OVERFIT_BASES", str(folder))
    return folder


def encode(folder, *more):
    clip, output = str(folder / "clips" / "moving"), str(folder / "clip.ovf")
    return main(["encode", clip, "-o", output, "--method", "stat-ssf", "--base", "tiny", *more])


def test_a_clip_goes_through_files_and_processes(library, capsys):
    capsys.readouterr()
    assert encode(library, "--steps", "0", "--quiet", "--json", "-") == 0
    about = json.loads(capsys.readouterr().out)
    assert about["bytes"] == (library / "clip.ovf").stat().st_size
    command = [sys.executable, "-m", "overfit", "decode", library / "clip.ovf"]
    subprocess.run([*command, "-o", library / "shown", "--frames", "0:2"], check=True)
    shown = load_clip(library / "shown").planes[0]
    original = load_clip(library / "clips" / "moving").planes[0]
    assert shown.shape == (2, *original.shape[1:])
    subprocess.run([*command, "-o", library / "all"], check=True)
    shown = load_clip(library / "all").planes[0]
    psnr = -10 * np.log10(np.square(shown / 255.0 - original / 255.0).mean(axis=(1, 2, 3)))
    assert psnr.mean() == pytest.approx(about["psnr"], abs=1e-3)


def test_it_is_adapted_and_resumed_to_the_same_file(library, capsys, monkeypatch):
    def adapted(steps, checkpoint):
        options = ["--set", "windows=2", "--set", "window_crop=64", "--set", "window_frames=2"]
        options += ["--steps", str(steps), "--checkpoint", str(library / checkpoint)]
        assert encode(library, *options, "--quiet", "--json", "-") == 0
        return json.loads(capsys.readouterr().out), (library / "clip.ovf").read_bytes()

    capsys.readouterr()
    about, data = adapted(3, "one")
    assert about["steps"] == 3 and about["adapted"] in ("none", "all")
    assert not list((library / "one").iterdir())  # the file is safe: no checkpoint is left
    assert adapted(3, "two")[1] == data


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--base", "nothing-of-this-name"], "nothing-of-this-name"),
        (["--base", "none"], "needs one base"),
        (["--adapt", "igsdn"], "adapt"),
        (["--qp", "30"], "no --qp"),
        (["--target-bpp", "0.1"], "no targets"),
        (["--steps", "-1"], "--steps"),
    ],
)
def test_bad_options_are_one_sentence(library, capsys, options, message):
    capsys.readouterr()
    (library / "clip.ovf").unlink(missing_ok=True)
    assert encode(library, "--steps", "1", *options) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert not (library / "clip.ovf").exists()


def test_unknown_variants_are_refused(tmp_path, capsys):
    command = ["pretrain", str(tmp_path), "-o", str(tmp_path / "b.ovb"), "--method", "stat-ssf"]
    assert main([*command, "--variant", "stat-ssh"]) == 2
    assert "stat-ssf-sp" in capsys.readouterr().err
