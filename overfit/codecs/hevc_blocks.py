"""The prediction blocks of HEVC streams, by libde265 in a process of its own (see de265.py).

Nothing that a stream does there can harm this process: it may crash, run out of memory or take too
long, and is refused. Whether the library here is one that this works with is found out once per
process, on a clip whose motion is known.
"""

import functools
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from overfit.codecs import base_stream, de265, libav
from overfit.codecs.base_stream import BaseStream
from overfit.codecs.blocks import BLOCK, UNIT, block_map
from overfit.codecs.codec import damaged
from overfit.errors import UserError
from overfit.io.clip import Clip, ClipShape

_REMEDY = "run: pip install 'overfit[video]'"
_PAN = (3, 2)  # px per frame to the right and down, of the clip in the self-test


def read(stream: BaseStream, shape: ClipShape) -> Iterator[np.ndarray]:
    """The blocks of each frame, [n] of `BLOCK`, in the order in which frames are shown.

    Raises:
      UserError: libde265 is not there or of an unknown kind; the stream is damaged, or not of this
        shape, which may turn out at its end.
    """
    if sentence := missing():
        raise UserError(sentence)
    return _checked(stream, shape)


@functools.cache
def missing() -> str | None:
    """None, or why blocks cannot be read here and what to do: tried with a known pan."""
    if sentence := libav.missing("libx265"):
        return sentence
    if de265.find() is None:
        return f"reading the blocks of HEVC streams needs libde265; {_REMEDY}"
    clip = _panning_clip()
    stream = base_stream.encode(clip, 12, speed="veryfast", bframes=False)
    try:
        for index, blocks in enumerate(_checked(stream, clip.shape)):
            vectors = blocks["vectors"][blocks["uses"][:, 0], 0]
            # The content moves to the right, so the blocks come from the left.
            if index and np.median(vectors, axis=0).tolist() != [-4 * _PAN[0], -4 * _PAN[1]]:
                return f"the libde265 here gives wrong motion vectors; {_REMEDY}"
    except UserError:
        return f"the libde265 here is not of a kind whose blocks can be read; {_REMEDY}"
    return None


def _panning_clip() -> Clip:
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 256, (160, 160)).astype(np.float64)
    texture = sum(np.roll(texture, (i, j), (0, 1)) for i in range(5) for j in range(5)) / 25
    texture = np.asarray(2 * texture - 128).clip(0, 255).astype(np.uint8)
    starts = [(20 - _PAN[1] * t, 20 - _PAN[0] * t) for t in range(3)]
    luma = np.stack([texture[y : y + 128, x : x + 128] for y, x in starts])
    chroma = np.full((3, 64, 64), 128, np.uint8)
    return Clip((luma, chroma, chroma), Fraction(25))


def _checked(stream: BaseStream, shape: ClipShape) -> Iterator[np.ndarray]:
    """The blocks, checked to cover each frame; at the end the checksum of all samples, too."""
    for item in decode(stream.data, shape):
        if isinstance(item, int):
            if item != stream.checksum:
                raise damaged(stream.codec, "libde265 decodes it to other pictures than FFmpeg")
        elif block_map(item, shape.height, shape.width) is None:
            raise damaged(stream.codec, "its blocks do not cover a frame")
        else:
            yield item


def decode(data: bytes, shape: ClipShape) -> Iterator[np.ndarray | int]:
    """The blocks of each frame of a stream of 8 or more bits, then the checksum of all samples.

    Raises UserError where the process breaks off.
    """
    arguments = [str(value) for value in (shape.height, shape.width, shape.frames)]
    height, width = shape.height + de265.PADDING, shape.width + de265.PADDING
    most = height * width // UNIT**2  # blocks of a picture
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-m", "overfit.codecs.de265", *arguments],
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Threads of a linear algebra library would only take address space.
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        )
        reader = _Reader(process, 60 + 2e-6 * shape.frames * height * width)
        try:
            for _ in range(shape.frames):
                (count,) = struct.unpack("<I", reader.take(4))
                if count > most:
                    raise damaged("x265")
                yield np.frombuffer(reader.take(count * BLOCK.itemsize), BLOCK)
            yield struct.unpack("<I", reader.take(4))[0]
        finally:
            process.kill()
            process.communicate()


class _Reader:
    """Reads what a process writes, which is killed when all the waiting for it exceeds a limit.

    The limit is a hundred times what it usually takes. Whoever uses the frames may take his time
    between them: fits do.
    """

    def __init__(self, process: subprocess.Popen, seconds: float):
        self._process, self._left = process, seconds

    def take(self, count: int) -> bytes:
        assert self._process.stdout is not None
        begin = time.monotonic()
        watch = threading.Timer(self._left, self._process.kill)
        watch.daemon = True
        watch.start()
        data = self._process.stdout.read(count)
        watch.cancel()
        self._left = max(self._left - (time.monotonic() - begin), 0.0)
        if len(data) < count:
            raise damaged("x265", "libde265 cannot decode it to its end")
        return data
