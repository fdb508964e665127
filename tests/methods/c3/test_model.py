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

# Programs that run a few times only: compiling them fast matters more than their speed.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

LMBDA = jnp.float32(1e-3)
STAGE_1 = Anneal(jnp.float32(0.3), jnp.float32(1.5), jnp.asarray(False))
STAGE_2 = Anneal(jnp.float32(1e-4), jnp.float32(1.0), jnp.asarray(True))


def tiny(num_grids=3, order="fine_to_coarse", upsampling="bilinear", **entropy):
    return C3Config(
        latents=Latents(num_grids=num_grids, order=order),
        entropy=Entropy(**{"widths": (4,), "context": 1, "log_scale_shift": 0.0} | entropy),
        synthesis=Synthesis(widths=(4,), residual_layers=1, upsampling=upsampling),
    )


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def drawn(config, shape=(3, 12, 14)):
    """Parameters as they could be after some steps."""
    start = functools.partial(model.init, base=None, config=config)
    shapes, tree = jax.tree.flatten(
        jax.eval_shape(start, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))
    )
    return jax.tree.unflatten(tree, [normal(i, *x.shape) / 3 for i, x in enumerate(shapes)])


def as_signal(image):
    return jnp.asarray(image.transpose(2, 0, 1), jnp.float32) / 255


def compiled_step(config):
    """A step of Adam: params, moments, signal, anneal, lr -> the same two, loss, aux, gradient."""
    adam = optax.scale_by_adam()

    def step(params, moments, signal, anneal, lr):
        (loss, aux), gradient = jax.value_and_grad(model.loss, has_aux=True)(
            params, None, signal, jax.random.key(1), anneal, LMBDA, config
        )
        direction, moments = adam.update(gradient, moments)
        params = jax.tree.map(lambda p, d: p - lr * d, params, direction)
        return params, moments, loss, aux, gradient

    return jit(step), adam


# -- What the entropy model may look at ------------------------------------------------------------


def dependencies(config, shapes, monkeypatch):
    """[i, j]: whether the location predicted for latent i depends on latent j."""
    count = sum(rows * columns for rows, columns in shapes)
    marker, latents = 99.0, normal(0, count)
    weights = drawn(config)["entropy"]

    def location_where_marked(x, loc, scale):
        return jnp.where(x == marker, loc, 0.0)

    monkeypatch.setattr(distributions, "laplace_bits", location_where_marked)

    def location(latents, i):
        return model.latent_bits(weights, latents.at[i].set(marker), shapes, config)

    return jit(jax.vmap(jax.grad(location), (None, 0)))(latents, jnp.arange(count)) != 0


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

SHAPES = ((7, 5), (4, 3), (2, 2))
LATENTS = 3 * normal(0, 51)


@functools.cache
def bits_and_gradient(config):
    def bits(weights):
        return model.latent_bits(weights, LATENTS, SHAPES, config)

    return jit(jax.value_and_grad(bits))


def test_variants_that_can_say_the_same_do():
    shared = drawn(tiny())["entropy"]
    film = shared | {"scale0": jnp.ones((3, 4)), "shift0": jnp.zeros((3, 4))}
    copies = jax.tree.map(lambda x: jnp.stack([x] * 3), shared)
    expected, _ = bits_and_gradient(tiny())(shared)
    assert 51 < expected < 51 * distributions.MAX_BITS
    for per_grid, weights in {"film": film, "separate": copies}.items():
        bits, _ = bits_and_gradient(tiny(per_grid=per_grid))(weights)
        np.testing.assert_allclose(bits, expected, rtol=1e-5)


@pytest.mark.parametrize("per_grid", ["film", "separate"])
def test_every_grid_trains_its_own_parameters(per_grid):
    config = tiny(per_grid=per_grid)
    bits, gradient = bits_and_gradient(config)(drawn(config)["entropy"])
    assert jnp.isfinite(bits)
    for name, g in gradient.items():
        if per_grid == "separate" or name[:-1] in ("scale", "shift"):
            assert (jnp.abs(g).reshape(3, -1).max(axis=1) > 0).all(), name


def test_learned_upsampling_starts_as_repeated_bicubic_doubling():
    config, (height, width) = tiny(upsampling="learned"), (41, 43)
    weights = {"upsampling": jnp.asarray(model.bicubic_kernel(), jnp.float32)}
    up = jit(lambda planes: model.upsampled(weights, planes, (height, width), config))
    planes = [normal(i, *s) for i, s in enumerate(config.latents.shapes(height, width))]

    def doubled(plane, rows, columns):
        down, right = (resize_matrix(n, 2 * n, "bicubic") for n in plane.shape)
        return (down @ plane @ right.T)[:rows, :columns]

    twice = doubled(doubled(planes[2], 21, 22), height, width)
    expected = np.stack([planes[0], doubled(planes[1], height, width), twice])
    # What lies beyond the edges is repeated by one and left out by the other.
    inner = np.s_[:, 10:-10, 10:-10]
    np.testing.assert_allclose(up(planes)[inner], expected[inner], atol=1e-5)
    flat = jax.tree.map(lambda plane: jnp.full_like(plane, 0.5), planes)
    np.testing.assert_allclose(up(flat), 0.5, atol=1e-5)


@pytest.mark.parametrize("upsampling", ["bilinear", "learned"])
def test_leaving_out_the_finest_grid_keeps_the_image_size(upsampling):
    config = tiny(upsampling=upsampling)
    config = dataclasses.replace(config, latents=Latents(num_grids=3, first_octave=1))
    planes = [jnp.zeros(shape) for shape in config.latents.shapes(11, 6)]
    assert [plane.shape for plane in planes] == [(6, 3), (3, 2), (2, 1)]
    weights = drawn(config)["synthesis"]
    image = jax.eval_shape(lambda: model.synthesize(weights, planes, (3, 11, 6), config))
    assert image.shape == (3, 11, 6)


# -- The loss --------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_learns(preset, picture):
    # Two grids instead of seven compile in a third of the time.
    config = PRESETS[preset]
    latents = dataclasses.replace(config.latents, num_grids=2)
    config = dataclasses.replace(config, latents=latents)
    signal = as_signal(picture(24, 20))
    params = jit(lambda key: model.init(key, signal, None, config))(jax.random.key(0))
    step, adam = compiled_step(config)
    moments = adam.init(params)

    *_, first, aux, _ = step(params, moments, signal, STAGE_2, 0.0)
    np.testing.assert_allclose(first, aux.distortion + LMBDA * aux.bits / 480, rtol=1e-6)
    for _ in range(30):
        params, moments, loss, _, _ = step(params, moments, signal, STAGE_1, 0.01)
        assert jnp.isfinite(loss)
    *_, last, _, gradient = step(params, moments, signal, STAGE_2, 0.0)
    assert last < 0.6 * first
    chex.assert_tree_all_finite(gradient)


@pytest.mark.parametrize("shape, upsampling", [((1, 1, 3), "learned"), ((1, 9, 1), "bilinear")])
def test_one_pixel_and_one_grey_row_work_in_both_stages(shape, upsampling, picture):
    config, signal = tiny(2, upsampling=upsampling, previous=1), as_signal(picture(*shape))
    params = drawn(config, signal.shape)
    step, adam = compiled_step(config)
    for stage in (STAGE_1, STAGE_2):
        *_, loss, aux, gradient = step(params, adam.init(params), signal, stage, 0.0)
        assert jnp.isfinite(loss) and aux.bits > 0
        chex.assert_tree_all_finite(gradient)


def test_stage_2_rounds_and_takes_no_noise():
    config, shapes = tiny(), ((12, 14), (6, 7), (3, 4))
    latents = normal(1, 222)

    @jit
    def quantized(seed, stage):
        return model.quantized(latents, shapes, jax.random.key(seed), stage, config)

    np.testing.assert_array_equal(quantized(0, STAGE_2), quantized(1, STAGE_2))
    np.testing.assert_array_equal(quantized(0, STAGE_2), np.round(quantized(0, STAGE_2)))
    assert (quantized(0, STAGE_1) != quantized(1, STAGE_1)).all()
