"""Pretraining by several processes comes to the base that one process comes to."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import small_pretraining
from PIL import Image

from overfit import method
from overfit.bases.base import unpack
from overfit.cli import main
from overfit.errors import UserError
from overfit.io.datasets import find_all
from overfit.meta import hosts
from overfit.meta.pretrain import Plan, pretrain

PLAN = Plan("mixing", "small", {})


@pytest.fixture
def images(tmp_path, picture):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(picture(40, 48, seed=i)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def together():
    """Runs `overfit pretrain` in processes of one device each: [(exit code, stderr)]."""
    started = []

    def start(*each):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        for number, arguments in enumerate(each):
            command = [sys.executable, small_pretraining.__file__, "pretrain", *arguments]
            command += ["--method=mixing", "--preset=small"]
            command += [f"--distributed={address},{len(each)},{number}"]
            environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1"}
            started.append(
                subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
            )
        told = [process.communicate(timeout=300)[1] for process in started]
        return [(process.returncode, text) for process, text in zip(started, told, strict=True)]

    yield start
    for process in started:
        process.kill()


def test_two_processes_go_on_to_the_base_of_one(images, tmp_path, together, monkeypatch):
    monkeypatch.setitem(method.METHODS, "mixing", "small_pretraining")
    monkeypatch.setattr("overfit.meta.pretrain.CHECKPOINT_SECONDS", 0.0)
    instances = find_all([str(images)])
    alone = pretrain(instances, PLAN)

    def stop(step):
        if step.step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(instances, PLAN, tmp_path / "saved", stop)
    ended = together(*(
        [str(images), "-o", str(tmp_path / f"{saved}.ovb"), "--checkpoint", str(tmp_path / saved)]
        for saved in ("saved", "none")
    ))  # fmt: skip
    assert [code for code, _ in ended] == [0, 0], ended
    # The first alone reads, writes and speaks; the second has the state of the first.
    assert "step 12/12" in ended[0][1] and "step" not in ended[1][1]
    assert not (tmp_path / "none.ovb").exists() and not (tmp_path / "none").exists()
    both = unpack((tmp_path / "saved.ovb").read_bytes())
    matrices = [base.arrays["mix/matrix"].center.value() for base in (alone, both)]
    np.testing.assert_allclose(*matrices, atol=1e-5)
    curves = [np.asarray(base.card["curve"]) for base in (alone, both)]
    np.testing.assert_allclose(*curves, rtol=1e-4, atol=1e-5)
    losses = curves[0][curves[0][:, 0] > 0, 0]
    assert losses[-1] < 0.8 * losses[0]


def test_processes_that_were_started_differently_say_so(images, tmp_path, together):
    (tmp_path / "other").mkdir()
    Image.fromarray(np.zeros((40, 48, 3), np.uint8)).save(tmp_path / "other" / "0.png")
    output = ["-o", str(tmp_path / "base.ovb")]
    ended = together([str(images), *output], [str(tmp_path / "other"), *output])
    assert [code for code, _ in ended] == [2, 2], ended
    assert all("different images or options" in text for _, text in ended)
    assert not (tmp_path / "base.ovb").exists()


@pytest.mark.parametrize("spec", ["", "host:1", "host:1,2", "host,2,0", "host:1,2,2", "host:1,0,0"])
def test_bad_specifications(spec, images, tmp_path, capsys):
    output = str(tmp_path / "base.ovb")
    assert main(["pretrain", str(images), "-o", output, "--distributed", spec]) == 2
    assert "HOST:PORT,NUM,ID" in capsys.readouterr().err


def test_a_batch_must_be_shared_evenly(monkeypatch, two_devices):
    assert hosts.mesh(4).size == 2 and hosts.mesh(3).size == 1
    assert hosts.mine(4) == slice(0, 4)
    monkeypatch.setattr("jax.process_count", lambda: 2)
    with pytest.raises(UserError, match="2 processes cannot share a batch of 3"):
        hosts.mesh(3)
    monkeypatch.setattr("jax.process_index", lambda: 1)
    assert hosts.mine(4) == slice(2, 4)
