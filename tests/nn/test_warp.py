"""Scale-space warping: identity, translation, blur, gradients; NumPy and JAX alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from overfit.nn.warp import SIGMA, scale_space, warp

RNG = np.random.default_rng(0)


def smooth(height=64, width=96):
    y, x = np.mgrid[:height, :width]
    planes = [np.sin(0.11 * x + 0.2 * i) * np.cos(0.07 * y - 0.1 * i) for i in range(3)]
    return (0.5 + 0.4 * np.stack(planes)).astype(np.float32)


def flow_of(shape, right=0.0, down=0.0, depth=-1.0):
    flow = np.zeros((3, *shape[1:]), np.float32)
    flow[0], flow[1], flow[2] = right, down, depth
    return flow


@pytest.mark.parametrize("levels", [0, 1, 5])
def test_no_flow_at_the_sharp_end_gives_the_frame_back(levels):
    x = RNG.random((3, 64, 96), np.float32)
    assert np.array_equal(warp(scale_space(x, levels), flow_of(x.shape)), x)


@pytest.mark.parametrize("levels", [0, 5])
@pytest.mark.parametrize(("right", "down"), [(3.0, -2.0), (-0.5, 0.25)])
def test_a_known_translation_is_undone(levels, right, down):
    y, x = np.mgrid[:64, :96].astype(np.float32)
    ramp = np.stack([x, y, x + 2 * y])  # linear interpolation is exact on it
    moved = warp(scale_space(ramp, levels), flow_of(ramp.shape, right, down))
    inside = np.s_[:, 4:-4, 4:-4]
    expected = ramp + np.array([right, down, right + 2 * down], np.float32)[:, None, None]
    np.testing.assert_allclose(moved[inside], expected[inside], atol=1e-4)


def test_places_beyond_the_edge_are_those_of_the_edge():
    x = RNG.random((3, 16, 16), np.float32)
    moved = warp(scale_space(x, 0), flow_of(x.shape, right=100.0))
    assert np.array_equal(moved, np.broadcast_to(x[:, :, -1:], x.shape))


def convolved(row, kernel):
    reach = len(kernel) // 2
    return np.convolve(np.pad(row, reach, "reflect"), kernel, "valid")


def test_the_pyramid_is_direct_gaussian_blurring():
    """Of variances 1, 1 + 4, 1 + 4 + 16, ..; to some per cent of the range, from level to level."""
    x = smooth(128, 192)
    volume = scale_space(x, 5)
    variance = 0.0
    for level in range(5):
        variance += (SIGMA * 2**level) ** 2
        d = np.arange(-100, 101)
        kernel = np.exp(-0.5 * d**2 / variance)
        kernel /= kernel.sum()
        direct = x.astype(np.float64)
        for axis in (1, 2):
            direct = np.apply_along_axis(convolved, axis, direct, kernel)
        inside = np.s_[:, 32:-32, 48:-48]
        error = np.abs(volume[level + 1] - direct)[inside].max()
        assert error < 0.01 * np.ptp(x) * (1 + level), (level, error)


@pytest.mark.parametrize("levels", [0, 2, 5])
def test_arrays_of_both_kinds_agree(levels):
    x = RNG.random((3, 32, 64), np.float32)
    flow = RNG.normal(0, 2, (3, 32, 64)).astype(np.float32)
    flow[2] = np.clip(flow[2] / 2, -1, 1)
    expected = warp(scale_space(x, levels), flow)
    got = jax.jit(lambda x, f: warp(scale_space(x, levels), f))(x, flow)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_strips_change_nothing(monkeypatch):
    x = RNG.random((3, 32, 64), np.float32)
    flow = RNG.normal(0, 2, (3, 32, 64)).astype(np.float32)
    whole = warp(scale_space(x, 2), flow)
    monkeypatch.setattr("overfit.nn.warp._AT_ONCE", 5 * 64)
    assert np.array_equal(warp(scale_space(x, 2), flow), whole)


def test_gradients_are_finite_differences():
    jax.config.update("jax_enable_x64", True)
    try:
        x = jnp.asarray(smooth(8, 8), jnp.float64)
        # Away from whole pixels and slices, where a linear interpolation has a kink.
        base = np.stack([np.full((8, 8), 0.4), np.full((8, 8), -0.3), np.full((8, 8), -0.5)])
        flow = jnp.asarray(base + RNG.uniform(-0.05, 0.05, base.shape))

        def loss(x, flow):
            return jnp.sum(jnp.sin(3 * warp(scale_space(x, 2), flow)))

        for argument in (0, 1):
            gradient = np.asarray(jax.grad(loss, argnums=argument)(x, flow))
            for place in [(0, 3, 3), (2, 5, 4), (1, 2, 6)]:
                step = np.zeros(gradient.shape)
                step[place] = 1e-6
                pair = [x, flow]
                values = []
                for sign in (1, -1):
                    moved = list(pair)
                    moved[argument] = pair[argument] + sign * step
                    values.append(float(loss(*moved)))
                assert gradient[place] == pytest.approx((values[0] - values[1]) / 2e-6, abs=1e-4)
    finally:
        jax.config.update("jax_enable_x64", False)
