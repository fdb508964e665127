"""A run that is killed and started again writes the very file of an uninterrupted run."""

import subprocess
import sys
import time

import pytest
from PIL import Image


def start(image, output, checkpoints):
    return subprocess.Popen(
        [sys.executable, "-m", "overfit", "encode", image, "-o", output, "--steps", "3000",
         "--quiet", "--checkpoint", checkpoints],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process):
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err


@pytest.fixture
def image(tmp_path, picture):
    Image.fromarray(picture(16, 24)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_killed_and_started_again(tmp_path, image):
    checkpoints = tmp_path / "checkpoints"
    finish(start(image, tmp_path / "whole.ovf", tmp_path / "other"))

    process = start(image, tmp_path / "resumed.ovf", checkpoints)
    while not list(checkpoints.glob("*.ckpt")):
        assert process.poll() is None, "the run ended before its first checkpoint"
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (tmp_path / "resumed.ovf").exists()
    saved = list(checkpoints.glob("*.ckpt"))
    assert saved, "the checkpoint outlives the process"

    finish(start(image, tmp_path / "resumed.ovf", checkpoints))
    assert (tmp_path / "resumed.ovf").read_bytes() == (tmp_path / "whole.ovf").read_bytes()
    assert not list(checkpoints.glob("*.ckpt")), "a finished job leaves no checkpoint"

    saved[0].write_bytes(b"damaged")
    finish(start(image, tmp_path / "again.ovf", checkpoints))
    assert (tmp_path / "again.ovf").read_bytes() == (tmp_path / "whole.ovf").read_bytes()
