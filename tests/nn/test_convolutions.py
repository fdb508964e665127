"""Gathered convolutions against XLA's, for both kinds of arrays, with gradients and strips."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from overfit.nn import layers, strided
from overfit.nn.convolutions import before, gather, gather_down, square, up_kernel

KINDS = ("taps", "down", "up")


def arrays(channels=3, out=4, rows=6, columns=8, taps=25):
    rng = np.random.default_rng(0)
    w = rng.normal(size=(out, taps * channels)).astype(np.float32)
    b = rng.normal(size=out).astype(np.float32)
    return w, b, rng.normal(size=(channels, rows, columns)).astype(np.float32)


def xla(kind, w, b, x):
    """The same by lax.conv; the kernel as [out, in, 5, 5]."""
    kernel = w.reshape(len(w), 25, -1).transpose(0, 2, 1).reshape(len(w), -1, 5, 5)
    stride, dilation, pad = (1, 1), (1, 1), [(2, 2)] * 2
    if kind == "down":
        stride = (2, 2)
    elif kind == "up":  # torch: ConvTranspose2d(5, stride=2, padding=2, output_padding=1)
        kernel, dilation, pad = kernel[:, :, ::-1, ::-1], (2, 2), [(2, 3)] * 2
    y = lax.conv_general_dilated(x[None], kernel, stride, pad, lhs_dilation=dilation)[0]
    return y + b[:, None, None]


def ours(kind, w, b, x):
    return strided.taps(w, b, x, square(5)) if kind == "taps" else getattr(strided, kind)(w, b, x)


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_xla(kind):
    w, b, x = map(jnp.asarray, arrays())
    value, pull = jax.vjp(lambda *a: ours(kind, *a), w, b, x)
    expected, pull_expected = jax.vjp(lambda *a: xla(kind, *a), w, b, x)
    np.testing.assert_allclose(value, expected, atol=1e-4)
    g = jnp.asarray(np.random.default_rng(1).normal(size=value.shape), jnp.float32)
    for a, c in zip(pull(g), pull_expected(g), strict=True):
        np.testing.assert_allclose(a, c, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_accelerators_have_short_factors_and_long_sums(kind, monkeypatch):
    w, b, x = map(jnp.asarray, arrays())
    value, pull = jax.vjp(lambda *a: ours(kind, *a), w, b, x)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    short, pull_short = jax.vjp(lambda *a: ours(kind, *a), w, b, x)
    for a, c in zip((short, *pull_short(value)), (value, *pull(value)), strict=True):
        assert a.dtype == jnp.float32
        error = float(jnp.linalg.norm(a - c) / jnp.linalg.norm(c))
        assert error < 5e-3


@pytest.mark.parametrize("kind", KINDS)
def test_numpy_does_the_same(kind):
    w, b, x = arrays()
    floats = layers.floats({"n": {"w0": w, "b0": b}})
    extra = (square(5),) if kind == "taps" else ()
    got = getattr(floats, kind)("n", 0, x, *extra)
    np.testing.assert_allclose(got, ours(kind, *map(jnp.asarray, (w, b, x))), atol=1e-4)


@pytest.mark.parametrize("kind", ("down", "up"))
def test_strips_change_nothing(kind, monkeypatch):
    w, b, x = arrays(rows=14)
    floats = layers.floats({"n": {"w0": w, "b0": b}})
    whole = getattr(floats, kind)("n", 0, x)
    monkeypatch.setattr(layers, "_GATHERED", 1500)
    np.testing.assert_allclose(getattr(floats, kind)("n", 0, x), whole, atol=1e-5)


def test_causal_taps_precede_their_position():
    assert len(before(5)) == 12 and (0, -1) in before(5) and (-1, 2) in before(5)
    x = np.arange(12.0).reshape(1, 3, 4)
    taps = gather(x, before(3))  # (4, 12)
    assert taps[:, 5].tolist() == [0, 1, 2, 4] and taps[:, 0].tolist() == [0, 0, 0, 0]


def test_integers_stay_integers():
    rng = np.random.default_rng(2)
    x = rng.integers(-9, 9, (2, 4, 4)).astype(np.float64)
    assert set(np.unique(gather_down(x, 5))) <= set(np.unique(x)) | {0.0}
    assert up_kernel(np.ones((1, 50))).sum() == 50
