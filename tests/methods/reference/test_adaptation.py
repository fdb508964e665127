"""Adaptation to an image: what it starts from, what it costs, and that what pays is written."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_reference

import overfit
from overfit.bases.base import pack, start
from overfit.coding.parameters import quantize
from overfit.methods.reference import adaptation, codec, encoder
from overfit.nn import changes
from overfit.settings import override

LMBDA = 1e-3


@pytest.fixture(scope="module")
def base():
    return small_reference.base()


@pytest.fixture(scope="module")
def config(base):
    return override(codec.configuration(base), {"adapt": "auto"})


@pytest.fixture(scope="module")
def signal(picture):
    return picture(70, 60).transpose(2, 0, 1).astype(np.float32) / 255


@pytest.fixture(scope="module")
def params(base, config, signal):
    init = jax.jit(lambda s, b: adaptation.init(jax.random.key(0), s, b, config))
    return jax.tree.map(np.asarray, init(jnp.asarray(signal), start(base)))


def written(params, base, signal, config):
    return adaptation.quantize(params, base, jnp.asarray(signal), LMBDA, config, None)


def test_it_starts_from_the_base_itself(params, base, config, signal):
    code = written(params, base, signal, config)
    plain = encoder.code(signal, base, LMBDA, config)
    # Float sums differ in order: a latent next to a half may round the other way.
    assert (code.y != plain.y).mean() < 0.01 and (code.z != plain.z).mean() < 0.01
    assert code.subset == "none"
    paths = {f"synthesis/{kind}{i}" for kind in ("beta", "gamma", "nu", "tau") for i in range(3)}
    assert params["changes"].keys() == paths | {"synthesis/w3", "synthesis/b3"}


def test_what_makes_it_worse_is_not_written(params, base, config, signal):
    noise = np.random.default_rng(0).normal(0, 3, params["latents"]["y"].shape)
    worse = params | {"latents": params["latents"] | {"y": params["latents"]["y"] + noise}}
    worse = worse | {"changes": params["changes"] | {"synthesis/b3": np.full(3, 30, np.float32)}}
    code = written(worse, base, signal, config)
    plain = encoder.code(signal, base, LMBDA, config)
    assert np.array_equal(code.y, plain.y) and code.subset == "none"


def test_a_change_that_pays_is_written_alone(params, base, config, signal):
    """The image is what a synthesis of another last bias shows: that bias, and nothing else."""
    plain = encoder.code(signal, base, LMBDA, config)
    shift = np.array([0.25, -0.25, 0.125], np.float32)
    moved = {
        path: quantize(
            prior.center.value() + (shift if path.endswith("b3") else 0), changes.EXPONENT, prior
        )
        for path, prior in codec.changeable("last", base).items()
    }
    shown = codec.reconstruct(plain._replace(subset="last", changes=moved), base)
    target = shown.transpose(2, 0, 1).astype(np.float32) / 255
    fitted = params | {"changes": params["changes"] | {"synthesis/b3": shift / changes.UNIT}}
    code = written(fitted, base, target, config)
    assert code.subset == "last"
    assert np.array_equal(code.changes["synthesis/b3"].k, moved["synthesis/b3"].k)
    sections = codec.write(code, base)
    assert 0 < len(sections["networks"]) < 16


@pytest.mark.slow
def test_a_fit_pays(base, tmp_path, monkeypatch, picture):
    monkeypatch.setenv("OVERFIT_BASES", str(tmp_path))
    (tmp_path / "small.ovb").write_bytes(pack(base))
    image = picture(64, 64)

    def loss(steps, adapt):
        data = overfit.encode(
            image, method="reference", base="small", steps=steps, lmbda=LMBDA, set={"adapt": adapt}
        )
        error = np.mean(np.square((overfit.decode(data).astype(float) - image) / 255))
        return error + LMBDA * 8 * len(data) / image[..., 0].size

    plain = loss(0, "auto")
    assert loss(60, "latents") < 0.98 * plain
    assert loss(60, "all") < 0.98 * plain
