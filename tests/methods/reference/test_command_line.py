"""`overfit encode`, `decode`, `info` and `pretrain` with the reference codec."""

import json

import pytest
import small_reference
from PIL import Image

from overfit.bases.base import pack
from overfit.cli import main


@pytest.fixture
def folder(tmp_path, monkeypatch, picture):
    monkeypatch.setenv("OVERFIT_BASES", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "small.ovb").write_bytes(pack(small_reference.base()))
    Image.fromarray(picture(70, 90)).save(tmp_path / "image.png")
    return tmp_path


def encode(folder, *more):
    out = str(folder / "image.ovf")
    command = ["encode", str(folder / "image.png"), "-o", out, "--method", "reference"]
    return main([*command, "--steps", "0", "--json", str(folder / "about.json"), *more])


def test_there_and_back(folder, capsys):
    assert encode(folder, "--base", "small", "--set", "order=raster") == 0
    about = json.loads((folder / "about.json").read_text())
    assert about["method"] == "reference" and about["order"] == "raster" and about["steps"] == 0
    assert about["bytes"] == (folder / "image.ovf").stat().st_size
    assert main(["info", str(folder / "image.ovf")]) == 0
    assert "adapted: none" in capsys.readouterr().out
    assert main(["decode", str(folder / "image.ovf"), "-o", str(folder / "back.png")]) == 0
    with Image.open(folder / "back.png") as image:
        assert image.size == (90, 70)


def test_a_size_can_be_aimed_at(folder):
    sizes = []
    for lmbda in ("8e-3", "1e-3"):
        assert encode(folder, "--base", "small", "--lmbda", lmbda) == 0
        sizes.append(json.loads((folder / "about.json").read_text())["bpp"])
    goal = (sizes[0] + sizes[1]) / 2
    assert encode(folder, "--base", "small", "--target-bpp", str(goal)) == 0
    assert abs(json.loads((folder / "about.json").read_text())["bpp"] - goal) < 0.1 * goal


@pytest.mark.parametrize(
    "options, message",
    [
        (["--base", "none"], "needs one base"),
        (["--base", "small", "--adapt", "everything"], "choose one of auto, latents"),
        (["--base", "small", "--set", "entropy.reference=false"], "cannot be changed"),
    ],
)
def test_bad_options(folder, capsys, options, message):
    assert encode(folder, *options) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "image.ovf").exists()


def test_comparisons_take_it_with_a_base(folder):
    runs = folder / "compared"
    command = ["evaluate", str(folder / "image.png"), "-o", str(runs), "--quiet", "--workers", "1"]
    command += ["--methods", "reference-small", "--base", "small", "--steps", "0"]
    assert main([*command, "--lmbdas", "8e-3,1e-3"]) == 0
    coded = [path.stat().st_size for path in runs.rglob("*.ovf")]
    assert len(coded) == 2 and coded[0] != coded[1]


def test_what_it_is_not_for(folder, capsys):
    image = str(folder / "image.png")
    runs = str(folder / "runs")
    (folder / "clip").mkdir()
    for i in range(2):
        (folder / "clip" / f"{i}.png").write_bytes((folder / "image.png").read_bytes())
    compared = ["evaluate", image, "-o", runs, "--methods", "reference-small"]
    encoded = ["encode", str(folder / "clip"), "-o", str(folder / "clip.ovf")]
    for command, message in (
        ([*compared, "--base", "none"], "needs a base"),
        ([*encoded, "--method", "reference"], "cannot encode clips"),
    ):
        assert main(command) == 2
        assert message in capsys.readouterr().err


def test_a_file_without_its_base(folder, capsys):
    assert encode(folder, "--base", "small") == 0
    (folder / "small.ovb").unlink()
    assert main(["decode", str(folder / "image.ovf"), "-o", str(folder / "back.png")]) == 2
    assert "needs the base" in capsys.readouterr().err


def test_pretraining_refuses_before_it_begins(folder, capsys):
    image = str(folder / "image.png")
    for command, message in (
        (["-o", str(folder / "base.bin")], "ends in .ovb"),
        (["-o", str(folder / "nowhere" / "base.ovb")], "cannot write"),
        (["-o", str(folder / "base.ovb"), "--method", "c3"], "not pretrained"),
        (["-o", str(folder / "base.ovb")], "images of 256 px"),
        (["-o", str(folder / "base.ovb"), "--steps", "0"], "must be positive"),
        (["-o", str(folder / "base.ovb"), "--base", "none-such"], "no base"),
    ):
        assert main(["pretrain", image, *command]) == 2
        assert message in capsys.readouterr().err
    assert not (folder / "base.ovb").exists()
