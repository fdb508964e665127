"""A run that was killed goes on where it was, and its file is that of a run that was not."""

import os
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_model import SMALL, words

import overfit
from overfit.fitting import run
from overfit.io.clip import Clip
from overfit.io.clip_writers import save_clip
from overfit.io.clips import as_rgb, as_yuv420, load_clip

STEPS = 3000


@pytest.fixture(scope="module")
def image(picture):
    return picture(32, 40)


def encode(image, **options):
    return overfit.encode(image, **({"set": SMALL, "steps": STEPS, "lmbda": 1e-4} | options))


@pytest.fixture(scope="module")
def uninterrupted(image):
    return encode(image)


@pytest.fixture
def often(monkeypatch):
    """Checkpoints after every chunk of steps, and chunks of less than a second."""
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(run, "CHUNK_SECONDS", 0.1)


class Stop:
    """A progress function that interrupts a run, or a later run of a search, behind a step."""

    def __init__(self, step: float, phase: int = 0):
        self.step, self.phase = step, phase
        self.steps = []

    def __call__(self, report):
        if self.steps and report.step < self.steps[-1]:
            self.phase, self.steps = self.phase - 1, []  # a search starts its next run
        self.steps.append(report.step)
        # What the first report tells of is saved only after it.
        if self.phase <= 0 and len(self.steps) > 1 and report.step >= self.step:
            raise KeyboardInterrupt


def interrupted(image, folder, step, phase=0, **options) -> list[Path]:
    """Starts a run, interrupts it, and returns the checkpoints that it leaves."""
    with pytest.raises(KeyboardInterrupt):
        encode(image, checkpoint=str(folder), progress=Stop(step, phase), **options)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("step", [1, 1200, STEPS + 5])
def test_an_interrupted_run_goes_on(image, uninterrupted, often, tmp_path, step):
    """In stage 1 and in stage 2."""
    assert len(interrupted(image, tmp_path, step)) == 1
    reports = Stop(float("inf"))
    assert encode(image, checkpoint=str(tmp_path), progress=reports) == uninterrupted
    if step > 1:
        assert reports.steps[0] > step / 4  # it has not begun again
    assert list(tmp_path.iterdir()) == []


def test_a_run_interrupted_many_times_goes_on(image, uninterrupted, often, tmp_path):
    for step in (400, 800, 1600, 2900):
        interrupted(image, tmp_path, step)
    assert encode(image, checkpoint=str(tmp_path)) == uninterrupted


def test_a_search_for_lambda_goes_on(image, often, tmp_path):
    target = {"target_psnr": 24.0, "steps": 300}
    whole = encode(image, **target)
    assert len(interrupted(image, tmp_path, 0, phase=1, **target)) == 2
    assert encode(image, checkpoint=str(tmp_path), **target) == whole
    assert list(tmp_path.iterdir()) == []


def test_several_images_go_on_together(picture, often, tmp_path):
    images = [picture(32, 40), picture(32, 40, seed=1)]
    whole = encode(images, steps=600)
    assert len(interrupted(images, tmp_path, 200, steps=600)) == 2
    assert encode(images, steps=600, checkpoint=str(tmp_path)) == whole


def test_one_of_several_images_goes_on_alone(picture, often, tmp_path):
    """The next run has another batch, because the other image is done."""
    images = [picture(32, 40), picture(32, 40, seed=1)]
    interrupted(images, tmp_path, 200, steps=600)
    reports = Stop(float("inf"))
    alone = encode(images[1], steps=600, checkpoint=str(tmp_path), progress=reports)
    assert reports.steps[0] > 1 and len(list(tmp_path.iterdir())) == 1
    # Not to the byte: two devices had a fit each, one alone takes its sums in another order.
    uninterrupted = encode(images[1], steps=600)
    assert len(alone) == pytest.approx(len(uninterrupted), rel=0.05)
    errors = [
        np.square(overfit.decode(data) - images[1].astype(float)).mean()
        for data in (alone, uninterrupted)
    ]
    assert errors[0] == pytest.approx(errors[1], rel=0.1)


@pytest.mark.parametrize(
    "options", [{"seed": 1}, {"lmbda": 2e-4}, {"steps": 100}, {"set": SMALL | {"fit.clip": 0.2}}],
    ids=str,
)  # fmt: skip
def test_another_run_does_not_take_over(image, often, tmp_path, options):
    """The checkpoint of one run is of no use to another one, and stays."""
    left = interrupted(image, tmp_path, 1)
    with pytest.raises(KeyboardInterrupt):
        encode(image, checkpoint=str(tmp_path), progress=Stop(1), **options)
    assert len(list(tmp_path.iterdir())) == 2 and left[0].exists()


def test_another_image_does_not_take_over(image, often, tmp_path):
    interrupted(image, tmp_path, 1)
    interrupted(image[::-1], tmp_path, 1)
    assert len(list(tmp_path.iterdir())) == 2


def damaged(data: bytes, kind: str) -> bytes:
    middle = len(data) // 2
    return {
        "empty": b"",
        "truncated": data[:-100],
        "half": data[:middle],
        "garbage": bytes(range(256)) * 40,
        "zeros": bytes(len(data)),
        "longer": data + b"\0" * 10,
        "head": data[:4] + b"\xff\xff" + data[6:],
        "flipped bits": data[:middle] + bytes(b ^ 4 for b in data[middle:-40]) + data[-40:],
        "one flipped bit": bytes(b ^ (4 * (i == len(data) // 9)) for i, b in enumerate(data)),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["empty", "truncated", "half", "garbage", "zeros", "longer", "head", "flipped bits",
     "one flipped bit"],
)  # fmt: skip
def test_a_damaged_checkpoint_is_ignored(image, often, tmp_path, kind):
    whole = encode(image, steps=300)
    (path,) = interrupted(image, tmp_path, 100, steps=300)
    path.write_bytes(damaged(path.read_bytes(), kind))
    assert encode(image, checkpoint=str(tmp_path), steps=300) == whole
    assert list(tmp_path.iterdir()) == []


def as_file(image, kind, folder) -> tuple[Path, list[str]]:
    """The image, or a clip of it in four patches; and the options that go with that."""
    if kind == "image":
        Image.fromarray(image).save(folder / "in.png")
        return folder / "in.png", ["--steps", "20000"]
    frames = np.stack([image[t : t + 15, t : t + 27] for t in range(3)])
    save_clip(folder / "in.y4m", as_yuv420(Clip((frames,), Fraction(30))))
    return folder / "in.y4m", ["--steps", "4000", "--patch", "3,10,16", "--set", "entropy.frame=1"]


@pytest.mark.parametrize("kind", ["image", "clip"])
def test_a_process_that_is_killed_goes_on(image, kind, tmp_path, tmp_path_factory):
    """With SIGKILL, which nothing can prepare for."""
    (signal, options), folder = as_file(image, kind, tmp_path), tmp_path / "checkpoints"
    cache = tmp_path_factory.getbasetemp() / "cache"

    def start(output, *more):
        return subprocess.Popen(
            [sys.executable, "-m", "overfit", "encode", str(signal), "-o", str(tmp_path / output)]
            + [*options, *words(SMALL), *map(str, more)],
            cwd=Path(__file__).parent,  # not where an unpacked source could be imported from
            env=os.environ | {"XDG_CACHE_HOME": str(cache), "JAX_NUM_CPU_DEVICES": "2"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    process = start("a.ovf", "--checkpoint", folder)
    line = process.stderr.readline()
    assert "step 1/" in line, line + process.stderr.read()
    deadline = time.monotonic() + 60
    while not list(folder.glob("*.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    _, rest = process.communicate()
    assert process.returncode < 0, f"the run had ended before it was killed: {line}{rest}"
    assert not (tmp_path / "a.ovf").exists() and len(list(folder.iterdir())) >= 1

    process = start("a.ovf", "--checkpoint", folder)
    assert process.wait(timeout=200) == 0, process.stderr.read()
    process.communicate()
    assert list(folder.iterdir()) == []
    process = start("b.ovf")
    assert process.wait(timeout=200) == 0, process.stderr.read()
    process.communicate()
    assert (tmp_path / "a.ovf").read_bytes() == (tmp_path / "b.ovf").read_bytes()
    decoded, original = overfit.decode((tmp_path / "a.ovf").read_bytes()), image
    if kind == "clip":
        (original,) = as_rgb(load_clip(signal)).planes
    assert decoded.shape == original.shape
    assert np.abs(decoded.astype(int) - original).mean() < 20
