import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from overfit.nn import primitives
from overfit.nn.raster import raster, to_raster

# Compiling fast matters more here than running fast.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

CAUSAL = ((-1, -1), (-1, 0), (-1, 1), (0, -1))
FULL = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
PLANES = ((13, 9), (7, 5), (4, 3), (1, 1))


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def with_gradients(fn, *args):
    """(fn(*args), the gradients of a fixed random combination of its outputs)."""
    value, pull = jax.vjp(fn, *args)
    return value, pull(normal(99, *value.shape))


def agree(ours, plain, *args, tolerance=2e-5):
    """Values and all gradients of two formulations are the same, relative to the largest."""
    results = [jit(functools.partial(with_gradients, fn))(*args) for fn in (ours, plain)]
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        assert a.shape == b.shape
        scale = max(1.0, np.abs(b).max(initial=0))
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


def on_two_devices(fn, *args):
    """Values and gradients of fn with its strips shared between two devices."""
    mesh = Mesh(np.asarray(jax.local_devices()[:2]), ("strip",))

    def shared(*args):
        with primitives.shared_strips("strip", 2):
            return with_gradients(fn, *args)

    everywhere = PartitionSpec()
    program = jax.shard_map(
        shared, mesh=mesh, in_specs=everywhere, out_specs=everywhere, check_vma=False
    )
    return jit(program)(*args)


@pytest.fixture
def short_strips(monkeypatch):
    """Strips so short that tiny arrays have many, as large images have on CPU."""
    monkeypatch.setattr(primitives, "strip_length", lambda positions: min(positions, 16))


@pytest.fixture(params=["cpu", "gpu"])
def backend(request, monkeypatch):
    """As if on an accelerator, too, where tiny arrays are summed in chunks, as large images are."""
    monkeypatch.setattr(primitives, "_CHUNK", 16)
    monkeypatch.setattr(jax, "default_backend", lambda: request.param)


# -- Layers ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("backend")
def test_linear_is_a_matrix_product_with_the_usual_gradients():
    def plain(w, b, x):
        return jnp.einsum("oi,in->on", w, x) + b[:, None]

    agree(primitives.linear, plain, normal(0, 5, 3), normal(1, 5), normal(2, 3, 7))
    agree(primitives.linear, plain, normal(0, 2, 0), normal(1, 2), normal(2, 0, 7))
    agree(primitives.linear, plain, normal(0, 5, 3), normal(1, 5), normal(2, 3, 39))


def test_gelu_is_that_of_jax():
    x = jnp.concatenate([jnp.linspace(-6, 6, 101), jnp.asarray([-30.0, 30.0])])
    agree(primitives.gelu, functools.partial(jax.nn.gelu, approximate=True), x, tolerance=3e-6)


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_mlp_has_activations_between_its_layers_only(activation):
    sizes = (4, 6, 5, 2)
    weights = {f"w{i}": normal(i, sizes[i + 1], sizes[i]) for i in range(3)}
    weights |= {f"b{i}": normal(i + 9, sizes[i + 1]) for i in range(3)}
    act = getattr(jax.nn, activation)

    def plain(weights, x):
        x = act(weights["w0"] @ x + weights["b0"][:, None])
        x = act(weights["w1"] @ x + weights["b1"][:, None])
        return weights["w2"] @ x + weights["b2"][:, None]

    agree(lambda w, x: primitives.mlp(w, x, activation, 3), plain, weights, normal(20, 4, 11))


# -- Loops over strips -----------------------------------------------------------------------------


def two_layers(weights, x):
    return weights["v"] @ jnp.tanh(weights["w"] @ x + weights["b"][:, None])


TWO_LAYERS = {"w": normal(0, 5, 3), "b": normal(1, 5), "v": normal(2, 2, 5)}
pixelwise = functools.partial(primitives.pixelwise, two_layers)


@pytest.mark.parametrize("n", [1, 1024, 2500])
def test_pixelwise_is_its_function_at_any_number_of_positions(n):
    agree(pixelwise, two_layers, TWO_LAYERS, normal(3, 3, n))


def conv_by_lax(w, b, x):
    size = round((w.shape[1] / x.shape[0]) ** 0.5)
    r = size // 2
    x = jnp.pad(x, ((0, 0), (r, r), (r, r)), mode="edge")
    kernel = w.reshape(w.shape[0], x.shape[0], size, size)
    y = lax.conv_general_dilated(x[None], kernel, (1, 1), "VALID", precision="highest")[0]
    return y + b[:, None, None]


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(
    "size, channels, shape",
    [
        (3, (3, 3), (1, 1)),
        (3, (3, 2), (37, 41)),  # two strips, the second one not full
        (5, (1, 4), (1, 9)),
    ],
)
def test_conv_is_that_of_lax(size, channels, shape):
    w, b = normal(0, channels[1], channels[0] * size**2), normal(1, channels[1])
    agree(primitives.conv, conv_by_lax, w, b, normal(2, channels[0], *shape))


def volume_by_lax(w, b, x):
    size = round((w.shape[1] / x.shape[0]) ** (1 / 3))
    r = size // 2
    x = jnp.pad(x, ((0, 0), (r, r), (r, r), (r, r)), mode="edge")
    kernel = w.reshape(w.shape[0], x.shape[0], size, size, size)
    y = lax.conv_general_dilated(x[None], kernel, (1, 1, 1), "VALID", precision="highest")[0]
    return y + b[:, None, None, None]


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 5, 3), (4, 37, 9)])
def test_convolutions_of_frames_and_volumes_are_those_of_lax(shape):
    x = normal(2, 3, *shape)
    frames = jax.vmap(conv_by_lax, (None, None, 1), 1)
    agree(primitives.conv_frames, frames, normal(0, 2, 3 * 9), normal(1, 2), x)
    agree(primitives.conv_volume, volume_by_lax, normal(0, 2, 3 * 27), normal(1, 2), x)


def transposed_conv_by_lax(kernel, x):
    # Enough of the edges is repeated that the ends of the full response need not be looked at.
    x = jnp.pad(x, ((0, 0), (2, 2), (2, 2)), mode="edge")[:, None]
    flipped = kernel[::-1, ::-1][None, None]
    full = lax.conv_general_dilated(
        x, flipped, (1, 1), ((7, 7), (7, 7)), lhs_dilation=(2, 2), precision="highest"
    )
    return full[:, 0, 7:-7, 7:-7]


def test_upsample_twice_is_the_transposed_convolution(short_strips):
    agree(primitives.upsample_twice, transposed_conv_by_lax, normal(0, 8, 8), normal(1, 2, 5, 3))


def a_cost(weights, taps, center, plane):
    """Depends on everything that it is given, and is not zero where all of it is."""
    mixed = jnp.tanh(weights["w"][plane] @ taps + weights["b"])
    return jnp.square(center - mixed) + 1.0


def cost_weights(taps):
    return {"w": normal(3, len(PLANES), taps) / 4, "b": normal(4)}


def neighbors(plane, offsets):
    """[offsets, rows * columns], zero beyond the edges."""
    (rows, columns), r = plane.shape, 1
    padded = jnp.pad(plane, r)
    shifted = [padded[r + dy : r + dy + rows, r + dx : r + dx + columns] for dy, dx in offsets]
    return jnp.stack(shifted).reshape(len(offsets), -1)


def plain_sum(offsets, weights, sources):
    total = jnp.zeros(())
    for i in range(len(PLANES)):
        taps = [neighbors(source[i], o) for source, o in zip(sources, offsets, strict=True)]
        center = sources[0][i].reshape(-1)
        total += a_cost(weights, jnp.concatenate(taps), center, i).sum()
    return total


def strip_sum(offsets, strip, weights, sources):
    layout = raster(PLANES, 1, strip)
    flat = tuple(to_raster(planes, layout) for planes in sources)
    return primitives.neighborhood_sum(a_cost, layout, offsets, weights, flat)


def some_planes(seed):
    return [normal(seed + i, *shape) for i, shape in enumerate(PLANES)]


@pytest.mark.parametrize("offsets", [(CAUSAL,), (CAUSAL, FULL)], ids=["own", "own and other"])
@pytest.mark.parametrize(
    "backend, strip", [("cpu", 1024), ("cpu", 16), ("gpu", None)], ids=["long", "short", "gpu"]
)
def test_neighborhood_sum_sees_each_position_with_its_neighbors(
    offsets, backend, strip, monkeypatch
):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    sources = tuple(some_planes(10 * s) for s in range(len(offsets)))
    weights = cost_weights(sum(map(len, offsets)))
    agree(
        functools.partial(strip_sum, offsets, strip),
        functools.partial(plain_sum, offsets),
        *(weights, sources),
    )


# -- Many instances, many devices ------------------------------------------------------------------

CASES = {
    "pixelwise": (pixelwise, (TWO_LAYERS, normal(3, 3, 75))),
    "conv of few rows": (primitives.conv, (normal(0, 2, 9), normal(1, 2), normal(2, 1, 7, 9))),
    # An odd number of strips, the last one not full.
    "conv": (primitives.conv, (normal(0, 3, 18), normal(1, 3), normal(2, 2, 67, 5))),
    "conv_volume": (
        primitives.conv_volume,
        (normal(0, 2, 27), normal(1, 2), normal(2, 1, 3, 21, 5)),
    ),
    "neighborhood_sum": (
        functools.partial(strip_sum, (CAUSAL,), 16),
        (cost_weights(len(CAUSAL)), (some_planes(0),)),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_instances_and_devices_change_no_result(case, short_strips):
    fn, args = CASES[case]
    batch = jax.tree.map(lambda x: jnp.stack([x, 0.5 - x, 2 * x]), args)
    alone = jit(lambda args: with_gradients(fn, *args))
    singles = [alone(jax.tree.map(lambda x, i=i: x[i], batch)) for i in range(3)]

    together = jit(jax.vmap(functools.partial(with_gradients, fn)))(*batch)
    expected = jax.tree.map(lambda *x: jnp.stack(x), *singles)
    chex.assert_trees_all_close(together, expected, rtol=1e-4, atol=1e-4)

    if jax.local_device_count() > 1:
        shared = on_two_devices(fn, *args)
        chex.assert_trees_all_close(shared, singles[0], rtol=1e-4, atol=1e-4)


def test_sharing_ends_with_its_block_even_after_an_error():
    with pytest.raises(RuntimeError), primitives.shared_strips("strip", 2):
        raise RuntimeError
    x = normal(0, 3, 2000)
    np.testing.assert_allclose(pixelwise(TWO_LAYERS, x), two_layers(TWO_LAYERS, x), atol=1e-5)
