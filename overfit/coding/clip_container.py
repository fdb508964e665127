"""The .ovf file of a clip: patches that can be read one by one, and survive each other's damage.

    "OVF" | version * 16 | CRC-32 of the head (4) | length of what follows of the head, a varint
    | method, + 8 of 4:2:0 samples, + 16 with bases | frames, height, width
    | frame rate: numerator, denominator | frames, height, width of a patch
    | length of every patch, as varints
    | patches: CRC-32 (4), then for every section but the last its length, then the sections

With bases the first section of a patch is the first 3 bytes of the identity of its own, or empty.

Numbers are varints; docs/format.md specifies it. The method number 0 in the fourth byte says that
the file is a clip.
"""

import math
import zlib
from fractions import Fraction
from typing import BinaryIO, NamedTuple

from overfit.coding.container import (
    BASE_BYTES,
    MAGIC,
    VERSION,
    join_sections,
    read_varint,
    split_sections,
    write_varint,
)
from overfit.errors import UserError
from overfit.method import METHOD_IDS

_FIRST = MAGIC + bytes([VERSION << 4])
_CRC = 4  # bytes
# More than the method's number: the samples are 4:2:0; patches may have bases.
_YUV420, _WITH_BASES = 8, 16
# They bound what a forged head can ask for.
_MAX_FRAMES, _MAX_FRAME = 1 << 24, 1 << 26  # of a clip; pixels of a frame
Size = tuple[int, int, int]  # frames, height, width


class Head(NamedTuple):
    """What the file says before its patches."""

    method: str
    size: Size
    fps: Fraction
    patch: Size  # those at the far ends of the clip may be smaller
    format: str = "rgb"  # or "yuv420": the samples, as in `io.clip.Clip`

    @property
    def count(self) -> int:
        """Number of patches."""
        return math.prod(-(-n // p) for n, p in zip(self.size, self.patch, strict=True))


class Coded(NamedTuple):
    """What a patch is in a file."""

    sections: list[bytes]
    base: bytes = b""  # the first BASE_BYTES of its identity, where it needs one


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(_CRC, "big")


def pack(head: Head, patches: list[Coded]) -> bytes:
    """The whole file, from all patches in the order of `io.patches.patches`."""
    assert len(patches) == head.count
    with_bases = any(patch.base for patch in patches)
    contents = ([patch.base] * with_bases + patch.sections for patch in patches)
    bodies = [_checksum(body) + body for body in map(join_sections, contents)]
    rate = head.fps.numerator, head.fps.denominator
    first = METHOD_IDS[head.method] + (_YUV420 if head.format == "yuv420" else 0)
    first += _WITH_BASES if with_bases else 0
    numbers = (first, *head.size, *rate, *head.patch, *map(len, bodies))
    rest = b"".join(map(write_varint, numbers))
    rest = write_varint(len(rest)) + rest
    return b"".join([_FIRST, _checksum(_FIRST + rest), rest, *bodies])


def is_clip(start: bytes) -> bool:
    """Whether a file that starts so (4 bytes) is a clip of this version."""
    return start[:4] == _FIRST


class Reader:
    """Reads patches from an open file, each without the others.

    Raises UserError, when opened, for a file whose head is damaged or no clip.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self.head, self._with_bases, lengths, begin = _read_head(file)
        self._begins = [begin]
        for length in lengths:
            self._begins.append(self._begins[-1] + length)

    def patch(self, i: int, sections: int) -> Coded:
        """A patch, of so many sections; raises UserError where it is damaged or missing."""
        begin, end = self._begins[i], self._begins[i + 1]
        self._file.seek(begin)
        data = self._file.read(end - begin)
        checksum, body = data[:_CRC], data[_CRC:]
        if len(data) < end - begin or checksum != _checksum(body):
            raise UserError(f"patch {i + 1} of {self.head.count} is damaged or truncated")
        if not self._with_bases:
            return Coded(split_sections(body, 0, sections))
        base, *found = split_sections(body, 0, 1 + sections)
        if len(base) not in (0, BASE_BYTES):
            raise UserError(f"patch {i + 1} of {self.head.count} is damaged: it names no base")
        return Coded(found, base)


def _read_head(file: BinaryIO) -> tuple[Head, bool, list[int], int]:
    """(head, whether patches name bases, lengths of the patches, position of the first one)."""
    file.seek(0)
    first, checksum, start = file.read(4), file.read(_CRC), file.read(5)
    if not is_clip(first):
        raise UserError("this is not the .ovf file of a clip, or of another version")
    length, digits = read_varint(start, 0)
    file.seek(4 + _CRC)
    rest = file.read(digits + length)
    if len(rest) < digits + length or checksum != _checksum(first + rest):
        raise UserError("the head of the file is damaged or truncated (its checksum is wrong)")
    numbers, position = [], digits
    while position < len(rest):
        number, position = read_varint(rest, position)
        numbers.append(number)
    names = {value: name for name, value in METHOD_IDS.items()}
    if len(numbers) < 9 or min(numbers[1:9]) < 1:
        raise UserError("the head of the file is damaged: a size or the frame rate is missing")
    frames, height, width, numerator, denominator, *patch = numbers[1:9]
    if frames > _MAX_FRAMES or height * width > _MAX_FRAME:
        raise UserError(
            f"the head of the file says {frames} frames of {width}x{height} pixels, which no clip "
            "has: it is damaged"
        )
    form = "yuv420" if numbers[0] & _YUV420 else "rgb"
    name = names.get(numbers[0] & ~(_YUV420 | _WITH_BASES))
    if name is None:
        raise UserError(f"the clip is of method number {numbers[0]}, unknown to this version")
    head = Head(
        name,
        (frames, height, width),
        Fraction(numerator, denominator),
        (patch[0], patch[1], patch[2]),
        form,
    )
    if len(numbers) - 9 != head.count:
        raise UserError("the head of the file is damaged: it has another number of patches")
    return head, bool(numbers[0] & _WITH_BASES), numbers[9:], 4 + _CRC + len(rest)
