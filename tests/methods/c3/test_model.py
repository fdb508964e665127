import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from overfit.method import Anneal
from overfit.methods.c3 import model
from overfit.methods.c3.config import PRESETS, C3Config, Entropy, Latents, Synthesis
from overfit.nn import distributions
from overfit.nn.resize import resize_matrix

LMBDA = jnp.float32(1e-3)
STAGE_1 = Anneal(jnp.float32(0.3), jnp.float32(1.5), jnp.asarray(False))
STAGE_2 = Anneal(jnp.float32(1e-4), jnp.float32(1.0), jnp.asarray(True))


def tiny(num_grids=3, order="fine_to_coarse", upsampling="bilinear", **entropy):
    return C3Config(
        latents=Latents(num_grids=num_grids, order=order),
        entropy=Entropy(**{"widths": (4,), "context": 1} | entropy),
        synthesis=Synthesis(widths=(4,), residual_layers=1, upsampling=upsampling),
    )


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def as_signal(image):
    return jnp.asarray(image.transpose(2, 0, 1), jnp.float32) / 255


@functools.cache
def compiled_loss(config):
    """((loss, aux), gradient) of params, signal, anneal; stages share one program."""

    def value(params, signal, anneal):
        return model.loss(params, None, signal, jax.random.key(1), anneal, LMBDA, config)

    return jax.jit(jax.value_and_grad(value, has_aux=True))


# -- What the entropy model may look at ------------------------------------------------------------


def dependencies(config, shapes, monkeypatch):
    """[i, j]: whether the location predicted for latent i depends on latent j."""
    count = sum(rows * columns for rows, columns in shapes)
    marker, latents = 99.0, normal(0, count)
    weights = model.init(jax.random.key(3), jnp.zeros((3, *shapes[0])), None, config)["entropy"]

    def location_where_marked(x, loc, scale):
        return jnp.where(x == marker, loc, 0.0)

    monkeypatch.setattr(distributions, "laplace_bits", location_where_marked)

    def location(latents, i):
        return model.latent_bits(weights, latents.at[i].set(marker), shapes, config)

    return jax.jit(jax.vmap(jax.grad(location), (None, 0)))(latents, jnp.arange(count)) != 0


def grid_of(shapes):
    return np.repeat(np.arange(len(shapes)), [rows * columns for rows, columns in shapes])


@pytest.mark.parametrize("order", ["fine_to_coarse", "coarse_to_fine"])
def test_a_latent_is_predicted_only_from_what_the_decoder_has_by_then(order, monkeypatch):
    config, shapes = tiny(order=order, previous=1), ((7, 5), (4, 3), (2, 2))
    seen, grid = np.asarray(dependencies(config, shapes, monkeypatch)), grid_of(shapes)
    grids = model.coding_order(config)
    coded = np.concatenate([np.flatnonzero(grid == g) for g in grids])
    in_order = seen[np.ix_(coded, coded)]
    assert not np.triu(in_order).any()
    for position, g in enumerate(grids):
        used = {int(h) for h in grid[seen[grid == g].any(axis=0)]}
        # A grid of one row and column and less than two values has no neighbors of its own.
        assert used == {g, *grids[max(position - 1, 0) : position]}


def test_the_context_is_the_causal_neighborhood_and_stays_in_its_grid(monkeypatch):
    shapes = ((6, 5), (3, 3))
    seen = np.asarray(dependencies(tiny(2, context=1), shapes, monkeypatch))
    y, x = (index.ravel() for index in np.mgrid[:6, :5])
    dy, dx = y[None, :] - y[:, None], x[None, :] - x[:, None]
    neighbor = ((dy == -1) & (abs(dx) <= 1)) | ((dy == 0) & (dx == -1))
    np.testing.assert_array_equal(seen[:30, :30], neighbor)
    assert not seen[:30, 30:].any() and not seen[30:, :30].any()


# -- Variants --------------------------------------------------------------------------------------


def test_variants_that_can_say_the_same_do():
    shapes, latents = ((7, 5), (4, 3), (2, 2)), 3 * normal(0, 51)
    signal = jnp.zeros((3, 7, 5))

    def bits(weights, config):
        return jax.jit(model.latent_bits, static_argnums=(2, 3))(weights, latents, shapes, config)

    shared = model.init(jax.random.key(0), signal, None, tiny())["entropy"]
    film = model.init(jax.random.key(0), signal, None, tiny(per_grid="film"))["entropy"]
    copies = jax.tree.map(lambda x: jnp.stack([x] * 3), shared)
    expected = bits(shared, tiny())
    assert 51 < expected < 51 * distributions.MAX_BITS
    np.testing.assert_allclose(bits(film | shared, tiny(per_grid="film")), expected, rtol=1e-5)
    np.testing.assert_allclose(bits(copies, tiny(per_grid="separate")), expected, rtol=1e-5)


@pytest.mark.parametrize("per_grid", ["film", "separate"])
def test_every_grid_trains_its_own_parameters(per_grid, picture):
    config, signal = tiny(per_grid=per_grid), as_signal(picture(12, 14))
    params = model.init(jax.random.key(0), signal, None, config)
    params["latents"] = 0.3 * normal(1, *params["latents"].shape)
    (loss, _), gradient = compiled_loss(config)(params, signal, STAGE_1)
    assert jnp.isfinite(loss)
    for name, g in gradient["entropy"].items():
        if per_grid == "separate" or name[:-1] in ("scale", "shift"):
            assert (jnp.abs(g).reshape(3, -1).max(axis=1) > 0).all(), name


def test_learned_upsampling_starts_as_repeated_bicubic_doubling():
    config = tiny(upsampling="learned")
    planes = [normal(i, *shape) for i, shape in enumerate(((40, 44), (20, 22), (10, 11)))]
    params = model.init(jax.random.key(0), jnp.zeros((3, 40, 44)), None, config)
    up = model.upsampled(params["synthesis"], planes, 40, 44, config)

    def doubled(plane):
        rows, columns = (resize_matrix(n, 2 * n, "bicubic") for n in plane.shape)
        return rows @ plane @ columns.T

    expected = np.stack([planes[0], doubled(planes[1]), doubled(doubled(planes[2]))])
    # What lies beyond the edges is repeated by one and left out by the other.
    inner = np.s_[:, 10:-10, 10:-10]
    np.testing.assert_allclose(up[inner], expected[inner], atol=1e-5)
    np.testing.assert_array_equal(up[0], planes[0])


@pytest.mark.parametrize("upsampling", ["bilinear", "learned"])
def test_constant_latents_make_a_flat_image_at_any_size(upsampling):
    config = tiny(num_grids=4, upsampling=upsampling)
    shape = (3, 11, 6)
    planes = [jnp.full(s, 0.5) for s in config.latents.shapes(11, 6)]
    params = model.init(jax.random.key(0), jnp.zeros(shape), None, config)
    np.testing.assert_allclose(
        model.upsampled(params["synthesis"], planes, 11, 6, config), 0.5, atol=1e-5
    )


def test_leaving_out_the_finest_grid_keeps_the_image_size():
    config = dataclasses.replace(tiny(), latents=Latents(num_grids=2, first_octave=1))
    planes = [normal(i, *shape) for i, shape in enumerate(config.latents.shapes(11, 6))]
    assert [plane.shape for plane in planes] == [(6, 3), (3, 2)]
    for upsampling in ("bilinear", "learned"):
        synthesis = Synthesis(widths=(4,), upsampling=upsampling)
        one = dataclasses.replace(config, synthesis=synthesis)
        params = model.init(jax.random.key(0), jnp.zeros((3, 11, 6)), None, one)
        image = model.synthesize(params["synthesis"], planes, (3, 11, 6), one)
        assert image.shape == (3, 11, 6)


# -- The loss --------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_learns(preset, picture):
    # Three grids instead of seven: they compile in half the time.
    config = PRESETS[preset]
    latents = dataclasses.replace(config.latents, num_grids=3)
    config = dataclasses.replace(config, latents=latents)
    signal = as_signal(picture(24, 20))
    params = model.init(jax.random.key(0), signal, None, config)
    loss = compiled_loss(config)
    (first, aux), _ = loss(params, signal, STAGE_2)
    np.testing.assert_allclose(first, aux.distortion + LMBDA * aux.bits / 480, rtol=1e-6)

    adam = optax.adam(1e-2)
    state = adam.init(params)
    update = jax.jit(adam.update)
    for _ in range(30):
        (value, _), gradient = loss(params, signal, STAGE_1)
        assert jnp.isfinite(value)
        step, state = update(gradient, state)
        params = jax.tree.map(jnp.add, params, step)
    (last, _), gradient = loss(params, signal, STAGE_2)
    assert last < 0.6 * first
    chex.assert_tree_all_finite(gradient)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9, 1)], ids=["one pixel", "one grey row"])
@pytest.mark.parametrize("upsampling", ["bilinear", "learned"])
def test_the_smallest_images_work_in_both_stages(shape, upsampling, picture):
    config, signal = tiny(upsampling=upsampling, previous=1), as_signal(picture(*shape))
    params = model.init(jax.random.key(0), signal, None, config)
    for stage in (STAGE_1, STAGE_2):
        (loss, aux), gradient = compiled_loss(config)(params, signal, stage)
        assert jnp.isfinite(loss) and aux.bits > 0
        chex.assert_tree_all_finite(gradient)


def test_stage_2_does_not_depend_on_the_noise(picture):
    config, signal = tiny(), as_signal(picture(12, 14))
    params = model.init(jax.random.key(0), signal, None, config)
    params["latents"] = normal(1, *params["latents"].shape)
    shapes = config.latents.shapes(12, 14)

    def quantized(seed, stage):
        return model.quantized(params["latents"], shapes, jax.random.key(seed), stage, config)

    np.testing.assert_array_equal(quantized(0, STAGE_2), quantized(1, STAGE_2))
    np.testing.assert_array_equal(quantized(0, STAGE_2), np.round(quantized(0, STAGE_2)))
    assert (quantized(0, STAGE_1) != quantized(1, STAGE_1)).all()
