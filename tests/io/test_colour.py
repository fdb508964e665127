import numpy as np
import pytest

from overfit.io import colour
from overfit.io.colour import BT601, BT709

# Every 15th level of each channel: 18^3 colours, grey and saturated ones included.
LEVELS = np.arange(0, 256, 15, dtype=np.uint8)
COLOURS = np.stack(np.meshgrid(LEVELS, LEVELS, LEVELS), axis=-1)
SETTINGS = [(matrix, full) for matrix in (BT601, BT709) for full in (True, False)]


@pytest.mark.parametrize(
    "rgb, matrix, full, expected",
    [
        # JFIF 1.02, page 3, and the 75 % and 100 % colour bars of the standards.
        ((255, 0, 0), BT601, True, (76, 85, 255)),
        ((0, 255, 0), BT601, True, (150, 44, 21)),
        ((0, 0, 255), BT601, True, (29, 255, 107)),
        ((255, 0, 0), BT601, False, (81, 90, 240)),
        ((0, 255, 0), BT601, False, (145, 54, 34)),
        ((255, 0, 0), BT709, False, (63, 102, 240)),
        ((0, 255, 0), BT709, False, (173, 42, 26)),
        ((0, 0, 255), BT709, False, (32, 240, 118)),
        ((255, 255, 255), BT709, False, (235, 128, 128)),
        ((0, 0, 0), BT709, False, (16, 128, 128)),
        ((127, 127, 127), BT709, True, (127, 128, 128)),
    ],
)
def test_known_colours(rgb, matrix, full, expected):
    converted = colour.rgb_to_ycbcr(np.array(rgb, np.uint8), matrix, full)
    assert tuple(converted) == expected
    assert converted.dtype == np.uint8


@pytest.mark.parametrize("matrix, full", SETTINGS)
def test_there_and_back_is_off_by_rounding_only(matrix, full):
    back = colour.ycbcr_to_rgb(colour.rgb_to_ycbcr(COLOURS, matrix, full), matrix, full)
    error = back.astype(int) - COLOURS
    assert back.dtype == np.uint8
    assert np.abs(error).max() <= (2 if full else 3)
    # Truncating instead of rounding shows as a mean error of half a level or more.
    assert np.abs(error.mean(axis=(0, 1, 2))).max() < 0.1
    assert np.mean(error.astype(float) ** 2) < (0.7 if full else 1.1)


@pytest.mark.parametrize("matrix, full", SETTINGS)
def test_greys_survive(matrix, full):
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    back = colour.ycbcr_to_rgb(colour.rgb_to_ycbcr(greys, matrix, full), matrix, full)
    assert np.abs(back.astype(int) - greys).max() <= (0 if full else 1)
    assert (back == back[:, :1]).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (5, 1), (6, 8), (7, 9)])
def test_one_colour_is_one_colour_in_420(shape):
    rgb = np.broadcast_to(np.array([200, 90, 40], np.uint8), (3, *shape, 3))
    planes = colour.rgb_to_yuv420(rgb, BT709, False)
    half = (3, -(-shape[0] // 2), -(-shape[1] // 2))
    assert [plane.shape for plane in planes] == [(3, *shape), half, half]
    one = colour.rgb_to_ycbcr(rgb[0, 0, 0], BT709, False)
    assert all((plane == level).all() for plane, level in zip(planes, one, strict=True))
    expected = colour.ycbcr_to_rgb(one, BT709, False)
    assert (colour.yuv420_to_rgb(*planes, BT709, False) == expected).all()


def test_chroma_is_sited_on_even_columns_and_between_rows():
    # A ramp keeps its values where filters are in place: no shift by half a sample.
    rows, columns = np.mgrid[0:16, 0:24]
    for ramp, position in ((columns, 2.0 * np.arange(12)), (rows, 2 * np.arange(8) + 0.5)):
        halved = colour._halve(ramp.astype(float))
        line = halved[4] if ramp is columns else halved[:, 4]
        assert np.array_equal(line[1:-1], position[1:-1])
        doubled = colour._double(halved)
        assert np.array_equal(doubled[3:-3, 3:-3], ramp[3:-3, 3:-3])


def test_clips_are_converted_frame_by_frame():
    clip = np.random.default_rng(0).integers(0, 256, (3, 7, 10, 3), dtype=np.uint8)
    together = colour.rgb_to_yuv420(clip, BT601, True)
    for index, frame in enumerate(clip):
        alone = colour.rgb_to_yuv420(frame, BT601, True)
        assert all(np.array_equal(a[index], b) for a, b in zip(together, alone, strict=True))
