"""`overfit sweep`: the best file of several settings, for less; nothing is done twice."""

import json
import tomllib

import pytest
from PIL import Image

import overfit
from overfit.cli import main
from overfit.errors import UserError
from overfit.fitting import run as fitting_run
from overfit.io.datasets import find_all
from overfit.jobs.backends import Workers
from overfit.jobs.store import read_results
from overfit.sweeping import rungs as rungs_module
from overfit.sweeping.course import RUNGS
from overfit.sweeping.rungs import Plan, network_bits
from overfit.sweeping.space import parse
from overfit.sweeping.sweep import sweep

# Two architectures, one of them with two schedules, so small that each compiles in seconds.
TOML = """
preset = "c3-kodak"
[budget]
steps = 60
rungs = [0.2, 0.5]
keep = 0.5
[set]
"latents.num_grids" = 1
"entropy.widths" = []
"entropy.context" = 1
"synthesis.residual_layers" = 0
[axes]
"synthesis.widths" = [[], [4]]
"fit.lr" = [0.01, 0.0001]
[when]
"fit.lr" = { "synthesis.widths" = [[]] }
"""
SETTINGS, TOTAL = 3, 66  # steps of a fit, stage 2 included


@pytest.fixture(scope="module")
def folder(tmp_path_factory, picture):
    folder = tmp_path_factory.mktemp("pictures")
    Image.fromarray(picture(32, 40)).save(folder / "good.png")
    return folder


def swept(pictures, output, strategy, progress=lambda event, ended, count: None):
    plan = Plan(parse(tomllib.loads(TOML), "test"), strategy)
    summary, failures = sweep(find_all([str(pictures)]), plan, output, progress=progress)
    assert failures == []
    return summary["results"][0]


@pytest.fixture(scope="module")
def grid(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("grid")
    return output, swept(folder, output, "grid")


@pytest.fixture(scope="module")
def halving(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("halving")
    return output, swept(folder, output, "halving")


def files(output):
    """The coded files, by setting."""
    records = read_results(output)[0]
    return {
        (r["name"], str(r["sweep_setting"])): (output / r["file"]).read_bytes() for r in records
    }


def test_the_grid_has_a_file_per_setting_and_chooses_the_cheapest(grid):
    output, chosen = grid
    records = read_results(output)[0]
    assert len(records) == chosen["settings"] == chosen["finished"] == SETTINGS
    assert chosen["steps"] == SETTINGS * TOTAL
    costs = {r["mse"] / 255**2 + 1e-3 * r["bpp"]: r for r in records}
    cheapest = costs[min(costs)]
    assert len(costs) == SETTINGS and chosen["cost"] == min(costs)
    assert chosen["sweep_setting"] == cheapest["sweep_setting"]
    best = (output / chosen["file"]).read_bytes()
    assert best == (output / cheapest["file"]).read_bytes()
    assert chosen["file"] == "best/lmbda=0.001/good.ovf"
    assert overfit.decode(best).shape == (32, 40, 3)


def test_what_halving_lets_through_is_the_file_of_the_grid_to_the_byte(grid, halving):
    """The fits went on, through two rungs, and did not start again or deviate."""
    output, chosen = halving
    (survivor,) = files(output).items()
    assert survivor in files(grid[0]).items()
    # Three settings to step 12, two of them on to 30, one of these to the end.
    assert chosen["steps"] == 12 + 30 + TOTAL
    assert chosen["finished"] == 1
    assert not (output / "checkpoints").exists() or not any((output / "checkpoints").iterdir())


def test_the_cost_at_a_rung_is_near_that_of_a_file(halving):
    """Close to the end, where only the networks' bits are estimated: they are in it."""
    output, chosen = halving
    costs = {
        record["until"]: record["cost"]
        for record in read_results(output / RUNGS / "good")[0]
        if record["sweep_setting"] == chosen["sweep_setting"]
    }
    assert sorted(costs, key=str) == [12, 30, None]
    assert costs[None] == chosen["cost"] < costs[30] < 2 * chosen["cost"]


@pytest.mark.parametrize(
    "pixels, lmbda, measured",
    [
        # kodim23 and kodim05 with 2000 steps: c3_ablation.json, c3_parity.json, whole images.
        (128 * 128, 1e-3, (7840, 9088)),
        (256 * 256, 1e-3, (0.1353 * 65536, 0.1499 * 65536)),
        (768 * 512, 1e-3, (11584, 11296)),
        (768 * 512, 4e-3, (10368,)),
    ],
)
def test_the_networks_of_c3_kodak_take_about_the_estimated_bits(pixels, lmbda, measured):
    for bits in measured:
        assert network_bits(1541, pixels, lmbda) == pytest.approx(bits, rel=0.2)


def test_an_interrupted_sweep_repeats_nothing(folder, halving, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting_run, "CHECKPOINT_SECONDS", 0.0)
    heard = []

    def stop(event, ended, count):
        if event.step is not None:
            heard.append(event)
            if event.step.step > 15:  # behind the first rung
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        swept(folder, tmp_path, "halving", stop)
    before = (tmp_path / RUNGS / "good" / "results.jsonl").read_text()
    assert len(before.splitlines()) == SETTINGS

    again = []
    chosen = swept(folder, tmp_path, "halving", lambda event, *_: again.append(event))
    after = (tmp_path / RUNGS / "good" / "results.jsonl").read_text()
    assert after.startswith(before) and len(after.splitlines()) == SETTINGS + 2 + 1
    assert min(event.step.step for event in again if event.step is not None) > 12
    assert files(tmp_path) == files(halving[0]) and chosen["steps"] == halving[1]["steps"]

    finished = []
    assert swept(folder, tmp_path, "halving", lambda event, *_: finished.append(event)) == chosen
    assert finished == [] and (tmp_path / RUNGS / "good" / "results.jsonl").read_text() == after


def test_a_setting_whose_fit_diverges_costs_the_others_nothing(folder, grid, tmp_path, monkeypatch):
    best = grid[1]["sweep_setting"]
    fitted = rungs_module.fitted

    def without_the_best(group, finished):
        if group.fits[0].options.set == best:
            raise UserError("no finite loss")
        return fitted(group, finished)

    monkeypatch.setattr(rungs_module, "fitted", without_the_best)
    plan = Plan(parse(tomllib.loads(TOML), "test"), "grid")
    for _ in range(2):  # the second time from what the first has left
        summary, (failure,) = sweep(find_all([str(folder)]), plan, tmp_path)
        assert failure.error == "no finite loss" and "no finite loss" in str(failure)
        (chosen,) = summary["results"]
        costs = [
            r["cost"] for r in read_results(tmp_path / RUNGS / "good")[0] if r["cost"] is not None
        ]
        assert len(costs) == 2 and chosen["cost"] == min(costs) >= grid[1]["cost"]
        assert chosen["sweep_setting"] != best and len(files(tmp_path)) == 2


def test_workers_share_the_images(folder, halving, tmp_path, picture):
    """Each in its own process, whose rungs and files are those of a run here."""
    pictures = tmp_path / "in"
    pictures.mkdir()
    (pictures / "good.png").write_bytes((folder / "good.png").read_bytes())
    Image.fromarray(picture(24, 32, seed=1)).save(pictures / "other.png")
    (pictures / "broken.png").write_bytes(b"no picture")
    heard = []
    plan = Plan(parse(tomllib.loads(TOML), "test"), "halving")

    def run():
        return sweep(
            find_all([str(pictures)]), plan, tmp_path / "out", Workers(count=2),
            lambda event, ended, count: heard.append((event, ended, count)),
        )  # fmt: skip

    summary, (failed,) = run()
    assert failed.name == "broken" and heard[-1][1:] == (3, 3)
    good, other = summary["results"]
    assert (good["name"], other["name"]) == ("good", "other")
    assert {k: v for k, v in good.items() if "seconds" not in k} == {
        k: v for k, v in halving[1].items() if "seconds" not in k
    }
    assert files(tmp_path / "out").items() >= files(halving[0]).items()
    heard.clear()
    again, (failed,) = run()  # only what failed is tried again
    assert again == summary and {event.job.name for event, *_ in heard} == {"broken"}


def test_the_command_keeps_what_works_and_says_what_does_not(capsys, folder, halving, tmp_path):
    """On what the other tests have made: a picture that is done, and one that cannot be read."""
    pictures, output = folder, halving[0]
    toml = tmp_path / "test.toml"
    toml.write_text(TOML)
    broken = tmp_path / "cut.png"
    broken.write_bytes((pictures / "good.png").read_bytes()[:80])
    code = main(["sweep", str(toml), str(broken), str(pictures), "-o", str(output)])
    captured = capsys.readouterr()
    assert code == 1 and captured.err.splitlines()[-1].startswith("overfit: error: one failure")
    assert "failed: cut, test: " in captured.err
    assert captured.out.startswith("good  lambda 0.001: ")
    assert "(1 of 3 settings to the end)" in captured.out
    summary = json.loads((output / "summary.json").read_text())
    assert [line["name"] for line in summary["results"]] == ["good"]
    assert [failure["name"] for failure in summary["failures"]] == ["cut"]

    assert main(["sweep", "--status", str(output)]) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["name", "lambda", "settings", "files"]
    assert line.split()[:5] == ["good", "0.001", "3", "1", str(TOTAL)]


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["--status", "nothing"], "results"),
        (["test.toml"], "INPUTS"),
        (["none.toml", "good.png", "-o", "out"], "none.toml"),
        (["test.toml", "good.png", "-o", "out", "--steps", "0"], "steps"),
        (["test.toml", "good.png", "-o", "out", "--lmbda", "-1"], "lambda"),
        (["test.toml", "good.png", "-o", "out", "--lmbdas", "x"], "--lmbdas"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(
    capsys, folder, tmp_path, monkeypatch, arguments, word
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test.toml").write_text(TOML)
    (tmp_path / "good.png").write_bytes((folder / "good.png").read_bytes())
    assert main(["sweep", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert word in line and not (tmp_path / "out").exists()
