"""The command line as CONTRACT has it: results, exit codes, messages, nothing half-written."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from overfit.cli import main

SHORT = ["--steps", "12", "--quiet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, picture):
    """A picture and its encoding, made once."""
    folder = tmp_path_factory.mktemp("cli")
    Image.fromarray(picture(24, 40)).save(folder / "a.png")
    arguments = ["encode", str(folder / "a.png"), "-o", str(folder / "a.ovf"), *SHORT]
    assert main([*arguments, "--json", str(folder / "a.json"), "--lmbda", "2e-3"]) == 0
    return folder


def run_cli(*arguments):
    command = [sys.executable, "-m", "overfit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_the_json_of_encode_is_complete_and_true(folder):
    about = json.loads((folder / "a.json").read_text())
    for key in (
        "method preset base input output width height frames pixels bytes bpp psnr ms_ssim lmbda "
        "qp steps seed seconds seconds_compile steps_per_second macs_per_pixel params loss bits "
        "device versions"
    ).split():
        assert key in about, key
    size = (folder / "a.ovf").stat().st_size
    assert about["bytes"] == size and about["bpp"] == pytest.approx(8 * size / (24 * 40))
    assert (about["width"], about["height"], about["frames"], about["pixels"]) == (40, 24, 1, 960)
    assert sum(about["bits"].values()) == 8 * size
    assert about["bits"]["header"] <= 8 * 24
    assert about["preset"] == "c3-kodak" and about["lmbda"] == pytest.approx(2e-3)


def test_another_process_decodes_what_encode_measured(folder, tmp_path):
    output = tmp_path / "out.png"
    done = run_cli("decode", folder / "a.ovf", "-o", output, "--json", "-", "--quiet")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["width"] == 40 and done.stderr == ""
    original = np.asarray(Image.open(folder / "a.png"), np.float64)
    decoded = np.asarray(Image.open(output), np.float64)
    psnr = 10 * np.log10(255**2 / np.mean((original - decoded) ** 2))
    assert psnr == pytest.approx(json.loads((folder / "a.json").read_text())["psnr"], abs=1e-9)


def test_info_says_what_a_file_holds(folder, capsys):
    assert main(["info", str(folder / "a.ovf")]) == 0
    printed = capsys.readouterr().out
    assert "width: 40" in printed and "entropy.context: 3" in printed


def test_quiet_is_quiet_and_the_summary_names_the_anchors(folder, tmp_path, capsys):
    arguments = ["encode", str(folder / "a.png"), "-o", str(tmp_path / "b.ovf"), "--steps", "2"]
    assert main([*arguments, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert "jpeg" in printed.out and "webp" in printed.out and "bpp" in printed.out
    assert "step 2/2" in printed.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["encode", "{missing}", "-o", "{out}"], "missing.png"),
        (["encode", "{garbage}", "-o", "{out}"], "garbage"),
        (["encode", "sample:nothing", "-o", "{out}"], "sample"),
        (["encode", "{image}", "-o", "{out}", "--preset", "c4"], "c3-kodak"),
        (["encode", "{image}", "-o", "{out}", "--method", "c4"], "c3"),
        (["encode", "{image}", "-o", "{out}", "--set", "entropy.contxt=1"], "entropy.context"),
        (["encode", "{image}", "-o", "{out}", "--set", "entropy.context"], "key=value"),
        (["encode", "{image}", "-o", "{out}", "--steps", "0"], "steps"),
        (["encode", "{image}", "-o", "{out}", "--steps", "few"], "steps"),
        (["encode", "{image}", "-o", "{out}", "--lmbda", "-1"], "lambda"),
        (["encode", "{image}", "-o", "{out}", "--seed", "-1"], "seed"),
        (["encode", "{image}", "-o", "{out}", "--qp", "30"], "qp"),
        (["encode", "{image}", "-o", "{out}", "--base", "kodak"], "base"),
        (["encode", "{image}", "-o", "{out}", "--lmbda", "1", "--target-bpp", "1"], "not allowed"),
        (["encode", "{image}", "-o", "{out}", "--target-bpp", "-1"], "target-bpp"),
        (["encode", "{image}", "-o", "{folder}/none/a.ovf"], "folder"),
        (["encode", "{image}"], "output"),
        (["decode", "{garbage}", "-o", "{png}"], "OVF"),
        (["decode", "{truncated}", "-o", "{png}"], "damaged"),
        (["decode", "{flipped}", "-o", "{png}"], "damaged"),
        (["decode", "{file}", "-o", "{folder}/a.jpg"], "jpg"),
        (["decode", "{missing}", "-o", "{png}"], "missing.png"),
        (["info", "{garbage}"], "OVF"),
        (["shrink"], "shrink"),
        ([], "command"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else None,
)
def test_bad_input_is_one_sentence_and_code_2(folder, tmp_path, capsys, arguments, words):
    data = (folder / "a.ovf").read_bytes()
    (tmp_path / "garbage.png").write_bytes(b"nothing that anybody knows")
    (tmp_path / "truncated.ovf").write_bytes(data[:-3])
    (tmp_path / "flipped.ovf").write_bytes(data[:40] + bytes([data[40] ^ 4]) + data[41:])
    names = {
        "missing": tmp_path / "missing.png",
        "garbage": tmp_path / "garbage.png",
        "truncated": tmp_path / "truncated.ovf",
        "flipped": tmp_path / "flipped.ovf",
        "file": folder / "a.ovf",
        "image": folder / "a.png",
        "out": tmp_path / "out.ovf",
        "png": tmp_path / "out.png",
        "folder": tmp_path,
    }
    before = sorted(tmp_path.iterdir())
    assert main([argument.format(**names) for argument in arguments]) == 2
    printed = capsys.readouterr()
    last = printed.err.splitlines()[-1]
    assert last.startswith("overfit: error: ") and words in last, last
    assert "Traceback" not in printed.err
    assert sorted(tmp_path.iterdir()) == before


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(Exception, match="missing"):
        main(["decode", str(tmp_path / "missing.ovf"), "-o", str(tmp_path / "a.png"), "--debug"])


def test_ctrl_c_leaves_nothing_behind(folder, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "overfit", "encode", folder / "a.png", "-o", tmp_path / "b.ovf",
         "--steps", "1000000"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    assert "step" in process.stderr.readline()  # the fit runs
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err and list(tmp_path.iterdir()) == []
