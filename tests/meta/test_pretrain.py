"""Pretraining: it learns, it resumes to the same base, and its bases make files."""

import numpy as np
import pytest
import small_reference
from PIL import Image

import overfit
from overfit import method, settings
from overfit.bases.base import identity, pack, unpack
from overfit.errors import UserError
from overfit.io.datasets import find_all
from overfit.meta.pretrain import Plan, _networks, batches_of, pretrain
from overfit.methods.reference import codec

SETTINGS = small_reference.SMALL | {
    "training.steps": 12, "training.batch": 2, "training.crop": 64, "training.lr": 3e-3,
    "rates.lmbdas": (3e-3,), "entropy.hyperprior": False,
}  # fmt: skip
PLAN = Plan("reference", "reference-small", SETTINGS)


def _config(base):
    return settings.override(codec.configuration(base), SETTINGS)


@pytest.fixture(scope="module")
def instances(tmp_path_factory, picture):
    folder = tmp_path_factory.mktemp("images")
    for i in range(3):
        Image.fromarray(picture(80, 96, seed=i)).save(folder / f"{i}.png")
    return find_all([str(folder)])


@pytest.fixture(scope="module")
def trained(instances):
    steps = []
    return pretrain(instances, PLAN, progress=steps.append), steps


def test_the_loss_falls(trained):
    _, steps = trained
    assert len(steps) == 12
    for figure in ("loss", "bpp"):
        values = [getattr(step, figure) for step in steps]
        assert np.mean(values[-4:]) < np.mean(values[:4])


def test_every_array_learns(trained):
    recipe = method.load("reference").pretraining
    first = recipe.init(np.random.default_rng(0), _config(trained[0]))
    for path, prior in trained[0].arrays.items():
        network, name = path.split("/")
        moved = np.abs(prior.center.value() - np.asarray(first[network][name])).max()
        assert moved > 1e-3, path


def test_an_interrupted_run_goes_on_to_the_same_base(trained, instances, tmp_path, monkeypatch):
    monkeypatch.setattr("overfit.meta.pretrain.CHECKPOINT_SECONDS", 0.0)

    def stop(step):
        if step.step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(instances, PLAN, tmp_path, stop)
    resumed = []
    base = pretrain(instances, PLAN, tmp_path, resumed.append)
    assert resumed[0].step == 7  # the checkpoint is from before the callback
    assert identity(pack(base)) == identity(pack(trained[0]))


def test_a_base_makes_files(trained, tmp_path, monkeypatch, picture):
    monkeypatch.setenv("OVERFIT_BASES", str(tmp_path))
    (tmp_path / "new.ovb").write_bytes(pack(trained[0]))
    image = picture(64, 80)
    data = overfit.encode(image, method="reference", base="new", steps=0)
    assert overfit.decode(data).shape == image.shape
    assert unpack(pack(trained[0])).card["plan"]["preset"] == "reference-small"


def test_gsdn_starts_from_gdn(trained):
    """The two stages of the paper: what is subtracted starts at nothing."""
    gdn = small_reference.base(
        transform__normalization="gdn", rates__lmbdas=(3e-3,), entropy__hyperprior=False
    )
    recipe = method.load("reference").pretraining
    networks = _networks(recipe, _config(trained[0]), 0, gdn)
    for path, prior in gdn.arrays.items():
        network, name = path.split("/")
        assert np.array_equal(networks[network][name], prior.center.value())
    assert not np.asarray(networks["synthesis"]["tau0"]).any()


def test_bad_plans(instances, tmp_path):
    with pytest.raises(UserError, match="not pretrained"):
        pretrain(instances, Plan("c3", "c3-kodak"))
    with pytest.raises(UserError, match="no preset"):
        pretrain(instances, Plan("reference", "large"))
    with pytest.raises(UserError, match="images of 512 px"):
        pretrain(instances, PLAN._replace(set={"training.crop": 512}))
    with pytest.raises(UserError, match="cannot be made by -1 processes"):
        batches_of(instances, PLAN, -1)
