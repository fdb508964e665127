"""C3 files: every configuration comes back, and the decoder's model is the one that was fitted."""

import dataclasses
import math
import time
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from overfit import settings
from overfit.coding import container, laplace
from overfit.coding.container import write_varint
from overfit.coding.parameters import Quantized, quantize
from overfit.errors import UserError
from overfit.methods.c3 import codec, latent_coding, model
from overfit.methods.c3.architecture import entropy_sizes, parameter_shapes
from overfit.methods.c3.codec import Code
from overfit.methods.c3.complexity import macs
from overfit.methods.c3.config import PRESETS, C3Config, Entropy, Latents, Synthesis
from overfit.nn.resize import resize_matrix

KODAK = PRESETS["c3-kodak"]
SWITCHES = {
    "previous grid": {"entropy.previous": 1},
    "wide previous grid": {"entropy.previous": 6, "entropy.context": 1},
    "coarse to fine": {"latents.order": "coarse_to_fine"},
    "coarse to fine, previous grid": {"latents.order": "coarse_to_fine", "entropy.previous": 2},
    "FiLM": {"entropy.per_grid": "film"},
    "FiLM, previous grid": {"entropy.per_grid": "film", "entropy.previous": 1},
    "separate networks": {"entropy.per_grid": "separate"},
    "separate, coarse to fine": {
        "entropy.per_grid": "separate", "latents.order": "coarse_to_fine", "entropy.previous": 0,
    },
    "no context": {"entropy.context": 0},
    "no context but the previous grid": {"entropy.context": 0, "entropy.previous": 1},
    "small context": {"entropy.context": 2},
    "largest context": {"entropy.context": 7},
    "ReLU": {"entropy.activation": "relu", "synthesis.activation": "relu"},
    "unshifted scale": {"entropy.log_scale_shift": 0},
    "coarse bins": {"latents.q_step": 1.0},
    "fine bins": {"latents.q_step": 0.02},
    "no full-resolution grid": {"latents.first_octave": 1},
    "coarse grids only": {"latents.first_octave": 3, "latents.num_grids": 2},
    "one grid": {"latents.num_grids": 1},
    "most grids": {"latents.num_grids": 15},
    "learned upsampling": {"synthesis.upsampling": "learned", "latents.num_grids": 3},
    "learned upsampling, coarse grids": {
        "synthesis.upsampling": "learned", "latents.first_octave": 2, "latents.num_grids": 2,
    },
    "nearest": {"synthesis.upsampling": "nearest"},
    "bicubic": {"synthesis.upsampling": "bicubic"},
    "Lanczos": {"synthesis.upsampling": "lanczos3"},
    "pointwise synthesis": {"synthesis.residual_layers": 0},
    "deep networks": {"entropy.widths": (5, 6, 7, 8), "synthesis.widths": (9, 8, 7, 6, 5, 4, 3)},
    "linear networks": {"entropy.widths": (), "synthesis.widths": ()},
}  # fmt: skip
CONFIGS = dict(PRESETS) | {name: settings.override(KODAK, s) for name, s in SWITCHES.items()}
SHAPES = [(3, 37, 21), (1, 37, 21), (3, 1, 1), (1, 1, 1), (3, 1, 300), (3, 300, 1), (3, 70, 90)]


def random_parameters(rng, config: C3Config, channels: int):
    """Integers of the size that fits have: scales of about 1.5 bins, images around mid-grey."""
    parameters = {}
    for network, arrays in parameter_shapes(config, channels).items():
        parameters[network] = {}
        for name, shape in arrays.items():
            if name == "upsampling":
                values = model.bicubic_kernel() + rng.normal(0, 0.01, shape)
            else:
                values = rng.normal(0, 0.5 * max(shape[-1], 1) ** -0.5, shape)
            if name.startswith("scale"):
                values += 1
            parameters[network][name] = quantize(values, 9)
    entropy = config.entropy
    scale = -2 * math.log(1.5 * config.latents.q_step) - entropy.log_scale_shift
    last = parameters["entropy"][f"b{len(entropy.widths)}"].k
    last[..., 1] += round(512 * scale)
    parameters["synthesis"][f"b{len(config.synthesis.widths)}"].k[:] += 256
    return parameters


def random_code(config: C3Config, shape, seed=0, spread=1.5) -> Code:
    """A file's contents, without any fit."""
    rng = np.random.default_rng(seed)
    latents = [
        np.rint(rng.laplace(0, spread / 2**i, plane) * 2**i).astype(np.int32)
        for i, plane in enumerate(config.latents.shapes(*shape[1:]))
    ]
    return Code(config, shape, random_parameters(rng, config, shape[0]), latents)


class Sampler:
    """Stands in for a decoder: draws values from the models that it is given."""

    def __init__(self, seed):
        self._rng = np.random.default_rng(seed)

    def code(self, values, location, scale):
        del values
        spread = 2.0 ** (scale / laplace.SCALE_UNITS + laplace.MIN_LOG2_SCALE)
        return np.rint(location / 32 + spread * self._rng.laplace(size=scale.shape)).astype(int)


def sampled_code(config: C3Config, shape, seed=0) -> Code:
    """Latents that follow the entropy network's own predictions."""
    parameters = random_parameters(np.random.default_rng(seed), config, shape[0])
    shapes = config.latents.shapes(*shape[1:])
    latents = latent_coding.code_latents(Sampler(seed), None, shapes, parameters["entropy"], config)
    return Code(config, shape, parameters, latents)


def fit_config(config: C3Config) -> C3Config:
    """The part of a configuration that a file carries."""
    return dataclasses.replace(config, quantizer=KODAK.quantizer, fit=KODAK.fit)


def assert_comes_back(code: Code):
    again = codec.read(list(codec.write(code).values()))
    assert fit_config(again.config) == fit_config(code.config)
    assert again.shape == code.shape
    for network, arrays in code.parameters.items():
        assert list(again.parameters[network]) == list(arrays)
        for name, array in arrays.items():
            assert again.parameters[network][name].e == array.e
            np.testing.assert_array_equal(again.parameters[network][name].k, array.k)
    assert len(again.latents) == len(code.latents)
    for plane, expected in zip(again.latents, code.latents, strict=True):
        assert plane.dtype == np.int32
        np.testing.assert_array_equal(plane, expected)
    np.testing.assert_array_equal(codec.reconstruct(again), codec.reconstruct(code))


# What goes in comes out


@pytest.mark.parametrize("name", CONFIGS)
def test_files_of_every_configuration_come_back(name):
    assert_comes_back(random_code(CONFIGS[name], (3, 37, 21)))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    "name", ["c3-kodak", "c3-clic", "coolchic-v2", "separate, coarse to fine", "coarse grids only"]
)
def test_files_of_every_shape_come_back(name, shape):
    assert_comes_back(random_code(CONFIGS[name], shape))


@pytest.mark.parametrize("name", ["c3-kodak", "c3-clic"])
def test_latents_far_from_what_the_network_expects_come_back(name):
    code = random_code(CONFIGS[name], (3, 24, 40))
    rng = np.random.default_rng(1)
    for plane in code.latents:
        plane.flat[:: max(plane.size // 5, 1)] = rng.choice([-1, 1]) * rng.integers(1000, 2**20)
    assert_comes_back(code)


@pytest.mark.parametrize("shape, result", [((3, 5, 7), (5, 7, 3)), ((1, 5, 7), (5, 7))])
def test_images_have_the_shape_that_was_encoded(shape, result):
    image = codec.reconstruct(random_code(KODAK, shape))
    assert image.shape == result and image.dtype == np.uint8


def test_latents_beyond_the_format_are_refused_when_written():
    """Not only when somebody tries to read the file."""
    code = random_code(KODAK, (3, 8, 8))
    code.latents[0][3, 3] = latent_coding.MAX_LATENT + 1
    with pytest.raises(UserError):
        codec.write(code)


def test_parameters_beyond_exact_arithmetic_are_refused():
    code = random_code(KODAK, (3, 8, 8))
    code.parameters["entropy"]["w1"].k[2, 3] = 16 * 2**9 + 1
    with pytest.raises(UserError, match="too large"):
        codec.write(code)
    code.parameters["entropy"]["w1"].k[2, 3] = -16 * 2**9
    assert_comes_back(code)


# Size


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("height, width", [(512, 768), (1365, 2048), (1, 1), (16383, 16383)])
def test_a_file_has_at_most_24_bytes_besides_its_payloads(preset, height, width):
    header = codec._write_header(Code(PRESETS[preset], (3, height, width), {}, []))
    sections = [header, bytes(2000), b""]  # the last length is implied
    assert len(container.pack("c3", sections)) - 2000 <= 24


@pytest.mark.parametrize(
    "name",
    ["c3-kodak", "c3-clic", "coolchic-v2", "FiLM, previous grid", "separate, coarse to fine"],
)
def test_the_file_is_as_large_as_the_fit_estimates(name):
    """The fit trades distortion against this estimate; files must keep what it promises."""
    config = CONFIGS[name]
    code = sampled_code(config, (3, 96, 128))
    weights = {n: jnp.asarray(a.value()) for n, a in code.parameters["entropy"].items()}
    flat = jnp.concatenate([jnp.asarray(p, jnp.float32).ravel() for p in code.latents])
    shapes = config.latents.shapes(96, 128)
    bits = jax.jit(lambda w, x: model.latent_bits(w, x, shapes, config))(weights, flat)
    real = len(codec.write(code)["latents"])
    assert real > 1000
    assert abs(real - float(bits) / 8) <= 0.005 * float(bits) / 8 + 64


# The decoder's model is the one that was fitted


PREDICTIONS = [
    "c3-kodak", "c3-clic", "coolchic-v2", "FiLM, previous grid", "separate networks", "fine bins",
    "no context", "largest context", "deep networks", "linear networks",
]  # fmt: skip


@pytest.mark.parametrize("name", PREDICTIONS)
def test_the_decoder_predicts_what_the_fit_predicts(name):
    config = CONFIGS[name]
    rng = np.random.default_rng(2)
    parameters = random_parameters(rng, config, 3)["entropy"]
    taps = np.rint(rng.laplace(0, 1.5, (entropy_sizes(config)[0], 300)))
    weights = {n: jnp.asarray(a.value()) for n, a in parameters.items()}
    per_grid = config.entropy.per_grid != "shared"
    for grid in (0, config.latents.num_grids - 1) if per_grid else (0,):
        network = latent_coding._network(parameters, grid, config)
        location, index = latent_coding.integer_network.predict(network, taps)
        loc, scale = model.laplace_parameters(weights, jnp.asarray(taps, jnp.float32), grid, config)
        tolerance = 1 / 64 + 0.003 / config.latents.q_step
        # Without context the network sees nothing, and its prediction has one column.
        np.testing.assert_allclose(
            np.broadcast_to(location, 300) / 32, np.broadcast_to(loc, 300), rtol=0, atol=tolerance
        )
        expected = 8 * (np.log2(np.asarray(scale)) + 6)
        np.testing.assert_allclose(
            index, np.clip(expected, 0, network.max_scale_index), rtol=0, atol=1
        )


@pytest.mark.parametrize("size_in", [(1, 1), (5, 7), (64, 33), (10, 1)])
@pytest.mark.parametrize("size_out", [(1, 1), (9, 14), (32, 17), (128, 65), (3, 4)])
def test_the_decoder_resizes_the_previous_grid_as_the_fit_does(size_in, size_out):
    plane = np.random.default_rng(3).integers(-100, 100, size_in)
    rows, columns = (resize_matrix(a, b) for a, b in zip(size_in, size_out, strict=True))
    again = latent_coding.resized(plane, size_out)
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again, np.rint(64 * again) / 64)
    # Half of 1/64, and two roundings of weights to 12 bits.
    np.testing.assert_allclose(again, rows @ plane @ columns.T, atol=1 / 128 + 0.1)
    weights = latent_coding.resize_weights(size_in[0], size_out[0]) / 4096
    np.testing.assert_allclose(weights, rows, atol=0.5 / 4096 + 1e-9)


FULL, THIN = (3, 37, 21), [(3, 1, 1), (3, 1, 30), (1, 30, 1)]
SYNTHESES = [
    (name, FULL)
    for name in (
        "c3-kodak", "no full-resolution grid", "one grid", "learned upsampling", "nearest",
        "learned upsampling, coarse grids", "bicubic", "Lanczos", "pointwise synthesis", "ReLU",
        "deep networks", "linear networks",
    )
] + [("c3-kodak", shape) for shape in THIN] + [("learned upsampling", (3, 1, 1))]  # fmt: skip


@pytest.mark.parametrize("name, shape", SYNTHESES, ids=str)
def test_the_decoder_shows_what_the_fit_sees(name, shape):
    config = CONFIGS[name]
    code = random_code(config, shape, seed=4, spread=1.0)
    weights = {n: jnp.asarray(a.value()) for n, a in code.parameters["synthesis"].items()}
    planes = [jnp.asarray(p, jnp.float32) * np.float32(config.latents.q_step) for p in code.latents]
    image = jax.jit(lambda w, p: model.synthesize(w, p, shape, config))(weights, planes)
    decoded = codec.reconstruct(code).reshape(*shape[1:], shape[0]).transpose(2, 0, 1)
    if shape == FULL:  # there is something to see
        assert 10 < decoded.mean() < 245 and decoded.std() > 2
    assert np.abs(decoded / 255 - np.asarray(image)).max() <= 0.5 / 255 + 1e-4


def test_bands_of_rows_join_without_a_seam(monkeypatch):
    """Large images are synthesized a band at a time."""
    for name in ("c3-kodak", "coolchic-v2", "Lanczos"):
        code = random_code(CONFIGS[name], (3, 61, 40), seed=6)
        whole = codec.reconstruct(code)
        with monkeypatch.context() as patch:
            patch.setattr("overfit.methods.c3.synthesis._BAND", 7 * 40)
            parts = codec.reconstruct(code)
        assert np.abs(parts.astype(int) - whole).max() <= 1


# What a configuration costs


def sized(width, context=3, previous=-1, first_octave=0):
    return C3Config(
        latents=Latents(first_octave=first_octave),
        entropy=Entropy(widths=(width, width), context=context, previous=previous),
        synthesis=Synthesis(widths=(width, width)),
    )


@pytest.mark.parametrize(
    "config, shape, counts",
    [  # entropy, upsampling, synthesis, total: C3's paper, table of complexities
        (sized(18), (3, 512, 768), (1056, 48, 666, 1770)),
        (sized(24), (3, 512, 768), (1600, 48, 978, 2626)),
        (sized(12, context=2, first_octave=1), (3, 512, 768), (104, 48, 426, 578)),
        (sized(24, previous=1), (3, 1365, 2048), (1899, 48, 978, 2925)),
        (sized(12, previous=1, first_octave=1), (3, 1365, 2048), (191, 48, 426, 665)),
    ],
)
def test_the_decoder_costs_what_the_paper_says(config, shape, counts):
    result = macs(shape, config)
    assert tuple(round(v) for v in result.values()) == counts
    assert list(result) == ["entropy", "upsampling", "synthesis", "total"]


@pytest.mark.parametrize(
    "config, count",
    [(sized(12), 941), (sized(18), 1541), (sized(24), 2285), (sized(24, previous=1), 2501)],
)
def test_networks_have_as_many_parameters_as_in_the_paper(config, count):
    shapes = parameter_shapes(config, 3)
    assert sum(math.prod(s) for arrays in shapes.values() for s in arrays.values()) == count


def test_presets_are_those_of_the_paper():
    assert PRESETS["c3-kodak"].entropy == sized(18).entropy
    assert PRESETS["c3-clic"].entropy == sized(24, previous=1).entropy
    assert PRESETS["c3-clic"].synthesis == sized(24).synthesis
    assert PRESETS["coolchic-v2"].latents.q_step == 1


@pytest.mark.parametrize("name", ["c3-kodak", "FiLM, previous grid", "coolchic-v2"])
def test_info_tells_what_was_encoded(name):
    code = random_code(CONFIGS[name], (1, 20, 30))
    about = codec.describe(list(codec.write(code).values()))
    assert (about["width"], about["height"], about["channels"]) == (30, 20, 1)
    assert about["params"] == sum(a.k.size for n in code.parameters.values() for a in n.values())
    assert about["macs_per_pixel"] == macs(code.shape, code.config)["total"]
    known = settings.paths(code.config)
    assert all(known[path] == value for path, value in about["settings"].items())
    assert {"latents.q_step", "entropy.per_grid", "synthesis.widths"} <= set(about["settings"])


# Headers that no encoder writes


def header(width, height, fields="", rest="1") -> bytes:
    """Varints and a string of bits, filled up with `rest`."""
    bits = fields + rest * 400
    return write_varint(width) + write_varint(height) + int(bits[:400], 2).to_bytes(50, "big")


def refused(sections, seconds=5.0, megabytes=1000):
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with pytest.raises(UserError) as error:
            codec.read(sections)
        assert time.perf_counter() - start < seconds
        assert tracemalloc.get_traced_memory()[1] < megabytes * 1e6
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value)
    return str(error.value)


KODAK_SECTIONS = list(codec.write(random_code(KODAK, (3, 48, 40))).values())
PLAIN_HEADER = KODAK_SECTIONS[0][2:]  # behind width and height


@pytest.mark.parametrize(
    "width, height",
    [(0, 5), (5, 0), (2**32 - 1, 2**32 - 1), (2**25 + 1, 1), (1, 2**34), (6000, 6000)],
)
def test_sizes_beyond_the_format_are_refused(width, height):
    sections = [write_varint(width) + write_varint(height) + PLAIN_HEADER, *KODAK_SECTIONS[1:]]
    assert str(width) in refused(sections, seconds=0.5, megabytes=5)


@pytest.mark.parametrize(
    "width, height",
    [(5792, 5792), (2**25, 1), (1, 2**25), (2**16, 2**9), (2**9, 2**16), (2**20, 2), (2, 2**20)],
)
def test_sizes_that_the_data_do_not_fill_end_soon(width, height):
    """The largest images that the format allows, claimed by a file of two kilobytes."""
    sections = [write_varint(width) + write_varint(height) + PLAIN_HEADER, *KODAK_SECTIONS[1:]]
    refused(sections)


@pytest.mark.parametrize("width, height", [(40, 48), (5792, 5792), (1, 2**25)])
@pytest.mark.parametrize("rest", ["0", "1", "01", "10"])
@pytest.mark.parametrize("data", [b"", bytes(3000), b"\xff" * 3000, b"\x5a" * 3000])
def test_the_largest_and_smallest_architectures_end_soon(width, height, rest, data):
    start = time.perf_counter()
    tracemalloc.start()
    try:
        codec.read([header(width, height, rest=rest), data, data])
    except UserError as error:
        assert "\n" not in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert time.perf_counter() - start < 5
    assert peak < 1e9


def test_the_largest_networks_are_bounded():
    """15 separate networks of 7 layers of 64, contexts of 112 + 169."""
    fields = "1" + "1111" + "0000" + "0" + format(100, "08b") + "111" + "111" + "10" + "0" + "1000"
    fields += "0" + "100" + "111" + "111" + "111" + "111111" * 14
    sections = [header(40, 48, fields), b"", b""]
    assert codec._read_header(sections[0])[0].entropy.per_grid == "separate"
    refused(sections, seconds=2, megabytes=100)
    refused([sections[0], np.random.default_rng(7).bytes(20_000), b""], seconds=2, megabytes=100)


@pytest.mark.parametrize(
    "position, value",
    [(1, "0000"), (10, "00000000"), (10, "11111111"), (18, "111"), (24, "11"), (31, "111")],
)
def test_fields_without_a_meaning_are_refused(position, value):
    """No grids, no bins, wider bins than 1, unknown per-grid networks or upsampling."""
    bits = format(int.from_bytes(PLAIN_HEADER, "big"), f"0{8 * len(PLAIN_HEADER)}b")
    changed = bits[:position] + value + bits[position + len(value) :]
    if changed == bits or position == 18:
        return
    sections = [KODAK_SECTIONS[0][:2] + int(changed, 2).to_bytes(len(PLAIN_HEADER), "big")]
    refused(sections + KODAK_SECTIONS[1:], seconds=0.5, megabytes=5)


def test_short_headers_are_refused():
    for length in range(len(KODAK_SECTIONS[0])):
        refused([KODAK_SECTIONS[0][:length], *KODAK_SECTIONS[1:]], seconds=0.5, megabytes=5)


def test_a_parameter_that_breaks_exactness_is_refused():
    code = random_code(KODAK, (3, 8, 8))
    code.parameters["entropy"]["w0"] = Quantized(np.full((18, 24), 2**22), 3)
    coder = laplace.Encoder()
    codec._code_parameters(coder, code.parameters, KODAK, 3, None)
    assert "too large" in refused([KODAK_SECTIONS[0], coder.finish(), b""])
