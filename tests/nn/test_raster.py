import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overfit.nn.raster import raster, to_raster

SIDES = st.integers(1, 9)
LAYOUTS = st.tuples(
    st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=4).map(tuple),
    st.integers(1, 4),
    st.integers(1, 40),
)


def numbered(shapes):
    """Planes of 1, 2, 3, ...: no value twice, none zero."""
    planes, first = [], 1
    for rows, columns in shapes:
        planes.append(np.arange(first, first + rows * columns, dtype=np.float32).reshape(rows, -1))
        first += rows * columns
    return planes


def stored(planes, layout):
    """The planes in the layout, written value by value."""
    flat = np.zeros(layout.size, np.float32)
    for plane, begin in zip(planes, layout.begins, strict=True):
        for row, values in enumerate(plane):
            first = begin + row * (plane.shape[1] + layout.margin)
            flat[first : first + len(values)] = values
    return flat


@pytest.mark.parametrize("shapes", [((1, 1),), ((4, 7), (2, 4), (1, 2)), ((2, 1), (5, 3))])
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
        rows, columns = plane.shape
        padded, pitch = np.pad(plane, margin), columns + margin
        index = begin + np.arange(rows)[:, None] * pitch + np.arange(columns)
        for dy in reach:
            for dx in reach:
                expected = padded[margin + dy :, margin + dx :][:rows, :columns]
                np.testing.assert_array_equal(flat[index + dy * pitch + dx], expected)


@settings(deadline=None)
@given(LAYOUTS)
def test_strips_visit_every_value_once_and_know_its_plane(parameters):
    shapes, margin, strip = parameters
    layout, planes = raster(*parameters), numbered(shapes)
    flat, seen = stored(planes, layout), []
    for i, start in enumerate(layout.starts):
        values = flat[start : start + strip][layout.valid[i] == 1]
        plane = planes[layout.planes[i]]
        assert np.isin(values, plane).all()
        assert layout.pitches[i] == plane.shape[1] + margin
        seen.append(values)
    np.testing.assert_array_equal(np.concatenate(seen), np.concatenate([p.ravel() for p in planes]))


@settings(deadline=None)
@given(LAYOUTS)
def test_no_strip_reads_beyond_the_array(parameters):
    # JAX would silently read somewhere else instead.
    layout = raster(*parameters)
    reach = layout.margin * layout.pitches + layout.margin
    assert (layout.starts - reach >= 0).all()
    assert (layout.starts + layout.strip + reach <= layout.size).all()


def test_planes_of_other_shapes_are_refused():
    layout = raster(((2, 3), (1, 1)), 1, 4)
    with pytest.raises(ValueError):
        to_raster([jnp.zeros((2, 3))], layout)
