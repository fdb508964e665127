"""The paper's operation counts (tables 1, 3 and 6), which are all that is known of its layers."""

import pytest

from overfit.methods.upsampler.architecture import layers, networks
from overfit.methods.upsampler.complexity import Operations, encoding, macs, operations
from overfit.methods.upsampler.config import PRESETS, Network

# Table 1: inference, forward and normalization in training, backward, gradient.
FEATURE = Operations(29.25, 31.125, 3.75, 26.25, 29.25)
POSITION = Operations(173.50, 188.500, 30.00, 187.00, 171.75)
DENOISER = Operations(329.00, 359.250, 60.50, 340.25, 325.50)
SUM = Operations(531.75, 578.875, 94.25, 553.50, 526.50)
TRAINING = 1753.125

FOUND = networks(PRESETS["klopp21"])


def test_the_feature_network_has_the_operations_of_table_1():
    assert operations(FOUND["feature"], 16, constant_inputs=6) == FEATURE


def test_the_denoiser_has_the_operations_of_table_1():
    """With nine inputs of which six need no gradient, and one attention weight per channel."""
    assert operations(FOUND["denoiser"], 4, attention=14, constant_inputs=6) == DENOISER


def test_the_position_network_is_within_2_percent_of_table_1():
    """No table that agrees with the text has exactly these numbers; this one is nearest."""
    for ours, theirs in zip(operations(FOUND["position"], 4), POSITION, strict=True):
        assert ours == pytest.approx(theirs, rel=0.017)


def test_a_position_network_with_one_more_input_has_them_exactly():
    exact = layers(Network(("P12", "D", "P7", "D", "P12")), 29)
    assert operations(exact, 4, attention=7, constant_inputs=1) == POSITION


def test_the_sums_of_table_1():
    columns = zip(FEATURE, POSITION, DENOISER, strict=True)
    assert tuple(map(sum, columns)) == SUM
    assert SUM.training == TRAINING


@pytest.mark.parametrize(
    "preset, total, params",
    [
        ("klopp21", 534.0, 2459),  # the sigmoid counts; 531.75 in the paper
        ("klopp21-literal", 513.0, 2375),
        ("klopp20", 488.75, 3200),  # table 3, exactly
    ],
)
def test_totals_of_the_presets(preset, total, params):
    counts = macs((3, 1080, 1920), PRESETS[preset])
    assert counts["total"] == total == sum(counts.values()) / 2
    weights = [layer.weights for own in networks(PRESETS[preset]).values() for layer in own]
    assert sum(a * b for a, b in weights) == params


@pytest.mark.parametrize(
    "pixels, expected",
    [
        (1920 * 1080, (8766, 4383, 2192)),
        (2560 * 1600, (4438, 2219, 1110)),
        (3840 * 2160, (2192, 1096, 548)),
    ],
)
def test_encoding_costs_what_table_6_says(pixels, expected):
    """Patch sizes are those of the clip's resolution: 200 steps of 40 patches of 72x144."""
    for group, operations_per_pixel in zip((8, 16, 32), expected, strict=True):
        ours = encoding(TRAINING, 200, 40, 72 * 144, pixels, group)
        assert ours == pytest.approx(operations_per_pixel, abs=1)


def test_ablations_leave_networks_out():
    names = {preset: tuple(networks(config)) for preset, config in PRESETS.items()}
    assert names["klopp21"] == ("feature", "position", "denoiser")
    assert names["klopp21-no-features"] == ("position", "denoiser")
    assert names["klopp21-denoiser"] == ("denoiser",)
    assert macs((3, 8, 8), PRESETS["klopp21-denoiser"])["total"] == 1218 / 4
