"""The file of a base: comes back as it was, and is refused when it is not what it says."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from overfit.bases import base as bases
from overfit.bases.base import MAX_BYTES, Base, identity, pack, unpack
from overfit.coding.parameters import Prior, Quantized
from overfit.errors import UserError

priors = st.builds(
    Prior,
    st.builds(
        Quantized,
        arrays(
            np.int64,
            st.sampled_from([(), (1,), (0, 3), (2, 3)]),
            elements=st.one_of(st.integers(-3, 3), st.integers(-(2**31), 2**31 - 1)),
        ),
        st.integers(0, 16),
    ),
    st.integers(-10, 80),
)


def a_base(**arrays) -> Base:
    return Base("c3", {"entropy.context": 2}, arrays, {"trained_on": ["a", "b"], "steps": 3})


@given(st.dictionaries(st.sampled_from(["entropy/w0", "synthesis/b1", "x/y"]), priors))
@settings(deadline=None)
def test_a_base_comes_back(arrays):
    base = a_base(**arrays)
    again = unpack(pack(base))
    assert again._replace(arrays={}) == base._replace(arrays={})
    assert list(again.arrays) == list(arrays)
    for name, (center, spread) in arrays.items():
        assert again.arrays[name].spread == spread and again.arrays[name].center.e == center.e
        np.testing.assert_array_equal(again.arrays[name].center.k, center.k)
    assert pack(again) == pack(base)


def test_what_an_encoder_alone_needs_is_no_network():
    base = a_base(**{"entropy/w0": Prior(CENTER, 56), "encoder/w": Prior(CENTER, 0)})
    assert base.shapes() == {"entropy": {"w0": (2, 3)}}
    networks, scales, encoder = bases.start(base)
    assert list(networks) == list(scales) == ["entropy"]
    np.testing.assert_array_equal(encoder["w"], np.arange(6).reshape(2, 3) / 16)


CENTER = Quantized(np.arange(6, dtype=np.int64).reshape(2, 3), 4)


def test_a_network_is_found_by_its_name_and_starts_fits():
    base = a_base(**{"entropy/w0": Prior(CENTER, 56), "synthesis/w0": Prior(CENTER, 64)})
    assert list(base.network("entropy")) == ["w0"]
    networks, scales, encoder = bases.start(base)
    assert encoder == {}
    np.testing.assert_array_equal(networks["synthesis"]["w0"], np.arange(6).reshape(2, 3) / 16)
    assert scales["entropy"]["w0"] == 0.25 and scales["synthesis"]["w0"] == 1
    assert networks["entropy"]["w0"].dtype == scales["entropy"]["w0"].dtype == np.float32


def test_the_identity_is_that_of_the_bytes():
    data = pack(a_base(**{"entropy/w0": Prior(CENTER, 56)}))
    other = pack(a_base(**{"entropy/w0": Prior(CENTER, 57)}))
    assert len(identity(data)) == 32 and identity(data) != identity(other)


def with_checksum(content: bytes) -> bytes:
    return b"OVB\x01" + zlib.crc32(content).to_bytes(4, "big") + content


def described(text: bytes, values: bytes = b"") -> bytes:
    return with_checksum(bytes([len(text) & 127 | 128, len(text) >> 7]) + text + values)


@pytest.mark.parametrize(
    "data, word",
    [
        (b"", "no base"),
        (b"PNG.....", "no base"),
        (b"OVB\x02" + bytes(8), "version 2"),
        (b"OVB\x01" + bytes(8), "checksum"),
        (with_checksum(b""), "damaged"),
        (described(b"{}"), "damaged"),
        (described(b"[" * 5000), "damaged"),
        (described(b'{"method":"c3","settings":{},"card":{},"arrays":[]}'), "damaged"),
    ],
)
def test_what_is_no_base_is_refused(data, word):
    with pytest.raises(UserError, match=word):
        unpack(data)


@pytest.mark.parametrize(
    "array",
    [
        '["x/y",[1000000,1000000],4,50,4]',
        '["x/y",[-1],4,50,4]',
        '["x/y",["a"],4,50,4]',
        '["x/y",[2],4,50,3]',
        '["x/y",[2],-1,50,1]',
        '["x/y",[2],4,"a",1]',
        '["x/y"]',
        '["x/y",[1e3],4,50,1]',
    ],
)
def test_arrays_that_are_not_there_are_refused(array):
    text = f'{{"method":"c3","settings":{{}},"card":{{}},"arrays":[{array}]}}'.encode()
    with pytest.raises(UserError, match="damaged"):
        unpack(described(text, zlib.compress(bytes(2))))


def test_a_bomb_is_not_unpacked():
    text = b'{"method":"c3","settings":{},"card":{},"arrays":[]}'
    with pytest.raises(UserError, match="too large"):
        unpack(described(text, zlib.compress(bytes(MAX_BYTES + 1))))


def test_every_damaged_byte_is_noticed():
    data = pack(a_base(**{"entropy/w0": Prior(CENTER, 56)}))
    for i in range(len(data)):
        with pytest.raises(UserError):
            unpack(data[:i] + bytes([data[i] ^ 16]) + data[i + 1 :])
        with pytest.raises(UserError):
            unpack(data[:i])
