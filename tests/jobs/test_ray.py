"""On a real Ray cluster: what comes out, and what is lost with a worker or with the driver."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time

import pytest

from overfit.cli import main
from overfit.errors import UserError
from overfit.jobs.backends import Workers, open_backend
from overfit.jobs.drive import drive


@pytest.fixture(scope="module", autouse=True)
def token():
    """A secret for these clusters; in the environment before Ray is imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
        yield


@pytest.fixture(scope="module")
def cluster():
    """Yields the address of a cluster of this machine with two CPUs, and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block",
        "--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=2", "--num-gpus=0",
        "--include-dashboard=false", "--disable-usage-stats", f"--object-store-memory={2**27}",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"127.0.0.1:{port}", process.pid
        process.terminate()


def test_a_killed_actor_costs_no_more_than_its_fit(cluster, some_jobs, tmp_path, below, results):
    address, head = cluster
    out, before = tmp_path / "out", {}

    def progress(event, ended, count):
        if not before and event.step is not None:
            before.update(results(out))
            for actor in below(head, "ray::_Worker.work"):
                os.kill(actor, signal.SIGKILL)

    records, failures = drive(some_jobs, out, Workers("ray", address=address), progress)
    assert failures == [] and [r["key"] for r in records] == [job.key() for job in some_jobs]
    assert before and before.items() <= results(out).items()


def test_the_run_after_a_killed_driver_does_the_rest(cluster, command, tmp_path, results):
    out = tmp_path / "out"
    command += ["-o", str(out), "--backend", "ray", "--address", cluster[0]]
    with subprocess.Popen([sys.executable, "-m", "overfit", *command]) as driver:
        while not (before := results(out)):
            assert driver.poll() is None
            time.sleep(0.02)
        driver.kill()
    before = results(out)
    assert len(before) < 8 and main(command) == 0
    assert len(results(out)) == 8 and before.items() <= results(out).items()


def test_a_cluster_of_its_own_leaves_stdout_to_results(pictures, tmp_path, results, capfd):
    out = tmp_path / "out"
    arguments = ["--methods", "jpeg", "--ladder", "jpeg=50", "--backend", "ray", "--workers", "2"]
    (pictures / "b.png").write_bytes(b"damaged")
    assert main(["evaluate", str(pictures), "-o", str(out), "--quiet", *arguments]) == 1
    stdout, stderr = capfd.readouterr()
    assert stdout == "" and len(results(out)) == 3
    assert [line.split(":")[0] for line in stderr.splitlines()] == ["failed", "overfit"]


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "127.0.0.1:1", "nowhere"])
def test_a_cluster_that_is_not_there_is_told_at_once(address):
    workers = Workers("ray", address=address)
    with pytest.raises(UserError, match=address), open_backend([], workers):
        pass
