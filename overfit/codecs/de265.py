"""libde265 by ctypes: the prediction blocks of every picture of an HEVC stream.

The library's interface tells nothing of blocks, so they are read from its memory: `de265_image`
holds seven arrays of per-block data one after the other, found by what they must have in common.
That is safe neither from streams made to break it nor from other versions of the library. This
module is therefore run as a program of its own, with limits on memory and time; hevc_blocks.py
starts it and checks what it says:

    python -m overfit.codecs.de265 HEIGHT WIDTH FRAMES < STREAM > BLOCKS

writes for each picture, in the order in which they are shown, the number of its blocks (uint32)
and the blocks; then CRC-32 of all samples, as `base_stream.checksum` has it (of more than 8 bits:
two bytes each, little-endian). HEIGHT, WIDTH and FRAMES are those of the clip; a stream of more or
larger pictures is given up.
"""

import ctypes
import ctypes.util
import functools
import importlib.metadata
import struct
import sys
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from overfit.codecs.blocks import BLOCK, UNIT

# Versions whose memory was seen to have this layout: 1.0.11, 1.0.16 and 1.1.3.
OLDEST, NEWEST = (1, 0, 11), (1, 1, 99)

# Pictures are coded with at least 128 px a side, and in whole coding tree blocks of up to 64 px.
PADDING = 192

_INTRA = 0  # PredMode
# Parts of a coding block by PartMode (HEVC, table 7-10): x, y, width, height in quarters of it.
_PARTS = np.zeros((8, 4, 4), np.int64)
for _mode, _parts in enumerate(
    (
        [(0, 0, 4, 4)],  # 2Nx2N
        [(0, 0, 4, 2), (0, 2, 4, 2)],  # 2NxN
        [(0, 0, 2, 4), (2, 0, 2, 4)],  # Nx2N
        [(0, 0, 2, 2), (2, 0, 2, 2), (0, 2, 2, 2), (2, 2, 2, 2)],  # NxN
        [(0, 0, 4, 1), (0, 1, 4, 3)],  # 2NxnU
        [(0, 0, 4, 3), (0, 3, 4, 1)],  # 2NxnD
        [(0, 0, 1, 4), (1, 0, 3, 4)],  # nLx2N
        [(0, 0, 3, 4), (3, 0, 1, 4)],  # nRx2N
    )
):
    _PARTS[_mode, : len(_parts)] = _parts

# Of a coding block, at its corner (0 elsewhere): log2 of its size | PartMode << 3, and PredMode.
_CODING = np.dtype([("shape", "u1"), ("prediction", "u1"), ("qp", "i1")])
_MOTION = np.dtype([("uses", "u1", 2), ("reference", "i1", 2), ("vectors", "<i2", (2, 2))])


# -- The library -----------------------------------------------------------------------------------


def find() -> str | None:
    """Path or name of libde265: the one in pillow-heif's wheel, else the system's."""
    try:
        files = importlib.metadata.files("pillow-heif") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    bundled = [str(file.locate()) for file in files if file.name.startswith("libde265")]
    return bundled[0] if bundled else ctypes.util.find_library("de265")


@functools.cache
def load() -> ctypes.CDLL:
    """The library with the types of its functions. Raises OSError where it cannot be used."""
    path = find()
    if path is None:
        raise OSError("there is no libde265")
    library = ctypes.CDLL(path)
    pointer, number, numbers = ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_int)
    for name, result, *arguments in (
        ("get_version", ctypes.c_char_p),
        ("new_decoder", pointer),
        ("free_decoder", number, pointer),
        ("push_data", number, pointer, ctypes.c_char_p, number, ctypes.c_int64, pointer),
        ("flush_data", number, pointer),
        ("decode", number, pointer, numbers),
        ("get_next_picture", pointer, pointer),
        ("get_image_width", number, pointer, number),
        ("get_image_height", number, pointer, number),
        ("get_bits_per_pixel", number, pointer, number),
        ("get_image_plane", pointer, pointer, number, numbers),
    ):
        function = getattr(library, f"de265_{name}")
        function.restype, function.argtypes = result, arguments
    version = library.de265_get_version().decode()
    if not OLDEST <= tuple(map(int, version.split("."))) <= NEWEST:
        raise OSError(f"libde265 {version} is not one of the versions that are known")
    return library


# -- Its memory ------------------------------------------------------------------------------------


class _Array(NamedTuple):
    """One `MetaDataArray`: data per square of 2^log2_unit px."""

    address: int
    size: int
    log2_unit: int
    columns: int
    rows: int

    def read(self, item: np.dtype) -> np.ndarray:
        """[rows, columns] of items."""
        data = ctypes.string_at(self.address, self.size * item.itemsize)
        return np.frombuffer(data, item).reshape(self.rows, self.columns)


_ARRAY = struct.Struct("<QiB3xii")  # the unit is a byte in some versions, an int in others
_SEARCHED = 1024  # bytes of the picture's own memory


def _arrays(image: int, height: int, width: int) -> tuple[_Array, _Array]:
    """Of a picture: the arrays of coding blocks and of motion per 4x4 px."""
    memory = ctypes.string_at(image, _SEARCHED)
    for start in range(0, _SEARCHED - 7 * _ARRAY.size, 8):
        # Coding tree blocks, coding blocks, motion, intra modes, chroma's, transforms, edges.
        arrays = [_Array(*_ARRAY.unpack_from(memory, start + i * _ARRAY.size)) for i in range(7)]
        tree, coding, motion, *_, edges = arrays
        if (
            all(a.address > 4096 and a.size == a.rows * a.columns > 0 for a in arrays)
            and all(a.rows << a.log2_unit >= height for a in (tree, coding, motion, edges))
            and all(a.columns << a.log2_unit >= width for a in (tree, coding, motion, edges))
            and (motion.log2_unit, edges.log2_unit) == (2, 2)
            and 3 <= coding.log2_unit <= tree.log2_unit <= 6
        ):
            return coding, motion
    raise ValueError("this libde265 keeps its pictures in another way")


def blocks_of(coding: np.ndarray, log2_unit: int, motion: np.ndarray) -> np.ndarray:
    """The blocks of a picture, [n] of `BLOCK`.

    coding: `_CODING` [rows, columns], per 2^log2_unit px.
    motion: `_MOTION` [rows, columns], per 4x4 px.
    """
    rows, columns = np.nonzero(coding["shape"] & 7)
    found = coding[rows, columns]
    size, mode = 1 << (found["shape"] & 7).astype(np.int64), found["shape"] >> 3 & 7
    parts = _PARTS[mode] * (size // UNIT)[:, None, None]  # (coding blocks, 4, 4) in px
    parts[..., 0] += (columns << log2_unit)[:, None]
    parts[..., 1] += (rows << log2_unit)[:, None]
    present = parts[..., 2] > 0
    x, y, width, height = parts[present].T
    at = motion[y // UNIT, x // UNIT]
    # Intra blocks keep the motion of earlier pictures in some versions.
    inter = ((found["prediction"] & 3) != _INTRA)[:, None].repeat(4, axis=1)[present]
    blocks = np.zeros(len(x), BLOCK)
    blocks["x"], blocks["y"], blocks["width"], blocks["height"] = x, y, width, height
    blocks["uses"] = (at["uses"] != 0) & inter[:, None]
    blocks["vectors"] = np.where(blocks["uses"][..., None], at["vectors"], 0)
    return blocks


# -- Decoding --------------------------------------------------------------------------------------


def _images(data: bytes) -> Iterator[int]:
    """Addresses of the decoded pictures, each valid until the next is asked for."""
    library = load()
    decoder, more = library.de265_new_decoder(), ctypes.c_int(1)
    library.de265_push_data(decoder, data, len(data), 0, None)
    library.de265_flush_data(decoder)
    while more.value and library.de265_decode(decoder, ctypes.byref(more)) == 0:
        while image := library.de265_get_next_picture(decoder):
            yield image
    library.de265_free_decoder(decoder)


def _plane(image: int, channel: int) -> np.ndarray:
    """[height, width] of uint8, or of uint16 for more than 8 bits."""
    library, stride = load(), ctypes.c_int()
    address = library.de265_get_image_plane(image, channel, ctypes.byref(stride))
    height = library.de265_get_image_height(image, channel)
    dtype = np.dtype("u1" if library.de265_get_bits_per_pixel(image, channel) == 8 else "<u2")
    rows = np.frombuffer(ctypes.string_at(address, height * stride.value), dtype)
    return rows.reshape(height, -1)[:, : library.de265_get_image_width(image, channel)]


def _write_all(data: bytes, height: int, width: int, frames: int, out: BinaryIO) -> None:
    library, crc = load(), 0
    for index, image in enumerate(_images(data)):
        coded = library.de265_get_image_height(image, 0), library.de265_get_image_width(image, 0)
        excess = coded[0] - height, coded[1] - width
        if index == frames or min(excess) < 0 or max(excess) > PADDING:
            raise ValueError("the stream is not of this clip")
        coding, motion = _arrays(image, *coded)
        cells = coding.read(_CODING), coding.log2_unit, motion.read(_MOTION)
        blocks = blocks_of(*cells)
        out.write(struct.pack("<I", len(blocks)) + blocks.tobytes())
        for channel, step in enumerate((1, 2, 2)):
            samples = _plane(image, channel)[: -(-height // step), : -(-width // step)]
            crc = zlib.crc32(np.ascontiguousarray(samples).data, crc)
    out.write(struct.pack("<I", crc))


def _limit(pixels: int, stream: int) -> None:
    """Bounds the memory of this process, but on Windows, which has no such limit."""
    try:
        import resource
    except ImportError:
        return
    # Up to 17 pictures are kept, each with some 4 bytes of samples and block data per pixel; a
    # gigabyte is for Python.
    memory = (1 << 30) + 200 * pixels + 8 * stream
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


if __name__ == "__main__":
    _stream = sys.stdin.buffer.read()
    _height, _width, _frames = map(int, sys.argv[1:])
    _limit((_height + PADDING) * (_width + PADDING), len(_stream))
    _write_all(_stream, _height, _width, _frames, sys.stdout.buffer)
