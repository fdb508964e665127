"""Fits that start from a base: files that need it, and say so where it is missing."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from small_model import SMALL, ignorant, words

import overfit
from overfit import evaluation
from overfit.bases import library
from overfit.bases.base import pack
from overfit.cli import main
from overfit.coding import container
from overfit.errors import UserError
from overfit.fitting.groups import Options, Request, checked
from overfit.io.datasets import find_all
from overfit.jobs.work import work
from overfit.meta import train as training
from overfit.meta.train import Plan, train
from overfit.metrics.psnr import psnr
from overfit.sweeping import rungs, space

CROP, STEPS = 32, 100
PLAN = Plan(set=SMALL, outer_steps=4, batch=2, steps=STEPS, crop=CROP, held_out=2)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, picture):
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(4):
        Image.fromarray(picture(40, 48, seed=seed)).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def base(pictures):
    return train(find_all([str(pictures)]), PLAN)


@pytest.fixture(scope="module")
def home(base, tmp_path_factory):
    """Where the base is kept, as mine.ovb."""
    folder = tmp_path_factory.mktemp("bases")
    (folder / "mine.ovb").write_bytes(pack(base))
    return folder


@pytest.fixture(autouse=True)
def kept(home, monkeypatch):
    monkeypatch.setenv("OVERFIT_BASES", str(home))


@pytest.fixture(scope="module")
def unseen(picture):
    return picture(CROP, CROP, seed=9)


def encode(image, **options):
    return overfit.encode(image, **({"set": SMALL, "steps": STEPS, "lmbda": 1e-3} | options))


def cost(image, data):
    return (
        10 ** (-psnr(image, overfit.decode(data)) / 10) + 1e-3 * 8 * len(data) / image[..., 0].size
    )


def test_training_goes_on_to_the_same_base(pictures, base, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "EVERY", 1)
    saved, heard = tmp_path / "run", []

    def stop(progress):
        heard.append(progress)
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(find_all([str(pictures)]), PLAN, saved, stop)
    again = train(find_all([str(pictures)]), PLAN, saved, heard.append)
    assert [progress.step for progress in heard] == [1, 2, 3, 4]
    assert len(list(saved.iterdir())) == 1
    for name, prior in base.arrays.items():
        np.testing.assert_array_equal(again.arrays[name].center.k, prior.center.k)
        assert again.arrays[name].spread == prior.spread


def test_a_fit_from_a_base_is_better_and_its_networks_smaller(unseen):
    plain, based = encode(unseen), encode(unseen, base="mine")
    assert cost(unseen, based) < cost(unseen, plain)
    networks = [overfit.info(data)["bits"]["networks"] for data in (plain, based)]
    assert networks[1] < networks[0]
    assert overfit.info(plain)["base"] is None
    assert overfit.info(based)["base"] == library.find("mine").identity[:6]


def test_another_process_decodes_it_with_the_base_only(unseen, home, tmp_path):
    data = encode(unseen, base="mine")
    (tmp_path / "a.ovf").write_bytes(data)
    command = [sys.executable, "-m", "overfit", "decode", "a.ovf", "-o", "a.png"]

    def decode(folder):
        environment = os.environ | {"OVERFIT_BASES": str(folder)}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    without = decode(tmp_path / "none")
    assert without.returncode == 2 and not (tmp_path / "a.png").exists()
    (line,) = without.stderr.splitlines()
    assert library.find("mine").identity[:6] in line and "bases import" in line
    assert decode(home).returncode == 0
    decoded = np.asarray(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(decoded, overfit.decode(data))


def test_images_with_and_without_a_base_are_fitted_together(unseen):
    """Their programs differ; none gets the other's networks."""
    from overfit.fitting.encode import encode as encode_all

    options = Options(set=SMALL, steps=STEPS)
    requests = [Request(unseen, options), Request(unseen, options._replace(base="mine"))]
    plain, based = (result.data for result in encode_all(requests))
    assert based == encode(unseen, base="mine") and plain == encode(unseen)


@pytest.fixture
def several(base, home):
    """Beside "mine" a base that knows nothing, "poor"; and one for large files, "fine"."""
    (home / "poor.ovb").write_bytes(pack(ignorant(base)))
    settings = base.settings | {"fit.lr": 5e-3}
    (home / "fine.ovb").write_bytes(pack(base._replace(settings=settings, lmbdas=(1e-5, 1e-4))))
    yield
    for name in ("poor", "fine"):
        (home / f"{name}.ovb").unlink()


def test_of_several_bases_the_best_is_taken(unseen, several):
    assert encode(unseen, base="poor,mine") == encode(unseen, base="mine")


def test_the_shipped_base_for_the_networks_and_lambda_is_the_default(
    unseen, several, home, monkeypatch
):
    shipped = [library.load(home / f"{name}.ovb") for name in ("fine", "mine")]
    monkeypatch.setattr(library, "shipped", lambda: shipped)
    assert encode(unseen) == encode(unseen, base="mine")
    auto = Options(set=SMALL, base="auto")
    assert checked(Request(unseen, auto._replace(lmbda=1e-4))).base_prefix == shipped[0].prefix
    relu = SMALL | {"entropy.activation": "relu"}
    plain = {
        "none": Request(unseen, auto._replace(base="none")),
        "grey": Request(unseen[..., 0], auto),
        "other networks": Request(unseen, auto._replace(set=relu)),
    }
    for name, request in plain.items():
        assert checked(request).base is None, name


def test_a_base_brings_the_schedule_that_it_was_learned_for(unseen, several):
    fine, mine = encode(unseen, base="fine"), encode(unseen, base="mine")
    slower = encode(unseen, base="mine", set=SMALL | {"fit.lr": 5e-3})
    size = len(container.MAGIC) + 1 + 4 + container.BASE_BYTES  # up to where the base is named
    assert fine[size:] == slower[size:] != mine[size:]


def test_training_goes_on_from_a_base(pictures, base):
    plan = PLAN._replace(
        base="mine", outer_steps=1, held_out=0, rate=(1e-6, 1e-6), encoder_batches=0
    )
    again = train(find_all([str(pictures)]), plan)
    for name, prior in base.arrays.items():
        np.testing.assert_allclose(again.arrays[name].center.k, prior.center.k, atol=1)


def test_jobs_start_from_a_base_of_the_library(pictures, several, tmp_path):
    instance = find_all([str(pictures)])[0]
    plan = evaluation.Plan(("c3-kodak",), steps=STEPS, set=SMALL, crop=CROP)
    (plain,) = evaluation.jobs([instance], plan)
    (job,) = evaluation.jobs([instance], plan._replace(base="mine"))
    assert job.key() != plain.key() and "base" in job.label and "base" not in plain.label
    (auto,) = evaluation.jobs([instance], plan._replace(base="auto"))
    assert auto == plain  # nothing is shipped for these networks
    axes = {"preset": "c3-kodak", "set": SMALL, "axes": {"entropy.activation": ["gelu", "relu"]}}
    choices = rungs.Plan(space.parse(axes, "choices"), "grid", base="mine")
    (swept,) = rungs.jobs_of(instance, choices, SMALL)
    assert swept.options["base"] == job.options["base"]
    events = []
    work([job], tmp_path, events.append)
    record = events[-1].record
    assert record is not None and record["bits"]["networks"] > 0
    assert overfit.info((tmp_path / job.file).read_bytes())["base"]


def test_a_file_that_decoders_would_not_find_is_refused(unseen, base, tmp_path):
    path = tmp_path / "elsewhere.ovb"
    path.write_bytes(pack(base._replace(card={"from": "elsewhere"})))
    with pytest.raises(UserError, match="bases import"):
        encode(unseen, base=str(path))


@pytest.mark.parametrize(
    "options, word",
    [
        ({"base": "none-such"}, "none-such"),
        ({"base": "mine", "set": SMALL | {"entropy.widths": (5,)}}, "entropy.widths"),
        ({"base": "mine", "set": SMALL | {"entropy.activation": "relu"}}, "other networks"),
    ],
)
def test_a_base_that_does_not_fit_is_refused(unseen, options, word):
    with pytest.raises(UserError, match=word):
        encode(unseen, **options)


def test_a_grey_image_has_other_networks(unseen):
    with pytest.raises(UserError, match="channels"):
        encode(unseen[..., 0], base="mine")


def test_the_commands(pictures, home, tmp_path, capsys):
    assert main(["bases", "list"]) == 0
    assert "mine" in capsys.readouterr().out
    assert main(["bases", "info", "mine"]) == 0
    assert "held_out_curve" in capsys.readouterr().out
    exported = str(tmp_path / "theirs.ovb")
    assert main(["bases", "export", "mine", "-o", exported]) == 0
    assert main(["bases", "import", exported]) == 0
    assert library.find("theirs").identity == library.find("mine").identity
    (home / "theirs.ovb").unlink()
    assert main(["bases", "info", "nothing"]) == 2
    command = ["meta-train", str(pictures), "-o", str(tmp_path / "new.ovb"), *words(SMALL)]
    command += ["--outer-steps", "1", "--batch", "2", "--steps", str(STEPS), "--crop", str(CROP)]
    capsys.readouterr()
    assert main(command) == 2
    assert "more than 8 images" in capsys.readouterr().err
