"""The bits that a report shows must be the bits that the file has."""

from pathlib import Path

import numpy as np
import pytest

from overfit import decoding
from overfit.coding import integer_network, laplace
from overfit.methods.c3 import latent_coding
from overfit.methods.c3.architecture import causal_offsets
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


def test_every_latent_has_its_own_bits():
    """One by one, from its own neighbors, instead of in waves over all grids."""
    codec, sections = decoding.open_sections((GOLDEN / "c3-kodak.ovf").read_bytes())
    code = codec.read(sections, None)
    network = latent_coding._network(code.parameters["entropy"], 0, code.config)
    offsets = causal_offsets(code.config.entropy.context)
    for plane in codec.inspect(code, None).planes[:3]:
        padded = np.pad(plane.values, 3)
        rows, columns = plane.values.shape
        for y, x in [(0, 0), (0, columns - 1), (rows - 1, 0), (rows // 2, columns // 3)]:
            context = [[float(padded[y + 3 + dy, x + 3 + dx])] for dy, dx in offsets]
            model = integer_network.predict(network, np.array(context))
            expected = laplace.bits(plane.values[y, x, None].astype(np.int64), *model)
            assert plane.bits[y, x] == pytest.approx(expected)


def test_a_latent_s_bits_lie_on_its_own_pixels():
    bits = np.array([[8.0, 6.0], [3.0, 1.0], [2.0, 5.0]])
    # The last row and column of latents stand for one row and two columns of pixels only.
    on_pixels = spread(bits, 4, (9, 6))
    assert on_pixels.shape == (9, 6)
    np.testing.assert_allclose(on_pixels[:4, :4], 8 / 16)
    np.testing.assert_allclose(on_pixels[:4, 4:], 6 / 8)
    np.testing.assert_allclose(on_pixels[8, 4:], 5 / 2)
    assert on_pixels.sum() == pytest.approx(bits.sum())
