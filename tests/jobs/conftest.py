"""Pictures to be coded, tiny fits, and the processes below one."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overfit.evaluation import Plan, jobs
from overfit.io.datasets import find_all
from overfit.jobs.backends import Workers
from overfit.jobs.drive import drive
from overfit.jobs.store import read_results

TINY = {
    "latents.num_grids": "2",
    "entropy.widths": "4",
    "entropy.context": "1",
    "synthesis.widths": "4",
    "synthesis.residual_layers": "0",
}


STEPS = 4000


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
def tiny_fits(pictures):
    """A fit of about a second for each of the four pictures, all of one shape."""
    plan = Plan(("c3-kodak",), steps=STEPS, set=TINY, crop=16)
    return jobs(find_all([str(pictures)]), plan)


@pytest.fixture
def tiny_command(pictures):
    """The beginning of the command that does the same."""
    assignments = [word for item in TINY.items() for word in ("--set", "=".join(item))]
    options = ["--steps", str(STEPS), "--crop", "16", "--lmbdas", "1e-3", "--methods", "c3-kodak"]
    return ["evaluate", str(pictures), "--quiet", *options, *assignments]


@pytest.fixture(scope="session")
def results():
    """results(folder): {file: (its bytes, when it was written)} of what is done there so far."""

    def read(folder: Path) -> dict[str, tuple[bytes, int]]:
        if not (folder / "results.jsonl").exists():
            return {}
        records, damaged = read_results(folder)
        lines = (folder / "results.jsonl").read_text().splitlines()
        assert not damaged and len(records) == len(lines), "something was done twice"
        paths = {record["file"]: folder / record["file"] for record in records}
        return {name: (path.read_bytes(), path.stat().st_mtime_ns) for name, path in paths.items()}

    return read


@pytest.fixture
def at_home(tiny_fits, tmp_path, results):
    """{file: bytes} as processes of this machine write them; compiles for all who come after."""
    drive(tiny_fits, tmp_path / "at_home", Workers(count=2))
    return {name: data for name, (data, _) in results(tmp_path / "at_home").items()}


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
