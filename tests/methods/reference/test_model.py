"""The float model: its wiring, its twin in integers, its training and its adaptation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_reference

from overfit.bases.base import start
from overfit.methods.reference import codec, encoder, model
from overfit.methods.reference.architecture import order, parameter_shapes
from overfit.methods.reference.config import ReferenceConfig
from overfit.nn import distributions
from overfit.settings import override

VARIANTS = {
    "default": {},
    "mixture": {"entropy__distribution": "mixture"},
    "checkerboard": {"entropy__context": "checkerboard"},
}


@pytest.fixture(scope="module", params=VARIANTS)
def base(request):
    return small_reference.base(**VARIANTS[request.param])


def places(code):
    return order(*code.y.shape[1:], code.config.order, code.config.entropy.context)


@pytest.fixture(scope="module")
def config(base):
    return codec.configuration(base)


@pytest.fixture(scope="module")
def code(base, config, picture):
    signal = picture(128, 192).transpose(2, 0, 1).astype(np.float32) / 255
    code = encoder.code(signal, base, 8e-3, config)
    # A random network expects next to nothing: latents that it does not think impossible.
    return code._replace(y=np.clip(code.y, -4, 4), z=np.clip(code.z, -4, 4))


@pytest.fixture(scope="module")
def prediction(base, code):
    networks = start(base).networks
    y, z = jnp.asarray(code.y, jnp.float32), jnp.asarray(code.z, jnp.float32)
    return jax.jit(lambda y, z: model.predict(networks, y, z, code.config))(y, z)


def test_shapes_are_those_of_the_architecture(config):
    made = model.init(np.random.default_rng(0), config)
    assert jax.tree.map(lambda array: array.shape, made) == parameter_shapes(config)


def test_the_integer_twin_predicts_the_same(base, code, prediction):
    """Same references, and bits within half a per cent of those of the float model."""
    trace = codec.trace(code, base)
    similarity = np.asarray(prediction.reference.similarity)
    index = np.asarray(prediction.reference.index)
    assert np.abs(trace.similarity - similarity).max() < 0.01
    known = trace.reference >= 0
    assert known.mean() > 0.4  # anchors of a checkerboard, the half, have none
    # Equal cosines may be of two places.
    assert (index[known] == trace.reference[known]).mean() > 0.9
    flat = jnp.asarray(code.y.reshape(len(code.y), -1), jnp.float32)
    shares = prediction.shares or [jnp.ones(())]
    stages = prediction.stages[-len(shares) :]
    floats = np.asarray(distributions.mixture_bits(flat, stages, shares))
    # Beyond 31 bins the file escapes, at a cost that falls behind that of the float model's tail.
    usual = floats < 20
    assert usual.mean() > 0.95
    assert trace.bits[usual].sum() == pytest.approx(floats[usual].sum(), rel=5e-3)


def test_predictions_depend_on_the_past_only(base, code, prediction):
    """A change of a latent moves predictions of later waves alone."""
    networks = start(base).networks
    y, z = np.array(code.y, np.float32), jnp.asarray(code.z, jnp.float32)
    y[:, 3, 4] += 9
    predict = jax.jit(lambda y, z: model.predict(networks, y, z, code.config))
    after = predict(jnp.asarray(y), z)
    moved = np.abs(np.asarray(after.stages[-1][0] - prediction.stages[-1][0])).max(axis=0) > 1e-4
    for now, then in zip(after.shares, prediction.shares, strict=True):
        moved |= np.abs(np.asarray(now - then)).max(axis=0) > 1e-4
    positions, _, first, _ = places(code)
    wave = np.empty_like(first)
    wave[positions] = first
    assert moved.any() and (wave[moved] > wave[3 * y.shape[2] + 4]).all()


@pytest.mark.parametrize("context", ["causal", "checkerboard"])
@pytest.mark.parametrize("kind", ["raster", "wavefront"])
def test_orders_cover_all_positions(kind, context):
    positions, starts, first, candidates = order(5, 7, kind, context)
    waves = {"raster": 35, "wavefront": 7 + 3 * 4 if context == "causal" else 1 + 5}[kind]
    assert sorted(positions) == list(range(35)) and len(starts) == waves + 1
    assert (first <= np.arange(35)).all() and starts[-1] == 35
    if context == "checkerboard":
        row, column = np.divmod(positions, 7)
        assert ((row + column) % 2 == (np.arange(35) >= candidates)).all()
    elif kind == "raster":
        assert positions.tolist() == list(range(35)) and candidates == 0


def test_waves_of_a_checkerboard_are_bounded():
    for rows, columns in ((40, 30), (3, 1000), (1000, 3)):
        starts = order(rows, columns, "wavefront", "checkerboard").starts
        assert np.diff(starts).max() <= 65 and rows * columns // 2 in starts


def test_gaussian_bits_are_masses():
    x = jnp.arange(-40.0, 41.0)
    for log2_scale in (-3.0, 0.0, 2.0):
        bits = distributions.gaussian_bits(x, jnp.full_like(x, 0.3), jnp.full_like(x, log2_scale))
        assert float(jnp.sum(jnp.exp2(-bits))) == pytest.approx(1, abs=1e-5)
    far = distributions.gaussian_bits(jnp.asarray(60.0), jnp.asarray(0.0), jnp.asarray(-4.0))
    assert 30 < float(far) < 60


def test_gaussian_bits_go_on_where_masses_are_less_than_float32_has():
    bits = lambda x: distributions.gaussian_bits(x, jnp.asarray(0.0), jnp.asarray(-4.0))  # noqa: E731
    near, far = (jax.value_and_grad(bits)(jnp.asarray(x)) for x in (150.0, 1e5))
    assert float(near[1]) == pytest.approx(float(far[1]), rel=1e-3) and float(far[1]) > 0.4
    assert float(far[0]) == pytest.approx(float(near[0]) + (1e5 - 150) * float(far[1]), rel=1e-4)


def test_stage_weights_are_those_of_the_paper():
    config = ReferenceConfig()
    early, late = (model.stage_weights(jnp.asarray(p), config) for p in (0.1, 0.9))
    assert [round(float(w), 3) for w in early] == [0.3, 0.3, 0.4]
    assert [round(float(w), 3) for w in late] == [0.1, 0.1, 0.8]
    alone = override(config, {"entropy.reference": False, "entropy.hyperprior": False})
    mixture = override(config, {"entropy.distribution": "mixture"})
    for one in (alone, mixture):
        assert [float(w) for w in model.stage_weights(jnp.asarray(0.1), one)] == [1.0]
