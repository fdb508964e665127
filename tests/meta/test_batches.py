"""Batches follow from seed and step, whoever makes them; processes end with the training."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from PIL import Image

from overfit.errors import UserError
from overfit.io.datasets import find_all
from overfit.meta.batches import Batches, Shape


@pytest.fixture
def instances(tmp_path, picture):
    for i in range(2):
        Image.fromarray(picture(40, 48, seed=i)).save(tmp_path / f"{i}.png")
    return find_all([str(tmp_path)])


def made(instances, processes, frames=0, steps=6):
    return Batches(instances, lambda step: Shape(frames, 32), steps, 2, 7, processes)


@pytest.mark.parametrize("frames", (0, 2))
def test_processes_make_the_same(instances, frames):
    alone, ahead = (made(instances, processes, frames) for processes in (0, 1))
    try:
        for step in (0, 1, 5, 0):  # a training that shares them may be behind
            assert np.array_equal(alone(step), ahead(step))
        assert not np.array_equal(alone(0), alone(1))
    finally:
        ahead.close()


def test_few_are_kept(instances):
    batches = made(instances, 1, steps=100)
    try:
        for step in (*range(40), *range(20), 90, 99):  # a second training starts when one has ended
            batches(step)
            assert len(batches._made) <= 10
    finally:
        batches.close()


def test_a_process_that_dies_is_one_sentence(instances):
    batches = made(instances, 1, steps=100)
    try:
        batches(0)
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(UserError, match="process that prepares batches died"):
            for step in range(1, 100):
                batches(step)
    finally:
        batches.close()


def test_processes_do_not_outlive_a_killed_training(instances):
    reading, writing = multiprocessing.get_context("spawn").Pipe(duplex=False)
    training = multiprocessing.get_context("spawn").Process(
        target=_train, args=(instances, writing)
    )
    training.start()
    child = reading.recv()
    training.kill()
    training.join()
    for _ in range(600):
        if not _running(child):
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    raise AssertionError("the process is still there")


def _running(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _train(instances, connection) -> None:
    batches = made(instances, 1)
    batches(0)
    (child,) = multiprocessing.active_children()
    connection.send(child.pid)
    time.sleep(60)
