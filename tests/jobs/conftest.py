"""Pictures to be coded, tiny fits, and the processes below one."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overfit.evaluation import Plan, jobs
from overfit.io.datasets import find_all
from overfit.jobs.records import decoded, original
from overfit.jobs.store import read_results
from overfit.metrics.psnr import psnr

TINY = {
    "latents.num_grids": "2",
    "entropy.widths": "4",
    "entropy.context": "1",
    "synthesis.widths": "4",
    "synthesis.residual_layers": "0",
}


@pytest.fixture
def pictures(tmp_path):
    """Four small pictures of two shapes."""
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for name in "abcd":
        noise = rng.integers(0, 256, (24, 17 + ord(name) % 2, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "in" / f"{name}.png")
    return tmp_path / "in"


@pytest.fixture
def noise(tmp_path):
    """A folder with four pictures of 256x256 px, for each of which AVIF takes half a second."""
    rng = np.random.default_rng(0)
    (tmp_path / "noise").mkdir()
    for name in "abcd":
        pixels = rng.integers(0, 256, (256, 256, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "noise" / f"{name}.png")
    return tmp_path / "noise"


@pytest.fixture
def some_jobs(noise):
    """These eight, and then a fit of about a second."""
    instances = find_all([str(noise)])
    fits = Plan(("c3-kodak",), steps=4000, set=TINY, crop=16)
    return jobs(instances, Plan(("avif",), ladders={"avif": (70.0, 80.0)})) + jobs(
        instances[:1], fits
    )


@pytest.fixture
def tiny_fits(pictures):
    """Of two pictures of one shape, two each; over at once."""
    instances = find_all([str(pictures)], ["a", "c"])
    return jobs(instances, Plan(("c3-kodak",), (1e-2, 1e-3), steps=3, set=TINY))


@pytest.fixture
def command(noise):
    """The beginning of one for the eight."""
    return ["evaluate", str(noise), "--quiet", "--methods", "avif", "--ladder", "avif=70,80"]


@pytest.fixture(scope="session")
def results():
    """results(folder): {file: when it was written} of what is done and right there so far."""

    def read(folder: Path) -> dict[str, int]:
        if not (folder / "results.jsonl").exists():
            return {}
        records, damaged = read_results(folder)
        lines = (folder / "results.jsonl").read_text().splitlines()
        assert not damaged and len(records) == len(lines), "something was done twice"
        for record in records:
            assert psnr(original(record), decoded(record, folder)) == record["psnr"]
        return {r["file"]: (folder / r["file"]).stat().st_mtime_ns for r in records}

    return read


@pytest.fixture(scope="session")
def below():
    """below(pid, words): processes that it has started, at any depth, with words in their name."""

    def find(pid: int, words: str = "") -> list[int]:
        parents, names = {}, {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                stat = (path / "stat").read_text()
                names[int(path.name)] = (path / "cmdline").read_text()
            except OSError:  # it has just ended
                continue
            parents[int(path.name)] = int(stat.rpartition(")")[2].split()[1])
        found, todo = [], [pid]
        while todo:
            children = [child for child, parent in parents.items() if parent in todo]
            found, todo = found + children, children
        return [child for child in found if words in names.get(child, "").replace("\0", " ")]

    return find
