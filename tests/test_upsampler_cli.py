"""Clips in groups of frames by the command line: files, JSON, messages, other processes."""

import json
import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from overfit import decoding
from overfit.cli import main
from overfit.coding import clip_container, container
from overfit.errors import UserError
from overfit.fitting.encode import encode, forget
from overfit.fitting.groups import Options, Request, steps_for
from overfit.io.clip import Clip
from overfit.io.clip_writers import save_clip
from overfit.io.clips import as_yuv420, load_clip
from overfit.methods.upsampler import METHOD
from overfit.metrics.psnr import clip_psnr, yuv_psnr

pytest.importorskip("av")

# Networks so small that a test compiles and fits them in seconds; without blocks.
SET = {
    "attention": 0,
    "position_inputs": "",
    "denoiser_inputs": "pixels",
    "denoiser.layers": "P2,P6",
    "training.batch": 2,
    "training.patch_height": 12,
    "training.patch_width": 16,
    "base.speed": "veryfast",
    "base.blocks": "none",
}
SMALL = [f"--set={key}={value}" for key, value in SET.items()]
STEPS, GROUP = 8, 2


@pytest.fixture(scope="module")
def clip():
    """Of a size that neither 2 nor 4 divides; a group, and a frame more."""
    y, x = np.mgrid[:21, :27]
    luma = [128 + 60 * np.sin((x + 2 * t) / 1.5) * np.cos(y / 3) for t in range(3)]
    y, x = np.mgrid[:11, :14]
    u, v = ([128 + 40 * np.cos((x + s * y + t) / 3) for t in range(3)] for s in (1, 2))
    return Clip(tuple(np.stack(p).astype(np.uint8) for p in (luma, u, v)), Fraction(30000, 1001))


@pytest.fixture(scope="module")
def files(clip, tmp_path_factory):
    """(folder with in.y4m, offline.ovf and zero.ovf, {name: JSON of encode})."""
    folder = tmp_path_factory.mktemp("files")
    save_clip(folder / "in.y4m", clip)
    about = {}
    for name, options in {
        "offline": ["--group", GROUP],
        "zero": ["--latency", "zero", "--signal-every", GROUP],
    }.items():
        report = folder / f"{name}.json"
        run(
            "encode", folder / "in.y4m", "-o", folder / f"{name}.ovf", "--method", "upsampler",
            "--qp", 30, "--steps", STEPS, "--json", report, "--quiet", *options, *SMALL,
        )  # fmt: skip
        about[name] = json.loads(report.read_text())
    return folder, about


def run(*arguments) -> None:
    assert main(list(map(str, arguments))) == 0


def refused(capsys, *arguments) -> str:
    capsys.readouterr()
    assert main(list(map(str, arguments))) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("overfit: error: ") and err.count("\n") == 1
    return err


def same(a: Clip, b: Clip) -> bool:
    return a.shape == b.shape and all(map(np.array_equal, a.planes, b.planes))


@pytest.mark.parametrize("name", ["offline", "zero"])
def test_another_process_decodes_what_the_encoder_measured(files, clip, name):
    folder, about = files[0], files[1][name]
    data = (folder / f"{name}.ovf").read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "overfit", "decode", f"{name}.ovf", "-o", f"{name}.y4m"],
        cwd=folder, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "3 frames of 27x21 pixels" in done.stdout
    again = load_clip(folder / f"{name}.y4m")
    assert same(again, decoding.decode(data))
    y, u, v = (clip_psnr(a, b) for a, b in zip(clip.planes, again.planes, strict=True))
    assert (about["psnr_y"], about["psnr_u"], about["psnr_v"]) == (y, u, v)
    assert about["psnr_yuv"] == yuv_psnr(y, u, v) > 15
    assert (about["psnr"], about["qp"], about["steps"], about["groups"]) == (None, 30, STEPS, 2)
    assert about["bytes"] == len(data) and about["bpp"] == 8 * len(data) / (27 * 21 * 3)
    assert sum(about["bits"].values()) == 8 * len(data)
    assert about["bits"]["base_stream"] > 0 < about["bits"]["networks"]
    assert about["settings"]["latency"] == name and about["settings"]["group"] == GROUP


def test_info_knows_the_clip(files, capsys):
    folder, about = files
    capsys.readouterr()
    run("info", folder / "zero.ovf", "--json", "-")
    said = json.loads(capsys.readouterr().out)
    assert said["method"] == "upsampler" and said["base"] is None
    assert said.items() <= (about["zero"] | {"input": said["input"]}).items()


def test_frames_folders_and_raw_files(files, tmp_path):
    folder, _ = files
    whole = decoding.decode((folder / "offline.ovf").read_bytes())
    run("decode", folder / "offline.ovf", "-o", tmp_path / "a.y4m", "--frames", "1:3", "--quiet")
    part = load_clip(tmp_path / "a.y4m")
    assert part.fps == whole.fps
    assert same(part, Clip(tuple(p[1:3] for p in whole.planes), whole.fps))
    run("decode", folder / "offline.ovf", "-o", tmp_path / "rgb", "--quiet")
    assert load_clip(tmp_path / "rgb").format == "rgb"
    run("decode", folder / "offline.ovf", "-o", tmp_path / "raw.yuv", "--quiet")
    raw = load_clip(tmp_path / "raw.yuv", size="27x21", fps="29.97")
    assert same(raw, whole)


def test_rgb_clips_are_converted_and_an_interrupted_run_goes_on(clip, tmp_path, monkeypatch):
    monkeypatch.setattr("overfit.fitting.frame_groups.at_once", lambda pixels: 1)
    rgb = Clip((np.stack([np.repeat(y[..., None], 3, 2) for y in clip.planes[0]]),), clip.fps)
    options = Options(
        "upsampler", steps=STEPS, set=SET | {"group": GROUP}, qp=35, checkpoint=str(tmp_path)
    )
    request = Request(rgb, options)
    rounds = []

    def stop_in_the_last_group(step) -> None:
        rounds.append((step.round, step.rounds))
        if step.round == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode([request], stop_in_the_last_group)
    assert rounds[-1] == (2, 2)
    seen = []
    with monkeypatch.context() as patched:  # the base is not coded again
        patched.setattr("overfit.codecs.base_stream.encode", None)
        (resumed,) = encode([request], lambda step: seen.append(step.round))
    assert set(seen) <= {2}  # the groups before were finished
    forget(request)
    assert not list(tmp_path.iterdir())
    (straight,) = encode([request._replace(options=options._replace(checkpoint=None))])
    assert resumed.data == straight.data
    decoded = decoding.decode(resumed.data)
    assert resumed.about["psnr_y"] == clip_psnr(as_yuv420(rgb).planes[0], decoded.planes[0])


def test_bad_input_is_refused_and_leaves_nothing(files, capsys, tmp_path):
    folder, _ = files
    out = tmp_path / "out.ovf"
    command = ["encode", folder / "in.y4m", "-o", out, "--method", "upsampler"]
    assert "from 5 to 56" in refused(capsys, *command, "--qp", 80, *SMALL)
    assert "--signal-every" in refused(capsys, *command, "--latency", "zero", "--group", 4)
    assert "--latency zero" in refused(capsys, *command, "--signal-every", 4)
    assert "at least one" in refused(capsys, *command, "--frames", 0)
    assert "give --qp" in refused(capsys, *command, "--target-bpp", 0.1)
    assert "no base 'other'" in refused(capsys, *command, "--base", "other", *SMALL)
    assert "group" in refused(capsys, *command, "--group", 0)
    assert "has no --tune" in refused(
        capsys, "encode", folder / "in.y4m", "-o", out, "--tune", "ssim"
    )
    cut = tmp_path / "cut.y4m"
    cut.write_bytes((folder / "in.y4m").read_bytes()[:-10])
    assert "ends within a frame" in refused(
        capsys, "encode", cut, "-o", out, "--method", "upsampler"
    )
    raw = tmp_path / "noname.yuv"
    raw.write_bytes(bytes(100))
    assert "no size in its name" in refused(
        capsys, "encode", raw, "-o", out, "--method", "upsampler"
    )
    assert "ends within a frame" in refused(
        capsys, "encode", raw, "-o", out, "--method", "upsampler", "--size", "16x16", "--fps", 25
    )
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all")
    assert "cannot read" in refused(capsys, "encode", broken, "-o", out, "--method", "upsampler")
    assert not out.exists()


def test_damaged_files_are_refused_and_leave_nothing(files, capsys, tmp_path):
    folder, _ = files
    data = (folder / "offline.ovf").read_bytes()
    sections = container.unpack(data, len(METHOD.sections))
    target = tmp_path / "a.y4m"
    for content, words in {
        data[: len(data) // 2]: "truncated",
        container.pack("upsampler", [*sections[:2], sections[2][:200]]): "damaged",
        container.pack("upsampler", [sections[0], b"", sections[2]]): "early",
        container.pack("upsampler", sections, b"abc"): "needs the base 616263",
    }.items():
        (tmp_path / "bad.ovf").write_bytes(content)
        assert words in refused(capsys, "decode", tmp_path / "bad.ovf", "-o", target)
        assert not target.exists()
    # A file of patches whose method has none is no way around this.
    head = clip_container.Head("upsampler", (3, 21, 27), Fraction(25), (3, 21, 27))
    patch = clip_container.Coded(sections)
    (tmp_path / "bad.ovf").write_bytes(clip_container.pack(head, [patch]))
    assert "no clips" in refused(capsys, "decode", tmp_path / "bad.ovf", "-o", tmp_path / "frames")
    assert refused(capsys, "decode", folder / "offline.ovf", "-o", tmp_path / "a.mp4")


def test_a_damaged_base_stream_never_passes_for_another_clip(files):
    data = (files[0] / "offline.ovf").read_bytes()
    sections, whole = container.unpack(data, len(METHOD.sections)), decoding.decode(data)
    refusals = 0
    for place in range(60, len(sections[2]), 40):
        stream = bytearray(sections[2])
        stream[place] ^= 0x55
        try:
            decoded = decoding.decode(container.pack("upsampler", [*sections[:2], bytes(stream)]))
            assert same(decoded, whole)
        except UserError:
            refusals += 1
    assert refusals > 0


def test_a_base_is_learned_from_clips_and_files_need_it(files, capsys, tmp_path, monkeypatch):
    clip = files[0] / "in.y4m"
    monkeypatch.setenv("OVERFIT_BASES", str(tmp_path / "bases"))
    run(
        "meta-train", clip, "-o", tmp_path / "own.ovb", "--method", "upsampler", "--quiet",
        "--outer-steps", 2, "--batch", 1, "--steps", 4, "--crop", 20, *SMALL, "--set=group=2",
    )  # fmt: skip
    command = [
        "encode", clip, "-o", tmp_path / "a.ovf", "--method", "upsampler", "--qp", 30, "--steps",
        STEPS, "--group", GROUP, *SMALL, "--base", "own", "--quiet",
    ]  # fmt: skip
    assert "no base 'own'" in refused(capsys, *command)
    run("bases", "import", tmp_path / "own.ovb")
    run(*command)
    data = (tmp_path / "a.ovf").read_bytes()
    assert decoding.decode(data).frames == 3
    assert decoding.info(data)["base"] == container.base_of(data).hex() != ""
    assert "other networks" in refused(capsys, *command, "--set=denoiser.layers=P3,P6")
    monkeypatch.setenv("OVERFIT_BASES", str(tmp_path / "elsewhere"))
    missing = refused(capsys, "decode", tmp_path / "a.ovf", "-o", tmp_path / "a.y4m")
    assert "needs the base" in missing and not (tmp_path / "a.y4m").exists()


def test_steps_are_those_of_the_paper_unless_asked_for():
    assert steps_for(None, "upsampler") == 1250
    assert steps_for(None, "upsampler", "klopp21-zero-latency") == 200
    assert steps_for(None, "upsampler", changes={"training.steps": 7}) == 7
    assert steps_for(3, "upsampler") == 3
    assert (steps_for(None, "c3"), steps_for(None, "c3", "fast")) == (1000, 500)
