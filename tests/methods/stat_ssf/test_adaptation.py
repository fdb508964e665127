"""Adaptation: the fit sees what files have, and only what pays is written."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_stat_ssf
from small_stat_ssf import clip_of

from overfit.bases.base import pack, unpack
from overfit.bases.base import start as floats_of
from overfit.methods.stat_ssf import adaptation, codec, encoder, model
from overfit.nn import changes
from overfit.settings import override

LMBDA = 6e-3  # not the middle of the base


@pytest.fixture(scope="module")
def base():
    return unpack(pack(small_stat_ssf.base()))


@pytest.fixture(scope="module")
def config(base):
    chosen = {"windows": 5, "window_crop": 64, "window_frames": 2}
    return override(codec.configuration(base), chosen)


@pytest.fixture(scope="module")
def params(base, config):
    return adaptation.init(jax.random.key(0), None, floats_of(base), config)


def test_windows_are_parts_of_the_clip_and_do_not_grow_with_it(config):
    short, long = clip_of(3, 50, 130), clip_of(7, 100, 200)
    for clip in (short, long):
        windows, pixels, share = adaptation.windows(clip, 0, config)
        assert windows.shape == (5, 2, 3, 64, 64) and windows.dtype == np.uint8
        assert pixels == clip.frames * clip.height * clip.width
        assert share == np.float32(1 / clip.frames)
        again, *_ = adaptation.windows(clip, 0, config)
        assert np.array_equal(windows, again)
        assert not np.array_equal(windows, adaptation.windows(clip, 1, config)[0])
    frames = long.planes[0].transpose(0, 3, 1, 2)
    found = [
        np.array_equal(windows[0], frames[t : t + 2, :, y : y + 64, x : x + 64])
        for t in range(6)
        for y in range(37)
        for x in range(137)
    ]
    assert any(found)


def named(params, base, config):
    """{kind: {path: array}}."""
    known = floats_of(base).networks
    return {kind: adaptation.split(vector, known, kind, config) for kind, vector in params.items()}


def test_the_encoder_is_fitted_but_not_sent(params, base, config):
    found = named(params, base, config)
    assert sum(array.size for array in found["changes"].values()) == params["changes"].size
    sent = {path.split("/")[0] for path in found["changes"]}
    own = {path.split("/")[0] for path in found["encoder"]}
    assert own == {
        f"{part}_{kind}" for part in ("intra", "motion", "residual")
        for kind in ("analysis", "hyper_analysis")
    }  # fmt: skip
    assert not own & sent
    assert sent | own | {f"{p}_hyper_latents" for p in ("intra", "motion", "residual")} == {
        path.split("/")[0] for path in base.arrays
    }
    assert not any(path.endswith("/encoder") for path in found["changes"])


@pytest.fixture(scope="module")
def step(params, base, config):
    """((loss, Aux), gradient) of the base as it is, on a clip that is one window."""
    signal = jax.tree.map(jnp.asarray, adaptation.windows(clip_of(2, 64, 64), 0, config))
    known = jax.tree.map(jnp.asarray, floats_of(base))

    def loss(params):
        key, lmbda = jax.random.key(1), jnp.float32(LMBDA)
        return adaptation.loss(params, known, signal, key, None, lmbda, config)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)


def test_the_loss_is_about_that_of_the_file(step, params, base, config):
    """But for noise instead of rounding, and for pixels beyond 0..255."""
    clip = clip_of(2, 64, 64)
    (total, aux), _ = step
    code, distortion = codec.encoded(encoder.plain(clip, base, LMBDA, config), base, clip.planes[0])
    bits = 8 * len(codec.write(code, base)["latents"])
    assert 0.5 * distortion < float(aux.distortion)
    assert float(aux.bits) == pytest.approx(bits, rel=0.3)  # noise has another rate
    rate = (float(aux.bits) + float(changes.bits({"all": params["changes"]}))) / (2 * 64 * 64)
    assert float(total) == pytest.approx(float(aux.distortion) + LMBDA * rate, rel=1e-4)


def test_the_gradient_reaches_everything(step, base, config):
    for arrays in named(step[1], base, config).values():
        for path, array in arrays.items():
            assert np.isfinite(array).all() and np.abs(array).max() > 0, path


def with_bias(params, base, config, values):
    """What is fitted, with other biases of the last layer of intra frames."""
    path = "intra_synthesis/b3"
    numbered = {**params, "changes": np.arange(params["changes"].size)}
    places = named(numbered, base, config)["changes"][path]
    vector = np.array(params["changes"])
    vector[places] = np.asarray(values) / changes.UNIT
    return params | {"changes": vector}


def test_what_makes_it_worse_is_not_written(params, base, config):
    clip = clip_of(2, 64, 64)
    worse = with_bias(params, base, config, [0.8, -0.8, 0.8])
    code = adaptation.quantize(worse, base, clip, LMBDA, config, None)
    assert code.subset == "none" and code.gops == encoder.code(clip, base, LMBDA, config).gops


def test_a_change_that_pays_is_written(params, base, config):
    """The clip is brighter than these networks know."""
    clip = clip_of(1, 64, 64)
    target = clip._replace(planes=((clip.planes[0] // 4 + 180).astype(np.uint8),))
    before = codec.reconstruct(encoder.code(target, base, LMBDA, config), base)
    mean = (target.planes[0] / 255 - before / 255).mean(axis=(0, 1, 2))
    assert np.abs(mean).max() > 0.05
    fitted = with_bias(params, base, config, mean)
    code = adaptation.quantize(fitted, base, target, LMBDA, config, None)
    assert code.subset == "all" and code.changes["intra_synthesis/b3"].k.any()
    assert 0 < len(codec.write(code, base)["networks"]) < 40


def test_frames_are_references_as_shown():
    x = jnp.asarray([-0.1, 0.0, 0.3, 0.5019, 1.2])
    assert np.allclose(255 * np.asarray(model._as_shown(x)), [0, 0, 76, 128, 255], atol=1e-4)
