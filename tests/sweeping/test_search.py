"""Settings searched by Optuna: limits kept, poor trials pruned, nothing lost by an interruption."""

import json
import tomllib

import optuna
import pytest
from PIL import Image

import overfit
from overfit.cli import main
from overfit.errors import UserError
from overfit.fitting import run as fitting_run
from overfit.io.datasets import find_all
from overfit.jobs.store import read_results
from overfit.sweeping.rungs import Plan
from overfit.sweeping.search import JOURNAL, SEARCH, suggested
from overfit.sweeping.space import parse
from overfit.sweeping.sweep import sweep

# One architecture is within the limit; its learning rate decides.
TOML = """
preset = "c3-kodak"
[budget]
steps = 60
rungs = [0.2, 0.5]
[set]
"latents.num_grids" = 1
"entropy.widths" = []
"entropy.context" = 1
"synthesis.residual_layers" = 0
[axes]
"synthesis.widths" = [[], [20]]
"fit.lr" = { low = 1e-4, high = 3e-2, log = true }
[search]
sampler = "random"
trials = 9
at_once = 3
limits = { macs_per_pixel = 100 }
"""
TRIALS = 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory, picture):
    folder = tmp_path_factory.mktemp("pictures")
    for i, name in enumerate("ab"):
        Image.fromarray(picture(32, 40, seed=i)).save(folder / f"{name}.png")
    return folder


def searched(pictures, output, progress=lambda event, ended, count: None, toml=TOML):
    plan = Plan(parse(tomllib.loads(toml), "test"), "search")
    summary, failures = sweep(find_all([str(pictures)]), plan, output, progress=progress)
    assert failures == []
    return summary["results"]


@pytest.fixture(scope="module")
def found(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("search")
    return output, searched(folder, output)


def study(output):
    backend = optuna.storages.journal.JournalFileBackend(str(output / JOURNAL))
    storage = optuna.storages.JournalStorage(backend)
    (summary,) = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=summary.study_name, storage=storage)


def test_the_best_setting_of_all_trials_is_chosen_for_every_image(found):
    output, chosen = found
    trials = study(output).trials
    assert len(trials) == TRIALS
    complete = [t for t in trials if t.state == optuna.trial.TrialState.COMPLETE]
    best = min(complete, key=lambda trial: trial.value)
    assert [line["name"] for line in chosen] == ["a", "b"]
    for line in chosen:
        assert line["sweep_setting"]["fit.lr"] == best.params["fit.lr"]
        assert overfit.decode((output / line["file"]).read_bytes()).shape == (32, 40, 3)
    assert sum(line["cost"] for line in chosen) / 2 == pytest.approx(best.value)
    records = read_results(output)[0]
    costs = [r["mse"] / 255**2 + 1e-3 * r["bpp"] for r in records]
    assert len(records) == 2 * len(complete) and min(costs) <= best.value


def test_settings_beyond_a_limit_are_not_fitted(found):
    output, _ = found
    beyond = [t for t in study(output).trials if t.params["synthesis.widths"] == "[20]"]
    assert beyond and all(t.state == optuna.trial.TrialState.PRUNED for t in beyond)
    assert all(t.constraints["macs_per_pixel"] > 0 for t in beyond)
    assert {str(r["sweep_setting"]["synthesis.widths"]) for r in read_results(output)[0]} == {"[]"}


def test_pruned_trials_take_fewer_steps(found):
    """Asked at 12 and 30 of 66 steps."""
    output, (line, _) = found
    records = read_results(output / SEARCH)[0]
    ends = {record["candidate"]: record["step"] for record in records}
    assert set(ends.values()) - {66} and max(ends.values()) == 66
    assert not list((output / "checkpoints").glob("*/*"))
    assert line["settings"] == len(ends) / 2 and line["steps"] == sum(ends.values()) / 2


def test_an_interrupted_search_repeats_nothing(folder, found, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting_run, "CHECKPOINT_SECONDS", 0.0)

    def stop(event, ended, count):
        if event.step is not None and event.step.step > 15:  # behind the first rung
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        searched(folder, tmp_path, stop)
    before = (tmp_path / SEARCH / "results.jsonl").read_text()
    assert before
    steps = []
    chosen = searched(folder, tmp_path, lambda event, *_: event.step and steps.append(event.step))
    assert (tmp_path / SEARCH / "results.jsonl").read_text().startswith(before)
    assert steps[0].step > 12  # it has not begun again
    trials = study(tmp_path).trials
    interrupted = [t for t in trials if t.state == optuna.trial.TrialState.FAIL]
    assert len(trials) - len(interrupted) == TRIALS and interrupted
    assert len(chosen) == 2

    again = []
    assert searched(folder, tmp_path, lambda event, *_: again.append(event)) == chosen
    assert again == []


def test_another_space_is_another_study(folder, found, tmp_path):
    """Values of other steps or images do not compare."""
    toml = TOML.replace("trials = 9", "trials = 1").replace("[[], [20]]", "[[]]")
    url = f"storage = 'sqlite:///{tmp_path}/studies.db'"
    searched(folder, tmp_path / "one", toml=f"{toml}\n{url}")
    searched(folder / "a.png", tmp_path / "two", toml=f"{toml}\n{url}")
    searched(folder, tmp_path / "three", toml=f"{toml}\n{url}")  # joins the first, which is done
    storage = f"sqlite:///{tmp_path}/studies.db"
    studies = [s.study_name for s in optuna.get_all_study_summaries(storage)]
    counts = {name: len(optuna.load_study(study_name=name, storage=storage).trials)
              for name in studies}  # fmt: skip
    assert sorted(counts.values()) == [1, 1]
    one, three = (json.loads((tmp_path / n / "summary.json").read_text()) for n in ("one", "three"))
    for a, b in zip(one["results"], three["results"], strict=True):
        assert (a["sweep_setting"], a["bytes"]) == (b["sweep_setting"], b["bytes"])


def test_a_trial_says_its_setting():
    space = parse(
        tomllib.loads(
            TOML
            + """
            [tied]
            "entropy.widths" = "synthesis.widths"
            [when]
            "fit.lr" = { "synthesis.widths" = [[20]] }
            """
        ),
        "test",
    )
    for value, axes in ("[]", {"synthesis.widths"}), ("[20]", {"synthesis.widths", "fit.lr"}):
        trial = optuna.trial.FixedTrial({"synthesis.widths": value, "fit.lr": 0.01})
        setting = suggested(trial, space)
        assert setting["entropy.widths"] == setting["synthesis.widths"] == json.loads(value)
        assert axes <= set(setting) and ("fit.lr" in setting) == ("fit.lr" in axes)
        assert setting["latents.num_grids"] == 1


def test_the_status_of_a_search_is_of_all_images(capsys, found):
    output, chosen = found
    assert main(["sweep", "--status", str(output)]) == 0
    _, line = capsys.readouterr().out.splitlines()
    mean = sum(one["cost"] for one in chosen) / 2
    assert line.startswith("mean of 2") and f"{mean:.3e}" in line


@pytest.mark.parametrize(
    "change, word",
    [
        (('sampler = "random"', 'sampler = "cma"'), "tpe"),
        (("trials = 9", "trials = 0"), "trials"),
        (("trials = 9", "trials = 'x'"), "trials"),
        (("macs_per_pixel", "macs"), "macs_per_pixel"),
        (("low = 1e-4", "low = 1"), "low < high"),
        (("low = 1e-4", "low = -1"), "logarithmic"),
        (("low = 1e-4", "low = 'a'"), "numbers"),
        (("high = 3e-2,", ""), "high"),
        (("log = true", "lag = true"), "log"),
        (("[search]", "[search]\npruner = 'x'"), "halving"),
        (("high = 3e-2", "high = 'x'"), "high"),
    ],
)
def test_a_bad_search_is_refused(change, word):
    with pytest.raises(UserError, match=word):
        parse(tomllib.loads(TOML.replace(*change)), "test")


def test_ranges_need_a_search(capsys, folder, tmp_path):
    with pytest.raises(UserError, match="needs a \\[search\\]"):
        parse(tomllib.loads(TOML[: TOML.index("[search]")]), "test")
    toml = tmp_path / "test.toml"
    toml.write_text(TOML)
    command = ["sweep", str(toml), str(folder), "-o", str(tmp_path / "out")]
    assert main([*command, "--strategy", "grid"]) == 2
    assert "fit.lr" in capsys.readouterr().err
    toml.write_text(TOML + "storage = 'postgresql://nobody@localhost:1/none'")
    assert main(command) == 2
    assert "storage" in capsys.readouterr().err
