"""The sections of a file of a learned video codec. docs/stat_ssf.md specifies them.

header: size, length, frame rate and choices. networks: changes of the receiver's parameters, empty
for none. latents: groups of pictures, each an intra frame and those that are predicted from it.
"""

import itertools
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from overfit import settings
from overfit.bases.base import Base
from overfit.coding import laplace, update_prior
from overfit.coding.container import read_varint, write_varint
from overfit.coding.parameters import Change, Prior
from overfit.errors import UserError
from overfit.io.clip import ClipShape
from overfit.methods import pretrained
from overfit.methods.stat_ssf import frame_coding
from overfit.methods.stat_ssf.architecture import belongs, padded, parameter_shapes
from overfit.methods.stat_ssf.complexity import macs
from overfit.methods.stat_ssf.config import StatSsfConfig
from overfit.nn.gains import RATE_UNITS

MAX_SIDE, MAX_FRAMES = 1 << 14, 1 << 24
MAX_PIXELS = 1 << 23  # of a frame: 3840x2160 and a little more
SUBSETS = ("none", "subset", "decoder", "all")  # what a file may change


class Code(NamedTuple):
    """What a file carries; with its base it is a whole model."""

    config: StatSsfConfig
    shape: ClipShape
    rate: int  # in 1 / RATE_UNITS
    subset: str  # of SUBSETS
    changes: dict[str, Change]  # of that subset
    gops: list[bytes]  # the payload of each group of pictures


def configuration(base: Base | None) -> StatSsfConfig:
    """What a base was trained for; raises UserError for none, a damaged one, and one too old."""
    # It was trained before priors saw latents in bins of the middle rate: symbols would be others.
    if base is not None and "transform.growth" not in base.settings:
        raise UserError("the base is of an earlier version of method stat-ssf; train it again")
    return pretrained.configuration(base, StatSsfConfig(), parameter_shapes, "stat-ssf")


def changeable(subset: str, base: Base) -> dict[str, Prior]:
    """The arrays that a file with that subset may change."""
    return {path: prior for path, prior in base.arrays.items() if belongs(path, subset)}


def check_shape(shape: ClipShape) -> None:
    """Raises UserError for a clip that a file cannot hold."""
    sides = (shape.height, shape.width)
    if not all(1 <= side <= MAX_SIDE for side in sides) or math.prod(sides) > MAX_PIXELS:
        raise UserError(
            f"the clip has {shape.width}x{shape.height} pixels; a file of method stat-ssf holds up "
            f"to {MAX_SIDE} on a side and {MAX_PIXELS} in a frame"
        )
    if not 1 <= shape.frames <= MAX_FRAMES:
        raise UserError(f"a file of method stat-ssf holds 1 to {MAX_FRAMES} frames")


def lengths(frames: int, gop: int) -> list[int]:
    """Of the groups of pictures."""
    gop = gop or frames
    return [min(gop, frames - start) for start in range(0, frames, gop)]


# -- Writing and reading ---------------------------------------------------------------------------


def _write_header(code: Code) -> bytes:
    shape = code.shape
    numbers = (
        shape.width, shape.height, shape.frames, shape.fps.numerator, shape.fps.denominator,
        code.config.gop,
    )  # fmt: skip
    choices = bytes([SUBSETS.index(code.subset), code.rate])
    return b"".join(map(write_varint, numbers)) + choices


def _read_header(data: bytes, base: Base | None) -> Code:
    """What the header says, without changes and frames."""
    config = configuration(base)
    numbers, position = [], 0
    for _ in range(6):
        number, position = read_varint(data, position)
        numbers.append(number)
    width, height, frames, numerator, denominator, gop = numbers
    if not numerator or not denominator:
        raise UserError("the file's header is damaged: it has no frame rate")
    shape = ClipShape("rgb", frames, height, width, Fraction(numerator, denominator))
    try:
        check_shape(shape)
    except UserError:
        raise UserError(
            f"the file's header is damaged: it says {frames} frames of {width}x{height} pixels"
        ) from None
    if len(data) < position + 2:
        raise UserError("the file's header is too short: it is truncated or damaged")
    subset, rate = data[position], data[position + 1]
    if subset >= len(SUBSETS) or rate > RATE_UNITS * (len(config.rates.lmbdas) - 1):
        raise UserError("the file's header names an option that this version does not know")
    config = settings.override(config, {"gop": gop})
    return Code(config, shape, rate, SUBSETS[subset], {}, [])


def write(code: Code, base: Base) -> dict[str, bytes]:
    """{section: bytes}, in file order."""
    check_shape(code.shape)
    changes = laplace.Encoder()
    if code.subset != "none":
        update_prior.code_changes(changes, code.changes, changeable(code.subset, base))
    sizes = b"".join(write_varint(len(gop)) for gop in code.gops[:-1])
    return {
        "header": _write_header(code),
        "networks": changes.finish(),
        "latents": sizes + b"".join(code.gops),
    }


def _read_changes(sections: list[bytes], base: Base | None) -> Code:
    """All but the frames: what `info` needs."""
    code = _read_header(sections[0], base)
    assert base is not None
    if code.subset == "none":
        return code
    coder = laplace.Decoder(sections[1])
    changes = update_prior.code_changes(coder, None, changeable(code.subset, base))
    return code._replace(changes=changes)


def read(sections: list[bytes], base: Base | None) -> Code:
    """The inverse of `write`. Raises UserError on damaged data."""
    code = _read_changes(sections, base)
    data, position, sizes = sections[2], 0, []
    gop = code.config.gop or code.shape.frames
    count = -(-code.shape.frames // gop)  # a damaged file may say millions
    if count > len(data) + 1:
        raise UserError("the file is damaged: it has fewer groups of pictures than it says")
    for _ in range(count - 1):
        size, position = read_varint(data, position)
        sizes.append(size)
    gops = []
    for size in sizes:
        gops.append(data[position : position + size])
        position += size
    if position > len(data):
        raise UserError("a group of pictures is longer than the file: it is damaged")
    return code._replace(gops=[*gops, data[position:]])


# -- Frames ----------------------------------------------------------------------------------------


def model(code: Code, base: Base, encoder: dict | None = None) -> frame_coding.Model:
    return frame_coding.model(base, code.changes, encoder, code.rate, code.config)


def encoded(
    code: Code, base: Base, frames: Iterable[np.ndarray], encoder: dict | None = None
) -> tuple[Code, float]:
    """(code with the payloads of all frames, mean squared error in 0..1 of what is shown).

    frames: uint8 [height, width, 3], one by one. encoder: networks instead of the base's.
    """
    networks, size = model(code, base, encoder), (code.shape.height, code.shape.width)
    gops, errors = [], []
    source = iter(frames)
    for length in lengths(code.shape.frames, code.config.gop):
        coder, reference = laplace.Encoder(), None
        for frame in itertools.islice(source, length):
            x = _padded(frame)
            reference = frame_coding.code_frame(coder, networks, x, reference, x.shape[1:])
            errors.append(np.mean(np.square(_cropped(reference, size) / 255.0 - frame / 255.0)))
        gops.append(coder.finish())
    return code._replace(gops=gops), float(np.mean(errors))


def _padded(frame: np.ndarray) -> np.ndarray:
    """uint8 [height, width, 3] -> float32 [3, rows, columns], edges repeated."""
    height, width, _ = frame.shape
    rows, columns = padded(height, width)
    around = ((0, rows - height), (0, columns - width), (0, 0))
    return np.pad(frame, around, mode="edge").transpose(2, 0, 1).astype(np.float32) / np.float32(
        255
    )


def _cropped(shown: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.ascontiguousarray(shown[:, : size[0], : size[1]].transpose(1, 2, 0))


def decoded(code: Code, base: Base) -> Iterator[np.ndarray]:
    """uint8 [height, width, 3] of each frame, as soon as its symbols are decoded."""
    networks, size = model(code, base), (code.shape.height, code.shape.width)
    for gop, length in zip(code.gops, lengths(code.shape.frames, code.config.gop), strict=True):
        coder, reference = laplace.Decoder(gop), None
        for _ in range(length):
            reference = frame_coding.code_frame(coder, networks, None, reference, padded(*size))
            yield _cropped(reference, size)


def frames(sections: list[bytes], base: Base | None) -> Iterator[tuple[np.ndarray]]:
    code = read(sections, base)
    assert base is not None
    for frame in decoded(code, base):
        yield (frame,)


def reconstruct(code: Code, base: Base) -> np.ndarray:
    """uint8 [frames, height, width, 3]."""
    return np.stack(list(decoded(code, base)))


def describe(sections: list[bytes], base: Base | None = None) -> dict[str, Any]:
    """What the header and the changes say, for `overfit info`."""
    code = _read_changes(sections, base)
    shape = code.shape
    return {
        "width": shape.width,
        "height": shape.height,
        "frames": shape.frames,
        "fps": float(shape.fps),
        "channels": 3,
        "macs_per_pixel": macs((3, shape.frames, shape.height, shape.width), code.config)["total"],
        "params": sum(math.prod(change.k.shape) for change in code.changes.values()),
        "adapted": code.subset,
        "rate": code.rate / RATE_UNITS,
        "gop": code.config.gop,
    }
