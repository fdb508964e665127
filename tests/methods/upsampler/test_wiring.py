"""What the networks see, and that fit and decoder compute the same."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from overfit.bases.base import Start
from overfit.methods.upsampler import inference, model, normalization, preparation, wiring
from overfit.methods.upsampler.architecture import networks, parameter_shapes, scale
from overfit.methods.upsampler.config import PRESETS, Network, UpsamplerConfig
from overfit.methods.upsampler.wiring import Place
from overfit.nn.resize import doubled

RNG = np.random.default_rng(0)


def test_phases_are_a_picture_and_back():
    frame = tuple(RNG.integers(0, 256, size, dtype=np.uint8) for size in ((7, 10), (4, 5), (4, 5)))
    phases = preparation.phases(frame, 8, 12)
    assert phases.shape == (6, 4, 6)
    assert phases[:4, 1, 2].tolist() == frame[0][2:4, 4:6].ravel().tolist()
    assert phases[:4, 3, 5].tolist() == [frame[0][6, 9]] * 4  # edges are repeated
    assert phases[4:, 3, 4].tolist() == [frame[1][3, 4], frame[2][3, 4]]
    for plane, again in zip(frame, preparation.planes(phases, 7, 10), strict=True):
        assert np.array_equal(plane, again)


def test_bilinear_phases_are_those_of_a_doubled_picture():
    x = RNG.normal(size=(2, 3, 5, 4)).astype(np.float32)
    up = wiring.depth_to_space(wiring.bilinear_phases(x, np))
    np.testing.assert_allclose(up, doubled(x, "bilinear"), atol=1e-6)
    assert np.array_equal(wiring.depth_to_space(wiring.space_to_depth(up)), up)


def test_positions_are_those_of_the_whole_group():
    """Section 3.2; a patch has the coordinates of its place in its frame."""
    whole = wiring._coordinates(Place([2], [0], [0], 8, 6, 10), 12, 20, np)
    assert [plane.shape for plane in whole] == [(1, 1, 1, 1), (1, 1, 12, 1), (1, 1, 1, 20)]
    assert whole[0].item() == 2 / 8
    np.testing.assert_allclose(whole[1][0, 0, :, 0], np.arange(12) / 12, rtol=1e-6)
    patch = wiring._coordinates(Place([7, 1], [2, 3], [0, 4], 8, 6, 10), 6, 8, np)
    assert patch[0].ravel().tolist() == [7 / 8, 1 / 8]
    np.testing.assert_array_equal(patch[1][0, 1, :, 0], whole[1][0, 0, 6:12, 0])
    np.testing.assert_array_equal(patch[2][0, 1, 0], whole[2][0, 0, 0, 8:16])


def test_phasors_have_the_papers_frequencies():
    """Equation 2: two frequencies in time and three along each side; 16 channels."""
    p = [np.full((1, 1, 1, 1), value) for value in (0.5, 0.25, 1.0)]
    found = [plane.item() for plane in wiring._phasors(p, np)]
    angles = [w * q for q, own in zip((0.5, 0.25, 1.0), ((4, 2), (4, 2, 1), (4, 2, 1)), strict=True)
              for w in own]  # fmt: skip
    expected = [f(np.pi / 4 * a) for a in angles for f in (np.sin, np.cos)]
    assert len(found) == 16
    np.testing.assert_allclose(found, expected, atol=1e-7)


# -- Fit and decoder -------------------------------------------------------------------------------


def random_network(config, seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: {
            array: rng.normal(0, shape[-1] ** -0.5, shape).astype(np.float32)
            for array, shape in own.items()
        }
        for name, own in parameter_shapes(config).items()
    }


def random_group(config, frames=3, rows=6, columns=5, seed=0):
    rng = np.random.default_rng(seed)
    fine = scale(config)

    def pixels(factor):
        shape = (frames, 6, factor * rows, factor * columns)
        return rng.integers(0, 256, shape, dtype=np.uint8)

    blocks = rng.normal(0, 2, (frames, 6, rows, columns)).astype(np.float16)
    return model.Signal(*map(jnp.asarray, (pixels(fine), pixels(1), blocks)))


@pytest.mark.parametrize("preset", ["klopp21", "klopp21-no-features", "klopp20"])
def test_the_decoder_computes_what_the_fit_does(preset):
    config = PRESETS[preset]
    if preset == "klopp20":
        random = random_group(config, rows=6, columns=8)
    else:
        random = random_group(config)
    network = random_network(config)
    patches = model.whole_frame(random, jnp.int32(1), config)
    fitted = np.rint(255 * np.asarray(model.restored(network, patches, config)))[:, 0]
    decoded, blocks = (np.asarray(array[1]) for array in (random.decoded, random.blocks))
    ours = inference.restore(network, decoded, blocks, 1, 3, config)
    assert ours.dtype == np.uint8 and ours.shape == random.original.shape[1:]
    assert np.abs(ours - inference.restore(None, decoded, blocks, 1, 3, config)).max() > 5
    # Rounding may go either way where the float is halfway.
    difference = np.abs(ours - fitted)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01


def test_without_a_network_the_base_is_enlarged():
    config = PRESETS["klopp21"]
    sizes = ((4, 8), (2, 4), (2, 4))
    frame = tuple(16 * RNG.integers(0, 16, size, dtype=np.uint8) for size in sizes)  # no halves
    phases = preparation.phases(frame, 4, 8)
    restored = inference.restore(None, phases, np.zeros((6, 2, 4), np.float16), 0, 1, config)
    for plane, small in zip(preparation.planes(restored, 8, 16), frame, strict=True):
        assert np.array_equal(plane, np.rint(doubled(small)).astype(np.uint8))


def test_overflowing_networks_give_pixels_all_the_same():
    config = PRESETS["klopp21"]
    network = {
        n: {a: v * 1e30 for a, v in own.items()} for n, own in random_network(config).items()
    }
    decoded = RNG.integers(0, 256, (6, 4, 4), dtype=np.uint8)
    restored = inference.restore(network, decoded, np.ones((6, 4, 4), np.float16), 0, 1, config)
    assert restored.shape == (6, 8, 8)


# -- Normalization ---------------------------------------------------------------------------------

SMALL = UpsamplerConfig(
    feature=Network(("P4", "D", "P4")),
    position=Network(("P3", "D", "P3")),
    denoiser=Network(("P3", "D", "P3", "D", "P6"), True),
    attention=1,
)


INIT = jax.jit(model.init, static_argnums=3)
FOLDED = jax.jit(model.folded, static_argnums=2)


def random_params(config, seed=0):
    """Of a fit: like a folded network, with betas for shifts."""
    return {
        name: {array.replace("shift", "beta"): values for array, values in own.items()}
        for name, own in random_network(config, seed).items()
    }


def test_a_layer_is_normalized_then_padded_with_zeros():
    """Batch normalization as in the paper, then convolution: also at the borders."""
    assert networks(SMALL)["denoiser"][1].kind == "D"
    own = random_params(SMALL)["denoiser"]
    x = np.random.default_rng(5).normal(3, 4, (3, 2, 6, 5)).astype(np.float32)
    axes = {"axis": (1, 2, 3), "keepdims": True}
    normal = (x - x.mean(**axes)) / np.sqrt(x.var(**axes) + 1e-5)
    normal += own["beta1"][:, None, None, None]
    expected = np.zeros_like(x)
    padded = np.pad(normal, ((0, 0), (0, 0), (1, 1), (1, 1)))
    for tap in range(9):
        dy, dx = divmod(tap, 3)
        expected += own["w1"][:, tap, None, None, None] * padded[:, :, dy : dy + 6, dx : dx + 5]

    @jax.jit
    def layer(x):
        weights = normalization.by_batch({"denoiser": own}, SMALL)
        return model.OPS.channelwise(*weights("denoiser", 1, x), x)

    np.testing.assert_allclose(layer(x), expected, atol=1e-4)


def test_a_folded_network_has_the_statistics_of_its_own_group():
    """Each layer's input has the mean and deviation that the layer was folded with."""
    group, params = random_group(SMALL, frames=8), random_params(SMALL)
    network = FOLDED(params, group, SMALL)
    frames = jnp.arange(8, dtype=jnp.int32)
    weights = normalization.folded(network)
    seen = jax.jit(lambda: model._statistics(weights, group, SMALL, frames))()
    again = normalization.fold(params, seen, SMALL)
    for name, own in network.items():
        for array, values in own.items():
            np.testing.assert_allclose(again[name][array], values, rtol=1e-3, atol=1e-4)


def test_statistics_are_those_of_all_frames():
    """Even if most passes see but a few of them."""
    group, params = random_group(SMALL, frames=11), random_params(SMALL)
    beta = params["feature"]["beta0"]
    blocks = np.asarray(group.blocks, np.float32)
    mean, deviation = blocks.mean((0, 2, 3)), blocks.std((0, 2, 3))
    network = FOLDED(params, group, SMALL)
    np.testing.assert_allclose(
        network["feature"]["shift0"], mean - beta * deviation, rtol=1e-3, atol=1e-4
    )


def test_a_fit_from_a_base_begins_with_the_base():
    group = random_group(SMALL)
    rng = np.random.default_rng(3)
    params = jax.tree.map(
        lambda x: np.float32(rng.normal(0, 0.5, x.shape)),
        INIT(jax.random.key(0), group, None, SMALL),
    )
    base = FOLDED(params, group, SMALL)
    again = FOLDED(INIT(jax.random.key(0), group, Start(base, {}), SMALL), group, SMALL)
    for name, own in base.items():
        for array, values in own.items():
            np.testing.assert_allclose(again[name][array], values, rtol=1e-3, atol=1e-3)


def test_what_is_averaged_over_fits_is_folded_to_a_base_by_its_own_moments():
    group = random_group(SMALL)
    params = INIT(jax.random.key(0), group, Start(random_network(SMALL), {}), SMALL)
    params = jax.tree.map(lambda x: x.clip(-2, 2), params)
    averageable = jax.jit(model.averageable, static_argnums=2)(params, group, SMALL)
    start = Start(averageable, jax.tree.map(lambda _: jnp.ones(()), averageable))
    found, expected = model.as_base(start, SMALL), FOLDED(params, group, SMALL)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    for name, own in expected.items():
        assert found.scales[name].keys() >= own.keys()
        jax.tree.map(close, {array: found.networks[name][array] for array in own}, own)
    # A fit begins with the parameters themselves, whatever its own group is.
    for begin in (start, found):
        again = INIT(jax.random.key(1), random_group(SMALL, seed=7), begin, SMALL)
        jax.tree.map(close, again, params)


def test_what_hardly_varies_does_not_explode_where_it_does():
    """A folded weight for a tiny deviation is not that for a large one."""
    group, base = random_group(SMALL), random_network(SMALL)
    base["feature"]["w0"] = base["feature"]["w0"] * 1e4
    params = INIT(jax.random.key(0), group, Start(base, {}), SMALL)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(params)) <= 1e2


def test_a_fit_without_a_base_begins_at_the_enlarged_picture():
    params = INIT(jax.random.key(0), None, None, SMALL)
    assert not params["denoiser"]["w4"].any()
    assert all(own["w0"].std() > 0.1 for own in params.values())
    assert {name: set(own) for name, own in params.items()} == {
        name: set(own) for name, own in random_params(SMALL).items()
    }


def test_channels_must_fit_together():
    for wrong, said in (
        ({"denoiser": Network(("P14",) * 5 + ("P5",))}, "denoiser: its last layer must have 6"),
        ({"position": Network(("P3",))}, "position: its last layer must have 14"),
        ({"feature": Network(("P6",))}, "that 4 divides"),
    ):
        with pytest.raises(ValueError, match=said):
            networks(dataclasses.replace(PRESETS["klopp21"], **wrong))
    for wrong in ({"layers": ()}, {"layers": ("P65",)}, {"layers": ("Q3",)}, {"layers": ("P",)}):
        with pytest.raises(ValueError, match="layers"):
            Network(**wrong)
