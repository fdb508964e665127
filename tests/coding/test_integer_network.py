"""The entropy network in integers: exact, bounded, and close to the network that was fitted."""

from decimal import Decimal, getcontext
from math import floor

import numpy as np
import pytest

from overfit.coding import integer_network, laplace
from overfit.coding.integer_network import build, exact_gelu, gelu_table, predict, seen

SIZES = (24, 18, 18, 2)
Q_STEP = (100, 250)  # 0.4


def parameters(rng, sizes=SIZES, film=False, e=10, weight=0.6, bias=0.3):
    """Random arrays (k, e) per layer, of the size that fits have."""
    layers = []
    for i, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        w = rng.normal(0, weight * max(fan_in, 1) ** -0.5, (fan_out, fan_in))
        layer = {"w": w, "b": rng.normal(0, bias, fan_out)}
        if film and i < len(sizes) - 2:
            layer |= {"scale": rng.normal(1, 0.2, fan_out), "shift": rng.normal(0, 0.2, fan_out)}
        layers.append({k: (np.rint(v * 2**e).astype(np.int64), e) for k, v in layer.items()})
    return layers


def contexts(rng, n, taps=SIZES[0], spread=2.0):
    return np.rint(rng.laplace(0, spread, (taps, n)))


def floats(layers, activation, q_units, log_scale_shift, context):
    """(location, log2 of the scale), both in bins: the same network in floating point."""
    q_step = q_units[0] / q_units[1]
    x = q_step * context
    for i, layer in enumerate(layers):
        value = {name: k * 2.0**-e for name, (k, e) in layer.items()}
        x = value["w"] @ x + value["b"][:, None]
        if i < len(layers) - 1:
            if "scale" in value:
                x = value["scale"][:, None] * x + value["shift"][:, None]
            if activation == "gelu":
                x = 0.5 * x * (1 + np.tanh(0.7978845608028654 * (x + 0.044715 * x**3)))
            else:
                x = np.maximum(x, 0)
    log2_scale = -0.5 * (x[1] + log_scale_shift) / np.log(2)
    return x[0] / q_step, np.minimum(log2_scale, np.log2(150)) - np.log2(q_step)


def whole(layers, activation, q_units, log_scale_shift, context):
    """The specification in Python integers, for one position; context in units of 1/64."""

    def rounded(x, bits):
        return (x + (1 << bits - 1)) >> bits

    def clipped(x, most=integer_network.MAX_ACTIVATION):
        return max(-most, min(most, x))

    step = ((q_units[0] << 16) + q_units[1] // 2) // q_units[1]
    x = [clipped(int(v), 2047 * 64) for v in context]
    for i, layer in enumerate(layers):
        w, b = ([[int(v) for v in row] for row in np.atleast_2d(layer[p][0])] for p in "wb")
        to_16 = 16 - layer["w"][1], (32 if i == 0 else 26) - layer["b"][1]
        sums = [sum((k << to_16[0]) * v for k, v in zip(row, x, strict=True)) for row in w]
        biases = [k << to_16[1] for k in b[0]]
        if i == 0:
            y = [rounded(s * step + 64 * c, 28) for s, c in zip(sums, biases, strict=True)]
        else:
            y = [rounded(s + c, 16) for s, c in zip(sums, biases, strict=True)]
        x = [clipped(v) for v in y]
        if i < len(layers) - 1:
            if "scale" in layer:
                scale, shift = ((v.tolist(), e) for v, e in (layer["scale"], layer["shift"]))
                x = [
                    clipped(rounded(v * (s << 16 - scale[1]) + (t << 26 - shift[1]), 16))
                    for v, s, t in zip(x, scale[0], shift[0], strict=True)
                ]
            if activation == "gelu":
                table = gelu_table()
                x = [int(table[clipped(v, 8192) + 8192]) if v < 8192 else v for v in x]
            else:
                x = [max(v, 0) for v in x]
    location = rounded(x[0] * ((q_units[1] << 16) // q_units[0]), 21)
    offset = 8 * (6 - np.log2(q_units[0] / q_units[1])) * 2.0**24
    slope = round(8 / (2 * np.log(2)) * 2**14)
    index = rounded(floor(offset + 0.5) - (slope * log_scale_shift << 10) - slope * x[1], 24)
    most = int(8 * (np.log2(150) - np.log2(q_units[0] / q_units[1]) + 6))
    return location, max(0, min(most, index))


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("film", [False, True])
@pytest.mark.parametrize("q_units, shift", [(Q_STEP, 8), ((250, 250), 0), ((33, 250), 4)])
def test_integers_are_close_to_floats(activation, film, q_units, shift):
    """What the fit has learned is what the file is coded with, or the file grows."""
    rng = np.random.default_rng(0)
    layers, context = parameters(rng, film=film), contexts(rng, 2000)
    network = build(layers, activation, q_units, shift)
    location, index = predict(network, context)
    expected, log2_scale = floats(layers, activation, q_units, shift, context)
    # 10 fractional bits of the output, in bins, and half of 1/32.
    tolerance = 1 / 64 + 0.003 * q_units[1] / q_units[0]
    np.testing.assert_allclose(location / 32, expected, rtol=0, atol=tolerance)
    steps = np.clip(8 * (log2_scale + 6), 0, network.max_scale_index)
    np.testing.assert_allclose(index, steps, rtol=0, atol=1)


def test_the_ends_of_the_scales_are_those_of_the_fit():
    layers = parameters(np.random.default_rng(1))
    layers[-1]["w"][0][:] = 0
    context = contexts(np.random.default_rng(2), 3)
    for bias, largest in [(-15, True), (15, False)]:
        layers[-1]["b"] = (np.array([0, bias]), 0)
        network = build(layers, "gelu", Q_STEP, 0)
        index = predict(network, context)[1]
        assert (index == (network.max_scale_index if largest else 0)).all()
        assert network.max_scale_index <= laplace.MAX_SCALE_INDEX
    # C3's upper limit, 150 before division by the step, to an eighth of an octave.
    assert abs(2 ** (network.max_scale_index / 8 - 6) * 0.4 / 150 - 1) < 0.1


EXTREMES = {
    "usual": dict(),
    "fine parameters": dict(e=16),
    "coarse parameters": dict(e=1, weight=4.0),
    "large parameters": dict(e=10, weight=20.0, bias=5.0),
    "far latents": dict(spread=1e6),
}


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("film", [False, True])
@pytest.mark.parametrize("case", EXTREMES)
def test_python_integers_give_the_same(case, activation, film):
    """The specification, with no intermediate result in floating point."""
    options = dict(EXTREMES[case])
    rng = np.random.default_rng(3)
    context = contexts(rng, 8, spread=options.pop("spread", 2.0))
    context[20:] += rng.integers(0, 64, (4, 8)) / 64  # values of a resized plane
    layers = parameters(rng, film=film, **options)
    for q_units, shift in [(Q_STEP, 8), ((249, 250), 15), ((1, 250), 0)]:
        location, index = predict(build(layers, activation, q_units, shift), seen(context))
        for i in range(context.shape[1]):
            exact = whole(layers, activation, q_units, shift, (64 * context[:, i]).astype(int))
            assert (location[i], index[i]) == exact


@pytest.mark.parametrize("q_step", [1, 100, 249, 250])
def test_the_largest_parameters_and_latents_stay_exact(q_step):
    """Everything at its bound, widest network: sums must not leave what float64 holds exactly."""
    sizes = (112 + 169, 64, 64, 2)
    rng = np.random.default_rng(4)
    limit = integer_network.MAX_PARAMETER
    layers = []
    for i, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        shapes = {"w": (fan_out, fan_in), "b": (fan_out,), "scale": (fan_out,), "shift": (fan_out,)}
        signs = {name: rng.choice([-1, 1], shape) for name, shape in shapes.items()}
        signs["w"][: fan_out // 2] = 1
        layers.append({name: (sign * (limit - i), 16) for name, sign in signs.items()})
    context = seen(rng.choice([-1.0, 1.0], (sizes[0], 6)) * 1e9)
    context[:, :2] = 2047
    context[:, 2] = rng.integers(-3, 4, sizes[0])
    context[150:, 3] = rng.integers(-10, 10, sizes[0] - 150) / 64
    context[:, 4] = np.arange(sizes[0]) % 2 * 2 - 1
    network = build(layers, "gelu", (q_step, 250), 8)
    location, index = predict(network, context)
    for i in range(context.shape[1]):
        bounded = (64 * np.clip(context[:, i], -2047, 2047)).astype(int)
        assert (location[i], index[i]) == whole(layers, "gelu", (q_step, 250), 8, bounded)
    assert np.abs(location).max() < 2**30 and 0 <= index.min()
    assert index.max() <= laplace.MAX_SCALE_INDEX


def test_order_and_grouping_change_nothing():
    """Encoder and decoder see positions in other groups, BLAS adds in another order."""
    rng = np.random.default_rng(5)
    layers, context = parameters(rng), contexts(rng, 301)
    network = build(layers, "gelu", Q_STEP, 8)
    location, index = predict(network, context)
    order = rng.permutation(301)
    np.testing.assert_array_equal(predict(network, context[:, order])[0], location[order])
    np.testing.assert_array_equal(predict(network, context[:, order])[1], index[order])
    for parts in (301, 7, 2):
        pieces = [predict(network, c) for c in np.array_split(context, parts, axis=1)]
        np.testing.assert_array_equal(np.concatenate([p[0] for p in pieces]), location)
        np.testing.assert_array_equal(np.concatenate([p[1] for p in pieces]), index)
    taps = rng.permutation(SIZES[0])
    k, e = layers[0]["w"]
    shuffled = build([layers[0] | {"w": (k[:, taps], e)}, *layers[1:]], "gelu", Q_STEP, 8)
    np.testing.assert_array_equal(predict(shuffled, context[taps])[0], location)
    np.testing.assert_array_equal(predict(shuffled, context[taps])[1], index)


def test_a_network_without_hidden_layers_or_context():
    rng = np.random.default_rng(6)
    linear = parameters(rng, (12, 2))
    location, _ = predict(build(linear, "gelu", Q_STEP, 8), contexts(rng, 50, 12))
    assert location.shape == (50,)
    blind = build(parameters(rng, (0, 4, 2)), "gelu", Q_STEP, 8)
    location, index = predict(blind, np.zeros((0, 5)))
    assert location.shape == (5,) and len(set(location)) == len(set(index)) == 1


# Numbers that every machine must round alike


def test_the_gelu_table_is_gelu():
    x = np.arange(-8192, 8192) / 1024
    exact = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    assert np.abs(gelu_table() / 1024 - exact).max() <= 0.5 / 1024 + 1e-9


def test_no_entry_of_the_gelu_table_is_so_near_a_half_that_another_tanh_would_round_it_otherwise():
    exact = exact_gelu()
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-5


def test_gelu_goes_on_beyond_its_table():
    x = np.array([-(2.0**24), -9000, -8192, 8191, 8192, 8193, 2.0**24])
    expected = [0, 0, 0, 8191, 8192, 8193, 2**24]
    np.testing.assert_array_equal(integer_network.ACTIVATIONS["gelu"](x), expected)


def test_constants_of_every_step_are_far_from_being_rounded_otherwise():
    """They come from logarithms, which machines compute to the last bit or nearly."""
    getcontext().prec = 40
    log2 = Decimal(2).ln()
    layers = parameters(np.random.default_rng(7))
    slope = Decimal(8) / (2 * log2) * (1 << 14)
    assert abs(slope - integer_network.SCALE_SLOPE) < Decimal("0.49")
    for units in range(1, 251):
        step = (Decimal(units) / 250).ln() / log2
        network = build(layers, "gelu", (units, 250), 0)
        offset = 8 * (6 - step) * (1 << 24)
        assert abs(offset - Decimal((network.scale_offset - 0.5) * 2**24)) < Decimal("0.499")
        most = 8 * (Decimal(150).ln() / log2 - step + 6)
        assert Decimal("0.001") < most - network.max_scale_index < Decimal("0.999")
