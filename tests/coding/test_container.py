"""The outer layer of a file: what a reader finds first, and how damage shows."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overfit.coding import container
from overfit.coding.container import method_of, pack, read_varint, unpack, write_varint
from overfit.errors import UserError

SECTIONS = [b"header", b"", b"networks" * 30, b"latents" * 500]


def with_checksum(data: bytes) -> bytes:
    """The data with a CRC that fits, so that what lies behind it is reached."""
    return data[:4] + zlib.crc32(data[8:], zlib.crc32(data[:4])).to_bytes(4, "big") + data[8:]


def refused(function, *arguments, words=()):
    with pytest.raises(UserError) as error:
        function(*arguments)
    message = str(error.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


# Numbers


@pytest.mark.parametrize(
    "value, code",
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (16384, "808001")],
)
def test_varints_are_those_of_the_format(value, code):
    assert write_varint(value).hex() == code
    assert read_varint(bytes.fromhex(code), 0) == (value, len(code) // 2)


@given(st.integers(0, 2**35 - 1), st.binary(max_size=5), st.binary(max_size=5))
def test_varints_come_back_from_anywhere_in_the_data(value, before, after):
    code = write_varint(value)
    assert read_varint(before + code + after, len(before)) == (value, len(before) + len(code))


@given(st.integers(0, 2**35 - 1))
def test_a_varint_that_is_cut_off_is_refused(value):
    code = write_varint(value)
    for length in range(len(code)):
        refused(read_varint, code[:length], 0, words=["truncated"])


@pytest.mark.parametrize("data", [b"\xff" * 6, b"\x80" * 1000, write_varint(2**35)])
def test_an_endless_varint_is_refused(data):
    refused(read_varint, data, 0, words=["too long"])


# Whole files


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_sections_come_back(sections):
    data = pack("c3", sections)
    assert method_of(data) == "c3"
    assert unpack(data, len(sections)) == sections


def test_the_first_bytes_are_those_of_the_format():
    data = pack("c3", [b"ab", b"cde"])
    assert data[:4] == b"OVF\x11"  # version 1, method 1
    assert data[4:8] == zlib.crc32(b"OVF\x11\x02abcde").to_bytes(4, "big")
    assert data[8:] == b"\x02abcde"


@pytest.mark.parametrize("size, overhead", [(0, 10), (127, 10), (128, 12), (20000, 14)])
def test_the_overhead_is_eight_bytes_and_the_lengths(size, overhead):
    sections = [bytes(size), bytes(size), bytes(size)]
    assert len(pack("c3", sections)) - 3 * size == overhead


def test_any_flipped_bit_is_noticed():
    data = pack("c3", [b"ab", b"cde" * 10])
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        refused(method_of, bytes(damaged))


def test_any_truncation_is_noticed():
    data = pack("c3", [b"ab", b"cde" * 10])
    for length in range(len(data)):
        refused(method_of, data[:length])
    refused(method_of, data + b"\0", words=["damaged"])


@pytest.mark.parametrize("data", [b"", b"O", b"OVF\x11", b"\x89PNG\r\n\x1a\n" * 4, bytes(100)])
def test_other_files_are_not_taken_for_ovf(data):
    refused(method_of, data, words=["not an .ovf file"])


def test_a_later_version_is_named():
    data = bytearray(pack("c3", SECTIONS))
    data[3] = (container.VERSION + 1) << 4 | 1
    refused(method_of, with_checksum(bytes(data)), words=["version 2", "reads 1"])


def test_an_unknown_method_is_named():
    data = bytearray(pack("c3", SECTIONS))
    data[3] = container.VERSION << 4 | 13
    refused(method_of, with_checksum(bytes(data)), words=["method number 5"])


def test_a_section_beyond_the_end_is_refused():
    head = pack("c3", [b""])[:8]
    data = with_checksum(head + write_varint(2**32 - 1) + b"abc")
    assert method_of(data) == "c3"
    refused(unpack, data, 2, words=["longer than the file"])
    # The first length fits alone, but not behind the second one.
    data = with_checksum(head + b"\x02\x03" + b"abcd")
    refused(unpack, data, 3, words=["longer than the file"])


def test_lengths_beyond_the_end_are_refused():
    data = with_checksum(pack("c3", [b""])[:8] + b"\x80")
    refused(unpack, data, 2, words=["truncated"])
    refused(unpack, data[:8], 3, words=["truncated"])
