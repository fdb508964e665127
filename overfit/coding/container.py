"""The outermost layer of an .ovf file: who wrote it, whether it is whole, where its sections lie.

    "OVF" | version * 16 + method, + 8 with a base (1 byte) | CRC-32 of all other bytes (4,
    big-endian) | with a base: the first 3 bytes of its identity | for every section but the last:
    its length as a varint, then the bytes | the last section

docs/format.md specifies it. Everything is bounded by the length of the file itself.
"""

import zlib

from overfit.errors import UserError
from overfit.method import METHOD_IDS

MAGIC = b"OVF"
VERSION = 1
_PREFIX = 8  # magic, version and method, CRC
BASE_BYTES = 3  # of the identity of a base
_WITH_BASE = 8  # added to the number of the method, which is below


def write_varint(value: int) -> bytes:
    """Seven bits per byte, least significant first, the top bit set on all bytes but the last."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """(value, position after it); raises UserError where the data end or beyond 32 bits."""
    value = 0
    for i in range(5):
        if position + i >= len(data):
            raise UserError("the file ends in the middle of a number: it is truncated or damaged")
        byte = data[position + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, position + i + 1
    raise UserError("the file holds a number that is too long: it is damaged")


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data[_PREFIX:], zlib.crc32(data[:4])).to_bytes(4, "big")


def pack(method: str, sections: list[bytes], base: bytes = b"") -> bytes:
    """The whole file. base: the first BASE_BYTES of its identity, where there is one."""
    number = METHOD_IDS[method] | (_WITH_BASE if base else 0)
    head = MAGIC + bytes([VERSION << 4 | number]) + bytes(4) + base
    data = head + join_sections(sections)
    return data[:4] + _checksum(data) + data[_PREFIX:]


def method_of(data: bytes) -> str:
    """Name of the method that wrote the file, after checking that the file is whole.

    Raises UserError if it is no .ovf file, of a newer version, or damaged.
    """
    if len(data) < _PREFIX or data[:3] != MAGIC:
        raise UserError("this is not an .ovf file (it does not start with 'OVF')")
    version, number = data[3] >> 4, data[3] & (_WITH_BASE - 1)
    if version != VERSION:
        raise UserError(
            f"this .ovf file has format version {version}, this program reads {VERSION}: "
            "use the version of overfit that wrote it"
        )
    if data[4:_PREFIX] != _checksum(data):
        raise UserError("the file is damaged or truncated (its checksum does not match)")
    names = {value: name for name, value in METHOD_IDS.items()}
    if number not in names:
        raise UserError(f"the file was written by method number {number}, unknown to this version")
    return names[number]


def base_of(data: bytes) -> bytes:
    """What names the base of a file that `method_of` has accepted: empty for none."""
    return data[_PREFIX : _PREFIX + BASE_BYTES] if data[3] & _WITH_BASE else b""


def unpack(data: bytes, count: int) -> list[bytes]:
    """The `count` sections of a file that `method_of` has accepted."""
    return split_sections(data, _PREFIX + len(base_of(data)), count)


def join_sections(sections: list[bytes]) -> bytes:
    """The lengths of all sections but the last, then all of them."""
    return b"".join([*(write_varint(len(section)) for section in sections[:-1]), *sections])


def split_sections(data: bytes, position: int, count: int) -> list[bytes]:
    """The inverse of `join_sections`, from a position to the end; UserError on damaged data."""
    lengths = []
    for _ in range(count - 1):
        length, position = read_varint(data, position)
        lengths.append(length)
    sections = []
    for length in lengths:
        if length > len(data) - position:
            raise UserError("a section is longer than the file: it is truncated or damaged")
        sections.append(data[position : position + length])
        position += length
    return [*sections, data[position:]]
