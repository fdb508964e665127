"""The bits that a report shows must be the bits that the file has."""

from pathlib import Path

import numpy as np
import pytest

from overfit import decoding
from overfit.methods.c3.inspection import spread

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.mark.parametrize("preset", ["c3-kodak", "c3-clic", "coolchic-v2"])
def test_the_bits_of_all_latents_are_the_file_s(preset):
    codec, sections = decoding.open_sections((GOLDEN / f"{preset}.ovf").read_bytes())
    code = codec.read(sections, None)
    planes, bit_map = codec.inspect(code, None)
    latents = 8 * len(sections[2])
    total = sum(plane.bits.sum() for plane in planes)
    assert latents - 64 <= total <= latents + 8
    assert bit_map.shape == code.shape[1:]
    assert bit_map.sum() == pytest.approx(total)
    for plane, grid in zip(planes, code.latents, strict=True):
        np.testing.assert_array_equal(plane.values, grid)
        assert plane.bits.shape == grid.shape and plane.bits.min() >= 0


def test_rare_values_take_more_bits_than_common_ones():
    codec, sections = decoding.open_sections((GOLDEN / "c3-kodak.ovf").read_bytes())
    fine = codec.inspect(codec.read(sections, None), None).planes[0]
    assert fine.bits[fine.values != 0].mean() > 4 * fine.bits[fine.values == 0].mean()


def test_a_latent_s_bits_lie_on_its_own_pixels():
    bits = np.array([[8.0, 6.0], [3.0, 1.0], [2.0, 5.0]])
    # The last row and column of latents stand for one row and two columns of pixels only.
    on_pixels = spread(bits, 4, (9, 6))
    assert on_pixels.shape == (9, 6)
    np.testing.assert_allclose(on_pixels[:4, :4], 8 / 16)
    np.testing.assert_allclose(on_pixels[:4, 4:], 6 / 8)
    np.testing.assert_allclose(on_pixels[8, 4:], 5 / 2)
    assert on_pixels.sum() == pytest.approx(bits.sum())
