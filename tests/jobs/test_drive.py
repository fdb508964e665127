"""Many jobs: in processes or here, nothing lost by a kill, one fault costs one job."""

import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from PIL import Image

from overfit.evaluation import Plan, jobs
from overfit.io.datasets import find_all
from overfit.jobs.backends import Workers
from overfit.jobs.drive import drive
from overfit.jobs.job import in_batches, shape
from overfit.jobs.store import RECORDS, open_store, read_results
from overfit.jobs.work import work

LADDER = {"jpeg": (10.0, 50.0, 90.0)}


def todo(pictures, methods=("jpeg",), **options):
    return jobs(find_all([str(pictures)]), Plan(methods, ladders=LADDER, **options))


def test_processes_give_what_this_one_gives(pictures, tmp_path):
    here, failures = drive(todo(pictures), tmp_path / "here", Workers(count=1))
    pool, more = drive(todo(pictures), tmp_path / "pool", Workers(count=2))
    assert failures == more == [] and len(here) == 12
    for a, b in zip(here, pool, strict=True):
        assert (a["key"], a["bytes"], a["psnr"]) == (b["key"], b["bytes"], b["psnr"])
        assert (tmp_path / "here" / a["file"]).read_bytes() == (
            tmp_path / "pool" / b["file"]
        ).read_bytes()
    assert list((tmp_path / "pool" / RECORDS).iterdir()) == []


def test_an_unreadable_input_fails_alone_in_a_pool(pictures, tmp_path):
    (pictures / "b.png").write_bytes(b"no picture")
    records, failures = drive(todo(pictures), tmp_path / "out", Workers(count=2))
    assert {f.name for f in failures} == {"b"} and len(failures) == 3
    assert {r["name"] for r in records} == {"a", "c", "d"} and len(records) == 9


def test_what_a_worker_left_behind_is_taken_up(pictures, tmp_path):
    """A driver that was killed never heard of it."""
    job, *_ = todo(pictures)
    events = []
    work([job], tmp_path, events.append)
    assert (tmp_path / RECORDS / f"{job.key()}.json").exists()
    told = []
    records, _ = drive([job], tmp_path, Workers(count=1), lambda *event: told.append(event))
    assert told == []  # nothing was done again
    assert (
        [r["key"] for r in records] == [job.key()] == [r["key"] for r in read_results(tmp_path)[0]]
    )
    assert list((tmp_path / RECORDS).iterdir()) == []


def test_a_worker_does_not_do_again_what_is_there(pictures, tmp_path):
    """A task of a cluster that goes back into the queue begins anew."""
    a, b = todo(pictures)[:2]
    work([a], tmp_path, lambda event: None)
    written = (tmp_path / a.file).stat().st_mtime_ns
    events = []
    work([a, b], tmp_path, events.append)
    assert [event.job for event in events if event.record is not None] == [a, b]
    assert (tmp_path / a.file).stat().st_mtime_ns == written
    (tmp_path / a.file).write_bytes(b"")  # not what the record is of
    work([a], tmp_path, events.append)
    assert (tmp_path / a.file).stat().st_size == events[-1].record["bytes"]


def test_a_killed_worker_costs_nothing(pictures, tmp_path, monkeypatch):
    killed = []

    def progress(event, ended, count):
        children = multiprocessing.active_children()
        if not killed and children:
            killed.append(children[0].pid)
            os.kill(children[0].pid, signal.SIGKILL)

    records, failures = drive(todo(pictures), tmp_path / "out", Workers(count=2), progress)
    assert killed and failures == [] and len(records) == 12


def test_a_job_that_kills_its_worker_is_given_up(pictures, tmp_path, monkeypatch):
    def progress(event, ended, count):
        if event.job.name == "c" and event.record is None and event.failure is None:
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGKILL)
            time.sleep(0.2)

    records, failures = drive(todo(pictures), tmp_path / "out", Workers(count=2), progress)
    assert len(records) + len(failures) == 12
    assert all("died twice" in failure.error for failure in failures)


def test_the_index_and_the_folder_survive_a_second_driver(pictures, tmp_path):
    with open_store(tmp_path / "out"), pytest.raises(Exception, match="another run"):
        drive(todo(pictures), tmp_path / "out", Workers(count=1))


def test_batches_are_of_one_shape_and_architecture(pictures):
    fits = todo(pictures, ("jpeg", "c3-kodak", "c3-clic"), steps=5, lmbdas=(1e-3, 1e-2))
    batches = in_batches(fits, 3)
    assert sum(map(len, batches)) == len(fits) and max(map(len, batches)) == 3
    classical = [batch for batch in batches if batch[0].codec == "jpeg"]
    assert batches[: len(classical)] == classical and all(len(b) == 1 for b in classical)
    for batch in batches[len(classical) :]:
        assert len({job.options["preset"] for job in batch}) == 1
        assert len({shape(job) for job in batch}) == 1


def test_a_key_names_the_content_and_every_setting(pictures):
    job = todo(pictures, ("c3-kodak",))[0]
    options = job.options
    others = [
        job._replace(crop=8),
        job._replace(options=options | {"steps": 7}),
        job._replace(options=options | {"set": {"fit.lr": "1e-3"}}),
        job._replace(options=options | {"seed": 1}),
        job._replace(setting={"lmbda": 2e-3}),
    ]
    assert len({other.key() for other in [job, *others]}) == 6
    before = job.key()
    copy = pictures / "copy.png"
    copy.write_bytes((pictures / "a.png").read_bytes())
    assert job._replace(instance=job.instance._replace(path=str(copy))).key() == before
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(pictures / "a.png")
    assert job.key() != before


def test_records_are_plain_json(pictures, tmp_path):
    drive(todo(pictures)[:1], tmp_path, Workers(count=1))
    (line,) = (tmp_path / "results.jsonl").read_text().splitlines()
    assert json.loads(line)["file"].endswith("a.jpg")
