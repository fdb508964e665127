"""Arrays of tasks through submitit, whose local executor runs them as processes of this machine."""

import os
import signal
import subprocess
import sys
import time

import pytest
from submitit import LocalJob

from overfit.cli import main
from overfit.jobs import slurm
from overfit.jobs.backends import Workers
from overfit.jobs.drive import drive
from overfit.jobs.store import RECORDS

HERE = ["--backend", "slurm", "--workers", "2", "--slurm", "cluster=local"]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """This file system shows at once what a process has written."""
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(LocalJob, "_results_timeout_s", 0)


def logs(out):
    return list((out / slurm.FOLDER).glob("*_log.out"))


def test_what_fails_in_a_task_and_what_does_not(pictures, tmp_path, results, capfd):
    (pictures / "b.png").write_bytes(b"damaged")
    out = tmp_path / "out"
    arguments = ["--methods", "jpeg", "--ladder", "jpeg=20,50", "--quiet", *HERE]
    assert main(["evaluate", str(pictures), "-o", str(out), *arguments]) == 1
    stdout, stderr = capfd.readouterr()
    assert stdout == "" and len(results(out)) == 6 and len(logs(out)) == 2
    assert [line[:9] for line in stderr.splitlines()] == ["failed: b"] * 2 + ["overfit: "]
    assert not list((out / RECORDS).iterdir()) and not list((out / slurm.FOLDER).glob("*.pkl"))


def test_tasks_that_are_killed_and_requeued_lose_nothing(some_jobs, tmp_path, below, results):
    """One is killed, as by the kernel; the other is told that its time is up, as by SLURM."""
    todo, out, before = some_jobs[:-1], tmp_path / "out", {}

    def progress(event, ended, count):
        if not before:
            before.update(results(out))
            first, second = below(os.getpid(), "submitit.core._submit")
            os.kill(first, signal.SIGKILL)
            os.kill(second, signal.SIGUSR2)

    workers = Workers("slurm", 2, slurm={"cluster": "local"})
    records, failures = drive(todo, out, workers, progress)
    assert failures == [] and [r["key"] for r in records] == [job.key() for job in todo]
    assert before and before.items() <= results(out).items()
    assert len(logs(out)) > 2  # what the first had left, each job as a task of its own
    assert sum("Requeued job" in path.read_text() for path in logs(out)) == 1


def test_the_run_after_a_killed_driver_waits_for_its_tasks(command, tmp_path, results):
    out = tmp_path / "out"
    command += ["-o", str(out), *HERE]
    with subprocess.Popen([sys.executable, "-m", "overfit", *command]) as driver:
        while len(list((out / slurm.FOLDER).glob("*_submitted.pkl"))) < 2:
            assert driver.poll() is None
            time.sleep(0.02)
        driver.kill()
    assert results(out) == {}
    assert main(command) == 0
    assert len(results(out)) == 8 and len(logs(out)) == 2  # there was no other task


@pytest.mark.parametrize(
    "settings, message",
    [
        ([], "there is no SLURM here"),
        (["cluster=cloud"], "choose slurm or local"),
        (["cluster=local", "colour=red"], "colour"),
        (["time=3"], "timeout_min"),
        (["cpus_per_task=many", "cluster=local"], "cpus_per_task"),
        (["partition"], "key=value"),
    ],
)
def test_settings_that_cannot_be(pictures, tmp_path, capsys, monkeypatch, settings, message):
    monkeypatch.setenv("PATH", "")  # without srun, wherever this runs
    arguments = [word for setting in settings for word in ("--slurm", setting)]
    command = ["evaluate", str(pictures), "-o", str(tmp_path / "out"), "--methods", "jpeg"]
    assert main([*command, "--backend", "slurm", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("overfit: error: ") and message in line
