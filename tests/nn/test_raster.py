import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overfit.nn.raster import raster, to_raster

SIDES = st.integers(1, 9)
SHAPES = st.tuples(SIDES, SIDES) | st.tuples(st.integers(1, 3), SIDES, SIDES)
LAYOUTS = st.tuples(
    st.lists(SHAPES, min_size=1, max_size=4).map(tuple),
    st.integers(1, 4),
    st.integers(1, 40) | st.none(),
)


def numbered(shapes):
    """Planes of 1, 2, 3, ...: no value twice, none zero."""
    planes, first = [], 1
    for shape in shapes:
        size = math.prod(shape)
        planes.append(np.arange(first, first + size, dtype=np.float32).reshape(shape))
        first += size
    return planes


def frames_of(plane):
    return plane if plane.ndim == 3 else plane[None]


def stored(planes, layout):
    """The planes in the layout, written value by value."""
    flat = np.zeros(layout.size, np.float32)
    for plane, begin in zip(planes, layout.begins, strict=True):
        for frame, rows in enumerate(frames_of(plane)):
            for row, values in enumerate(rows, frame * (len(rows) + layout.margin)):
                first = begin + row * (rows.shape[1] + layout.margin)
                flat[first : first + len(values)] = values
    return flat


@pytest.mark.parametrize(
    "shapes", [((1, 1),), ((4, 7), (2, 4), (1, 2)), ((2, 1), (5, 3)), ((3, 4, 5), (1, 2, 2))]
)
def test_planes_are_stored_as_the_layout_says(shapes):
    layout, planes = raster(shapes, 2, 8), numbered(shapes)
    ours = to_raster([jnp.asarray(plane) for plane in planes], layout)
    np.testing.assert_array_equal(ours, stored(planes, layout))


@settings(deadline=None)
@given(LAYOUTS)
def test_every_neighbor_is_a_constant_offset_away(parameters):
    shapes, margin, _ = parameters
    layout, planes = raster(*parameters), numbered(shapes)
    flat = stored(planes, layout)
    reach = range(-margin, margin + 1)
    for plane, begin in zip(planes, layout.begins, strict=True):
        for frame in frames_of(plane):
            rows, columns = frame.shape
            padded, pitch = np.pad(frame, margin), columns + margin
            index = begin + np.arange(rows)[:, None] * pitch + np.arange(columns)
            for dy in reach:
                for dx in reach:
                    expected = padded[margin + dy :, margin + dx :][:rows, :columns]
                    np.testing.assert_array_equal(flat[index + dy * pitch + dx], expected)
            begin += (rows + margin) * pitch


@settings(deadline=None)
@given(LAYOUTS)
def test_strips_visit_every_value_once_and_know_its_plane(parameters):
    shapes, margin, _ = parameters
    layout, planes = raster(*parameters), numbered(shapes)
    flat, seen = stored(planes, layout), []
    for strips in layout.loops:
        for start, pitch, plane, valid in zip(*strips, strict=True):
            values = flat[start : start + len(valid)][valid == 1]
            assert np.isin(values, planes[plane]).all()
            assert pitch == planes[plane].shape[-1] + margin
            seen.append(values)
    np.testing.assert_array_equal(np.concatenate(seen), np.concatenate([p.ravel() for p in planes]))


@settings(deadline=None)
@given(LAYOUTS)
def test_no_strip_reads_beyond_the_array(parameters):
    # JAX would silently read somewhere else instead.
    layout = raster(*parameters)
    for strips in layout.loops:
        reach = layout.margin * strips.pitches + layout.margin
        assert (strips.starts - reach >= 0).all()
        assert (strips.starts + strips.valid.shape[1] + reach <= layout.size).all()


def test_a_strip_is_as_long_as_its_plane_where_no_length_is_given():
    layout = raster(((2, 3, 4), (2, 2)), 1, None)
    assert [strips.valid.shape[1] for strips in layout.loops] == [(3 + 1 + 3) * 5, 2 * 3]


def test_larger_planes_are_seen_from_below_and_to_the_right():
    """A neighbor that is never above or to the left may lie in the margin."""
    layout = raster(((2, 3, 4), (2, 2)), 2, 8)
    large = numbered(((2, 5, 6), (4, 4)))
    flat = np.asarray(to_raster([jnp.asarray(plane) for plane in large], layout))
    for plane, shape, begin in zip(large, layout.shapes, layout.begins, strict=True):
        for frame in frames_of(plane):
            rows, columns = shape[-2:]
            pitch = columns + 2
            index = begin + np.arange(rows)[:, None] * pitch + np.arange(columns)
            for dy, dx in ((0, 0), (1, 2), (2, 2)):
                expected = frame[dy:, dx:][:rows, :columns]
                np.testing.assert_array_equal(flat[index + dy * pitch + dx], expected)
            begin += (rows + 2) * pitch


def test_planes_of_other_shapes_are_refused():
    layout = raster(((2, 3), (1, 1)), 1, 4)
    with pytest.raises(ValueError):
        to_raster([jnp.zeros((2, 3))], layout)
