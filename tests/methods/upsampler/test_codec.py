"""Upsampler files: every configuration comes back, and damaged ones are refused."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from overfit.codecs.base_stream import BaseStream
from overfit.coding.container import write_varint
from overfit.coding.parameters import Change, quantize
from overfit.errors import UserError
from overfit.io.clip import ClipShape
from overfit.methods.upsampler import codec, header, preparation
from overfit.methods.upsampler.architecture import parameter_shapes
from overfit.methods.upsampler.config import PRESETS, Network, zero_latency

KLOPP21 = PRESETS["klopp21"]
CONFIGS = dict(PRESETS) | {
    "other layers": dataclasses.replace(
        KLOPP21,
        feature=Network(("P64", "P1", "D", "P8"), True),
        denoiser=Network(("D", "P1", "P14", "P6")),
        denoiser_inputs=("features", "pixels"),
        attention=2,
    ),
    "short groups": dataclasses.replace(KLOPP21, group=3),
    "zero latency": dataclasses.replace(zero_latency(KLOPP21), group=3),
}
SHAPE = ClipShape("yuv420", 8, 33, 47, Fraction(30000, 1001))


def random_delta(config, seed=0, base=None):
    """A network, or changes of a base."""
    rng = np.random.default_rng(seed)

    def one(path, shape):
        values, e = rng.normal(0, 0.3, shape), int(rng.integers(15))
        if base is None:
            return quantize(values, e)
        prior = base.arrays[path]
        return quantize(prior.center.value() + values, e, prior)

    return {
        name: {array: one(f"{name}/{array}", shape) for array, shape in own.items()}
        for name, own in parameter_shapes(config).items()
    }


def code_of(config, codec_name="x265", blocks=True, base=None):
    stream = BaseStream(codec_name, 0x12345678, b"no stream at all")
    count = len(preparation.group_starts(SHAPE.frames, config))
    networks, known = [], base
    for seed in range(count):
        networks.append(random_delta(config, seed, known))
        if config.latency == "zero":
            known = codec.after(networks[-1])
    return codec.assemble(SHAPE, preparation.Base(stream, blocks), networks, config)


def same(delta, other):
    return all(
        np.array_equal(value.k, other[name][array].k) and value.e == other[name][array].e
        for name, own in delta.items()
        for array, value in own.items()
    )


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_configuration_comes_back(config):
    code = code_of(config, "x264", blocks=False)
    sections = codec.write(code, None)
    assert tuple(sections) == ("header", "networks", "base_stream")
    again = codec.read(list(sections.values()), None)
    assert again.shape == SHAPE and again.base == code.base
    assert parameter_shapes(again.config) == parameter_shapes(config)
    for field in ("group", "latency", "attention", "position_inputs", "denoiser_inputs"):
        assert getattr(again.config, field, None) == getattr(config, field, None)
    assert len(again.networks) == len(code.networks)
    assert all(same(*pair) for pair in zip(again.networks, code.networks, strict=True))
    assert len(sections["header"]) < 60


def test_what_a_file_says_of_itself():
    about = codec.describe(list(codec.write(code_of(CONFIGS["short groups"]), None).values()))
    assert (about["width"], about["height"], about["frames"]) == (47, 33, 8)
    assert (about["base_codec"], about["blocks"], about["groups"]) == ("x265", True, 3)
    assert about["params"] == 3 * (2459 + 30 + 59 + 121)  # weights, and a shift per channel
    assert about["macs_per_pixel"] == 534.0
    assert about["settings"]["group"] == 3


def test_offline_networks_change_the_base_and_those_without_latency_each_other():
    base = codec.after(random_delta(KLOPP21, 9))
    for latency in ("short groups", "zero latency"):
        code = code_of(CONFIGS[latency], base=base)
        again = codec.read(list(codec.write(code, base).values()), base)
        assert len(again.networks) == (3 if latency == "short groups" else 2)
        # The third group's network is not even sent without latency: nothing follows it.
        found = list(codec.decoders(again, base))
        assert len(found) == 3
        before = codec.network_of(base)["feature"]["w0"].value()
        if latency == "zero latency":
            assert np.array_equal(found.pop(0)["feature"]["w0"], before)
        for network, sent in zip(found, again.networks, strict=True):
            change = sent["feature"]["w0"]
            assert isinstance(change, Change)
            moved = np.float32(change.k * 2.0**-change.e)
            np.testing.assert_allclose(network["feature"]["w0"], before + moved, atol=1e-6)
            if latency == "zero latency":
                before = network["feature"]["w0"]
    assert next(codec.decoders(code_of(CONFIGS["zero latency"]), None)) is None


def test_a_base_with_other_networks_is_refused():
    base = codec.after(random_delta(PRESETS["klopp21-literal"]))
    with pytest.raises(UserError, match="the base has other networks"):
        codec.write(code_of(KLOPP21), base)


# -- Damage ----------------------------------------------------------------------------------------


def refused(*sections):
    with pytest.raises(UserError) as error:
        codec.read(list(sections), None)
    return str(error.value)


def test_truncated_sections_are_refused():
    whole = list(codec.write(code_of(KLOPP21), None).values())
    for end in range(len(whole[0])):
        refused(whole[0][:end], *whole[1:])
    for end in (0, 1, len(whole[1]) // 2):
        assert "early" in refused(whole[0], whole[1][:end], whole[2])


def test_no_header_is_trusted():
    """Any bytes: an error for the user or a readable code, in bounded time and memory."""
    whole = list(codec.write(code_of(KLOPP21), None).values())
    rng = np.random.default_rng(0)
    outcomes = []
    for _ in range(300):
        head = bytearray(whole[0])
        for place in rng.integers(0, len(head), 2):
            head[place] = rng.integers(256)
        try:
            header.read_header(bytes(head), len(whole[2]))
            outcomes.append("read")
        except UserError:
            outcomes.append("refused")
    assert set(outcomes) == {"read", "refused"}


@pytest.mark.parametrize(
    "width, height, frames",
    [(0, 8, 1), (8, 0, 1), (8, 8, 0), (1 << 15, 8, 1), (8, 8, 1000), (16384, 16384, 16)],
)
def test_sizes_that_no_file_has_are_refused(width, height, frames):
    numbers = b"".join(map(write_varint, (width, height, frames, 25, 1, 32)))
    with pytest.raises(UserError, match="cannot have: it is damaged"):
        header.read_header(numbers + bytes(100), 20)


def test_clips_that_are_too_large_are_refused_before_anything_is_written():
    code = code_of(KLOPP21)._replace(shape=SHAPE._replace(width=1 << 15))
    with pytest.raises(UserError, match="cut it into parts"):
        codec.write(code, None)


def test_a_stream_of_another_clip_is_refused():
    code = code_of(PRESETS["klopp21-no-features"])
    with pytest.raises(UserError, match="x265 file is damaged"):
        codec.reconstruct(code, None)
