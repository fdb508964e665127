"""Which back end is asked for, and what is said where it cannot be had."""

import sys

import pytest

from overfit.cli import main
from overfit.errors import UserError
from overfit.jobs.backends import Workers, beside_helpers, in_process, local, open_backend
from overfit.jobs.job import in_batches
from overfit.jobs.work import work


@pytest.mark.parametrize("name, package", [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, name, package):
    module = {"ray": "ray_actors", "slurm": "slurm"}[name]
    monkeypatch.delitem(sys.modules, f"overfit.jobs.{module}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    expected = rf"needs {package}; run: pip install 'overfit\[{name}\]'"
    with pytest.raises(UserError, match=expected), open_backend([], Workers(name)):
        pass


@pytest.mark.parametrize(
    "options, message",
    [
        (["--address", "auto"], "--address is for --backend ray"),
        (["--backend", "ray", "--slurm", "partition=gpu"], "--slurm is for --backend slurm"),
        (["--workers", "0"], "--workers must be at least 1"),
        (["--together", "-1"], "--together must be at least 1"),
        (["--backend", "dask"], "invalid choice"),
    ],
)
def test_options_that_cannot_be_are_refused_at_once(pictures, tmp_path, capsys, options, message):
    for command in ("batch", "evaluate"):
        assert main([command, str(pictures), "-o", str(tmp_path / "out"), *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line and not (tmp_path / "out").exists()


def test_one_job_gets_all_cores(some_jobs):
    backend, size = local(some_jobs[:1])
    assert backend is in_process and size == 1


def test_helpers_make_the_same_files(pictures, tiny_fits, tmp_path):
    """What an accelerator would fit is coded by other processes; a fault there costs one job."""
    told = []
    for folder, backend in (
        (tmp_path / "here", in_process),
        (tmp_path / "helped", beside_helpers(1)),
    ):
        folder.mkdir()
        (folder / tiny_fits[0].file).mkdir(parents=True)  # where a file should be
        events = []
        backend(work, in_batches(tiny_fits, 4), folder, events.append)
        records = [event.record for event in events if event.record]
        (failure,) = [event.failure for event in events if event.failure]
        assert failure.name == tiny_fits[0].name and len(records) == len(tiny_fits) - 1
        assert len(list((folder / "checkpoints").iterdir())) == 1  # of the one without a file
        told.append({r["key"]: (r["psnr"], r["device"], r["file"]) for r in records})
    assert told[0] == told[1]
    for *_, file in told[0].values():
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "helped" / file).read_bytes()


def test_fits_share_a_program_as_is_asked(some_jobs):
    with open_backend(some_jobs, Workers(together=5)) as (_, size):
        assert size == 5
