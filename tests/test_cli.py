"""The command line as people and scripts use it: files, JSON, messages, exit codes."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import overfit
from overfit.cli import main
from overfit.coding import container
from overfit.coding.parameters import Quantized
from overfit.methods.c3 import codec
from overfit.methods.c3.architecture import parameter_shapes
from overfit.methods.c3.config import KODAK
from overfit.metrics.psnr import psnr

WIDTH, HEIGHT = 40, 32
GOLDEN = Path(__file__).parent / "golden" / "c3-kodak.ovf"

# Networks so small that a test compiles and fits them in seconds.
SMALL = [
    "--set=latents.num_grids=2",
    "--set=entropy.widths=4",
    "--set=entropy.context=1",
    "--set=synthesis.widths=4",
    "--set=synthesis.residual_layers=0",
]
CONTRACT = set(
    """method preset base input output width height frames pixels bytes bpp psnr ms_ssim lmbda qp
    steps seed seconds seconds_compile steps_per_second macs_per_pixel params loss bits device
    versions""".split()
)


@pytest.fixture(scope="module")
def array(picture):
    return picture(HEIGHT, WIDTH)


@pytest.fixture
def png(tmp_path, array):
    path = tmp_path / "in.png"
    Image.fromarray(array).save(path)
    return str(path)


@pytest.fixture
def processes(tmp_path_factory):
    """Starts `python -m overfit` in a process of its own, with a cache that the tests share."""
    started = []
    cache = tmp_path_factory.getbasetemp() / "cache"

    def start(*arguments, **options):
        process = subprocess.Popen(
            [sys.executable, "-m", "overfit", *map(str, arguments)],
            cwd=GOLDEN.parent,  # not where an unpacked source could be imported from
            env=os.environ | {"XDG_CACHE_HOME": str(cache), "JAX_NUM_CPU_DEVICES": "2"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def succeeds(capsys, *arguments) -> tuple[str, str]:
    """(stdout, stderr) of a command that ends with exit code 0."""
    capsys.readouterr()
    code = main(list(map(str, arguments)))
    out, err = capsys.readouterr()
    assert code == 0, err
    return out, err


def refused(capsys, *arguments) -> str:
    """The message of a command that ends with exit code 2 and one line on stderr."""
    capsys.readouterr()
    code = main(list(map(str, arguments)))
    out, err = capsys.readouterr()
    assert code == 2, err
    assert out == ""
    assert err.startswith("overfit: error: ") and err.count("\n") == 1 and err.endswith("\n")
    assert "Traceback" not in err
    return err.removeprefix("overfit: error: ").strip()


# From an image to a file and back


def test_encode_decode_and_info(capsys, tmp_path, png, array):
    ovf, report, again = tmp_path / "a.ovf", tmp_path / "a.json", tmp_path / "a.png"
    out, err = succeeds(
        capsys, "encode", png, "-o", ovf, "--steps", 20, "--seed", 3, "--lmbda", "1e-4",
        "--json", report, *SMALL,
    )  # fmt: skip
    about = json.loads(report.read_text())
    size = ovf.stat().st_size
    assert about.keys() >= CONTRACT
    assert (about["method"], about["preset"], about["base"]) == ("c3", "c3-kodak", None)
    assert (about["input"], about["output"]) == (png, str(ovf))
    assert (about["width"], about["height"], about["frames"]) == (WIDTH, HEIGHT, 1)
    assert about["pixels"] == WIDTH * HEIGHT
    assert about["bytes"] == size
    assert about["bpp"] == 8 * size / (WIDTH * HEIGHT)
    assert sum(about["bits"].values()) == 8 * size
    assert about["bits"].keys() == {"header", "networks", "latents", "base_stream"}
    assert (about["steps"], about["seed"], about["qp"]) == (20, 3, None)
    assert about["lmbda"] == pytest.approx(1e-4)
    assert about["ms_ssim"] is None  # the image is smaller than what it is defined for
    assert about["loss"] > 0 and about["seconds"] > 0 and about["seconds_compile"] >= 0
    assert about["steps_per_second"] > 0 and about["macs_per_pixel"] > 0 and about["params"] > 20
    assert {"overfit", "jax", "numpy", "python"} <= about["versions"].keys()

    # The summary says size and quality of the file, and what other codecs make of that size.
    assert f"{size} bytes" in out and f"{about['bpp']:.4f} bpp" in out
    assert f"{about['psnr']:.2f} dB" in out
    assert "jpeg" in out and "webp" in out
    # Progress goes to stderr, plain lines where it is no terminal.
    assert re.search(r"step 22/22 .*loss .*bpp .*dB .*steps/s", err)

    out, err = succeeds(capsys, "decode", ovf, "-o", again)
    assert f"{WIDTH}x{HEIGHT}" in out and err == ""
    decoded = np.asarray(Image.open(again))
    np.testing.assert_array_equal(decoded, overfit.decode(ovf.read_bytes()))
    assert psnr(array, decoded) == about["psnr"]

    out, err = succeeds(capsys, "info", ovf)
    assert f"bytes: {size}" in out and f"width: {WIDTH}" in out and "latents.num_grids: 2" in out
    assert err == ""


def test_json_on_stdout_is_alone_there(capsys, tmp_path, png):
    ovf = tmp_path / "a.ovf"
    out, err = succeeds(capsys, "encode", png, "-o", ovf, "--steps", 20, "--json", "-", *SMALL)
    encoded = json.loads(out)
    assert encoded.keys() >= CONTRACT
    assert f"{encoded['bytes']} bytes" in err
    out, _ = succeeds(capsys, "decode", ovf, "-o", tmp_path / "a.png", "--json", "-")
    decoded = json.loads(out)
    out, err = succeeds(capsys, "info", ovf, "--json", "-")
    told = json.loads(out)
    assert err == ""
    assert decoded["output"] == str(tmp_path / "a.png")
    for key in told.keys() & CONTRACT - {"input"}:
        assert told[key] == encoded[key] == decoded[key], key
    assert {"bytes", "bpp", "bits", "width", "height", "params", "macs_per_pixel"} <= told.keys()


def test_quiet_says_nothing(capsys, tmp_path, png):
    ovf = tmp_path / "a.ovf"
    encode = ("encode", png, "-o", ovf, "--steps", 20, *SMALL)
    assert succeeds(capsys, *encode, "--quiet") == ("", "")
    assert succeeds(capsys, "decode", ovf, "-o", tmp_path / "a.png", "--quiet") == ("", "")
    assert succeeds(capsys, "info", ovf, "--quiet") == ("", "")
    out, err = succeeds(capsys, *encode, "--quiet", "--json", "-")
    assert json.loads(out)["bytes"] == ovf.stat().st_size and err == ""


def test_a_target_is_an_option(capsys, tmp_path, png):
    ovf = tmp_path / "a.ovf"
    encode = ("encode", png, "-o", ovf, "--steps", 100, "--json", "-", *SMALL)
    usual = json.loads(succeeds(capsys, *encode)[0])
    smaller = json.loads(succeeds(capsys, *encode, "--target-bpp", usual["bpp"] * 0.8)[0])
    assert smaller["bytes"] < usual["bytes"] and smaller["lmbda"] > usual["lmbda"]


def test_an_old_output_is_replaced(capsys, tmp_path, png):
    ovf = tmp_path / "a.ovf"
    ovf.write_text("something else")
    succeeds(capsys, "encode", png, "-o", ovf, "--steps", 20, *SMALL)
    assert overfit.decode(ovf.read_bytes()).shape == (HEIGHT, WIDTH, 3)
    assert sorted(os.listdir(tmp_path)) == ["a.ovf", "in.png"]


def test_the_default_is_the_paper_preset_on_a_real_picture_in_a_real_process(
    processes, tmp_path, png
):
    """The command of the README, with few steps."""
    ovf = tmp_path / "a.ovf"
    process = processes("encode", png, "-o", ovf, "--steps", 20, "--json", "-")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    about = json.loads(out)
    assert (about["preset"], about["params"]) == ("c3-kodak", 1541)
    assert about["bytes"] == ovf.stat().st_size
    assert about["settings"]["entropy.widths"] == [18, 18]
    process = processes("decode", ovf, "-o", tmp_path / "b.png")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, ""), err
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "b.png")), overfit.decode(ovf.read_bytes())
    )


@pytest.mark.parametrize("name", ["a.png", "a.ppm", "a.bmp", "a.tif", "a.webp"])
def test_decode_writes_every_lossless_format(capsys, tmp_path, name):
    succeeds(capsys, "decode", GOLDEN, "-o", tmp_path / name)
    image = np.asarray(Image.open(tmp_path / name).convert("RGB"))
    np.testing.assert_array_equal(image, overfit.decode(GOLDEN.read_bytes()))


def test_grey_files_decode_to_grey_images(capsys, tmp_path):
    parameters = {
        network: {name: Quantized(np.zeros(shape, np.int64), 1) for name, shape in arrays.items()}
        for network, arrays in parameter_shapes(KODAK, 1).items()
    }
    parameters["synthesis"]["b2"].k[:] = 1  # some grey
    latents = [np.zeros(shape, np.int32) for shape in KODAK.latents.shapes(5, 7)]
    sections = codec.write(codec.Code(KODAK, (1, 5, 7), parameters, latents))
    (tmp_path / "a.ovf").write_bytes(container.pack("c3", list(sections.values())))
    succeeds(capsys, "decode", tmp_path / "a.ovf", "-o", tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png")
    assert image.mode == "L" and image.size == (7, 5)
    assert len(set(np.asarray(image).ravel())) == 1 and np.asarray(image).min() > 0


# What is refused: exit code 2, one line, no output file


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("missing.png", None, ["no such file"]),
        ("notes.png", b"Dear diary,", ["not an image"]),
        ("empty.png", b"", ["empty"]),
    ],
)
def test_unreadable_inputs(capsys, tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    message = refused(capsys, "encode", tmp_path / name, "-o", tmp_path / "a.ovf")
    assert name in message and all(word in message for word in words)
    assert not (tmp_path / "a.ovf").exists()


def test_transparent_images(capsys, tmp_path, array):
    translucent = np.concatenate([array, np.full((HEIGHT, WIDTH, 1), 128, np.uint8)], axis=2)
    Image.fromarray(translucent).save(tmp_path / "in.png")
    message = refused(capsys, "encode", tmp_path / "in.png", "-o", tmp_path / "a.ovf")
    assert "transparent" in message
    assert os.listdir(tmp_path) == ["in.png"]


@pytest.mark.parametrize(
    "options, words",
    [
        (["--preset", "c3-kodac"], ["c3-kodac", "c3-kodak", "c3-clic", "coolchic-v2"]),
        (["--method", "c4"], ["c4", "c3"]),
        (["--set", "entropy.contxt=2"], ["entropy.contxt", "entropy.context"]),
        (["--set", "entropy.context=two"], ["entropy.context", "two", "whole number"]),
        (["--set", "entropy.context=8"], ["entropy.context", "0..7"]),
        (["--set", "entropy.context"], ["key=value"]),
        (["--steps", "0"], ["--steps", "at least 1"]),
        (["--steps", "-3"], ["--steps"]),
        (["--steps", "many"], ["--steps", "many"]),
        (["--lmbda", "0"], ["lambda", "positive"]),
        (["--lmbda", "-1"], ["lambda"]),
        (["--lmbda", "nan"], ["lambda"]),
        (["--lmbda", "x"], ["--lmbda", "x"]),
        (["--seed", "-1"], ["--seed"]),
        (["--qp", "30"], ["--qp", "--lmbda"]),
        (["--base", "kodak"], ["kodak", "base"]),
        (["--lmbda", "1e-3", "--target-bpp", "1"], ["--target-bpp", "--lmbda"]),
        (["--target-psnr", "30", "--target-bpp", "1"], ["--target-bpp", "--target-psnr"]),
        (["--target-bpp", "0"], ["--target-bpp"]),
        (["--target-psnr", "400"], ["--target-psnr"]),
        (["--fast"], ["--fast"]),
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense(capsys, tmp_path, png, options, words):
    message = refused(capsys, "encode", png, "-o", tmp_path / "a.ovf", *options)
    assert all(word in message for word in words), message
    assert os.listdir(tmp_path) == ["in.png"]


def test_base_none_is_a_base(capsys, tmp_path, png):
    succeeds(
        capsys, "encode", png, "-o", tmp_path / "a.ovf", "--base", "none", "--steps", 20, *SMALL
    )


@pytest.mark.parametrize("command", [[], ["compress"], ["encode"], ["encode", "a.png"], ["decode"]])
def test_incomplete_commands(capsys, command):
    assert "--help" in refused(capsys, *command)


@pytest.mark.parametrize("output", ["none/a.ovf", ".", "in.png/a.ovf"])
def test_outputs_that_cannot_be_written_are_found_before_the_fit(capsys, tmp_path, png, output):
    message = refused(capsys, "encode", png, "-o", tmp_path / output, "--steps", 10**9)
    assert str(tmp_path / output) in message
    assert os.listdir(tmp_path) == ["in.png"]


def test_a_checkpoint_folder_that_cannot_be_made(capsys, tmp_path, png):
    message = refused(
        capsys,
        "encode",
        png,
        "-o",
        tmp_path / "a.ovf",
        "--checkpoint",
        png,
        "--steps",
        10**9,
        *SMALL,
    )
    assert png in message


def damaged_files():
    data = GOLDEN.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    return {
        "empty": b"",
        "garbage": b"\x89PNG" + bytes(range(256)),
        "truncated": data[:-1],
        "half": data[: len(data) // 2],
        "flipped": bytes(flipped),
        "longer": data + b"\0",
        "later version": data[:3] + b"\x21" + data[4:],
    }


@pytest.mark.parametrize("kind", damaged_files())
def test_damaged_files(capsys, tmp_path, kind):
    path, output = tmp_path / "a.ovf", tmp_path / "a.png"
    path.write_bytes(damaged_files()[kind])
    output.write_text("an old file")
    refused(capsys, "decode", path, "-o", output)
    refused(capsys, "info", path)
    assert output.read_text() == "an old file"
    assert sorted(os.listdir(tmp_path)) == ["a.ovf", "a.png"]


@pytest.mark.parametrize("output", ["a.jpg", "a.ovf", "a.pgm", "none/a.png", "."])
def test_outputs_that_cannot_hold_the_image(capsys, tmp_path, output):
    message = refused(capsys, "decode", GOLDEN, "-o", tmp_path / output)
    assert str(tmp_path / output) in message
    assert os.listdir(tmp_path) == []


def test_missing_files(capsys, tmp_path):
    for command in (["decode", tmp_path / "a.ovf", "-o", tmp_path / "a.png"], ["info", tmp_path]):
        assert str(tmp_path) in refused(capsys, *command)
    assert os.listdir(tmp_path) == []


def test_a_json_file_that_cannot_be_written(capsys, tmp_path):
    message = refused(capsys, "info", GOLDEN, "--quiet", "--json", tmp_path / "none" / "a.json")
    assert "a.json" in message


def test_debug_shows_where_and_keeps_the_exit_code(processes, tmp_path):
    process = processes("info", tmp_path / "a.ovf", "--debug")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Traceback" in err and err.splitlines()[-1].startswith("overfit: error: ")


def test_a_fault_of_the_program_is_one_line_and_exit_code_1(capsys, monkeypatch):
    def fail(data):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("overfit.decoding.info", fail)
    assert main(["info", str(GOLDEN)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("overfit: error: ") and err.count("\n") == 1
    assert "RuntimeError" in err and "--debug" in err


# Processes


def test_version_and_help(processes):
    for option, word in (("--version", overfit.__version__), ("--help", "encode")):
        process = processes(option)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "") and word in out


def test_a_reader_that_goes_away_is_no_error(processes):
    """`overfit info a.ovf | head -1`"""
    process = processes("info", GOLDEN)
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=60)
    assert err == ""


def test_ctrl_c_ends_the_fit_and_leaves_nothing_behind(processes, tmp_path, png):
    process = processes("encode", png, "-o", tmp_path / "a.ovf", "--steps", 10**8, *SMALL)
    line = process.stderr.readline()  # the first sign of progress: the fit is running
    assert line.startswith("step "), line + process.stderr.read()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "overfit: interrupted" and "Traceback" not in err
    assert os.listdir(tmp_path) == ["in.png"]
