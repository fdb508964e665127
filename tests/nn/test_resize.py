import jax
import jax.numpy as jnp
import numpy as np
import pytest

from overfit.nn.resize import KERNELS, doubled, halved, resize_matrix, resized

SIZES = [(1, 1), (1, 7), (5, 5), (4, 8), (5, 13), (7, 8), (13, 5), (8, 3), (9, 1)]


@pytest.mark.parametrize("size_in, size_out", SIZES)
@pytest.mark.parametrize("method", ["bilinear", "lanczos3"])
def test_resizing_is_that_of_jax_up_and_down(method, size_in, size_out):
    signal = np.random.default_rng(0).normal(size=size_in).astype(np.float32)
    expected = jax.image.resize(jnp.asarray(signal), (size_out,), method, precision="highest")
    ours = resize_matrix(size_in, size_out, method) @ signal
    np.testing.assert_allclose(ours, expected, atol=2e-5)


@pytest.mark.parametrize("size_in, size_out", [s for s in SIZES if s[0] <= s[1]])
def test_nearest_copies_the_nearest_sample(size_in, size_out):
    matrix = resize_matrix(size_in, size_out, "nearest")
    nearest = np.floor((np.arange(size_out) + 0.5) * size_in / size_out).astype(int)
    np.testing.assert_array_equal(matrix, np.eye(size_in)[nearest])


@pytest.mark.parametrize("method", KERNELS)
def test_a_constant_stays_constant_up_to_the_edges(method):
    for size_in, size_out in SIZES:
        matrix = resize_matrix(size_in, size_out, method)
        assert matrix.shape == (size_out, size_in)
        np.testing.assert_allclose(matrix.sum(axis=1), 1.0, rtol=1e-12)


def test_bicubic_doubling_has_the_weights_of_pytorch():
    # torch.nn.functional.interpolate(scale_factor=2, mode="bicubic"), away from the edges.
    row = resize_matrix(8, 16, "bicubic")[8]
    expected = [-0.03515625, 0.26171875, 0.87890625, -0.10546875]
    np.testing.assert_allclose(row[2:6], expected, atol=1e-12)
    np.testing.assert_allclose(np.delete(row, [2, 3, 4, 5]), 0.0)


def test_the_same_size_is_the_identity():
    for method in KERNELS:
        np.testing.assert_allclose(resize_matrix(6, 6, method), np.eye(6), atol=1e-12)


@pytest.mark.parametrize(
    "sizes", [((2, 3, 4), (5, 6, 7)), ((3, 5, 4), (3, 10, 8)), ((1, 1, 2), (4, 3, 2))]
)
def test_frames_are_interpolated_along_time_too(sizes):
    size_in, size_out = sizes
    x = np.random.default_rng(0).normal(size=size_in).astype(np.float32)
    expected = jax.image.resize(x, size_out, "trilinear")
    for ours in (resized(x, size_out), resized(jnp.asarray(x), size_out)):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "lanczos3"])
def test_pictures_are_halved_and_doubled_by_the_same_weights(method):
    planes = np.random.default_rng(0).integers(0, 256, (2, 40, 28), dtype=np.uint8)
    rows, columns = resize_matrix(40, 20, method), resize_matrix(28, 14, method)
    small = halved(planes, method)
    assert small.dtype == np.float32
    inside = np.s_[:, 6:-6, 6:-6]
    np.testing.assert_allclose(
        small[..., 3:-3, 3:-3], (rows @ planes @ columns.T)[..., 3:-3, 3:-3], atol=1e-3
    )
    rows, columns = resize_matrix(20, 40, method), resize_matrix(14, 28, method)
    np.testing.assert_allclose(
        doubled(small, method)[inside], (rows @ small @ columns.T)[inside], atol=1e-3
    )
    flat = np.full((1, 2, 2), 77, np.uint8)
    np.testing.assert_allclose(halved(doubled(flat, method), method), flat, rtol=1e-5)
