"""Still-image codecs inside Pillow's wheels, and JPEG XL beside it.

The settings aim at PSNR and at small files, as anchors in the literature do, not at speed.
"""

import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, features

from overfit.codecs.codec import Codec, damaged
from overfit.errors import UserError


class _Format(NamedTuple):
    """A file format of Pillow and how it is written."""

    name: str  # Pillow's
    options: Mapping[str, Any]
    max_side: int | None = None  # px; limit of the encoder or the decoder


def _codec(
    name: str,
    extension: str,
    form: _Format,
    ladder: tuple[float, ...],
    scale: range,
    knob: str = "quality",
    missing=lambda: None,
) -> Codec:
    def encode(image: np.ndarray, value: float) -> bytes:
        return _encode(image, value, form, name)

    def decode(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
        return _decode(data, shape, form, name)

    return Codec(name, "image", extension, knob, ladder, scale, encode, decode, missing)


def _encode(image: np.ndarray, value: float, form: _Format, name: str) -> bytes:
    if form.max_side and max(image.shape[:2]) > form.max_side:
        raise UserError(
            f"an image of {image.shape[1]} x {image.shape[0]} px is too large for {name}, which "
            f"ends at {form.max_side} px a side; compare on a part of it"
        )
    colour = image.ndim == 3 and image.shape[2] == 3
    options = dict(form.options)
    if form.name == "JPEG2000":
        # The transform to YCbCr is off by default; without it an RGB file loses some 4 dB.
        options |= {"quality_layers": [value], "mct": int(colour)}
    else:
        options["quality"] = int(value)
    if form.name == "AVIF" and not colour:
        options["subsampling"] = "4:0:0"
    buffer = io.BytesIO()
    picture = Image.fromarray(image if colour else image.reshape(image.shape[:2]))
    picture.save(buffer, format=form.name, **options)
    return buffer.getvalue()


def _decode(data: bytes, shape: tuple[int, ...], form: _Format, name: str) -> np.ndarray:
    # WebP has no grey and gives three equal channels; converting them to one is exact.
    mode = "RGB" if len(shape) == 3 and shape[2] == 3 else "L"
    try:
        with Image.open(io.BytesIO(data), formats=(form.name,)) as picture:
            pixels = np.asarray(picture.convert(mode))
    except Exception as error:  # Pillow's readers raise nearly anything on damaged files
        raise damaged(name) from error
    if pixels.shape[:2] != tuple(shape[:2]):
        raise damaged(
            name,
            f"it holds {pixels.shape[1]}x{pixels.shape[0]} px instead of {shape[1]}x{shape[0]}",
        )
    return pixels.reshape(shape)


def _missing_avif() -> str | None:
    if not features.check("avif"):
        return "AVIF needs Pillow 11.3 or later; run: pip install --upgrade pillow"
    return None


def _missing_jxl() -> str | None:
    try:
        import pillow_jxl  # noqa: F401  (registers the format with Pillow)
    except ImportError:
        return "JPEG XL needs pillow-jxl-plugin; run: pip install 'overfit[anchors]'"
    return None


def _avif(name: str, subsampling: str, ladder: tuple[float, ...]) -> Codec:
    options = {
        "subsampling": subsampling,
        "codec": "aom",
        "speed": 4,  # 0 (slowest) to 10
        # Tiles and parallel rows would make the bytes depend on the number of cores.
        "autotiling": False,
        "max_threads": 1,
        "advanced": {"tune": "psnr"},  # libavif's own choice aims at perceived quality
    }
    form = _Format("AVIF", options, 32768)
    return _codec(name, ".avif", form, ladder, range(0, 101), missing=_missing_avif)


CODECS = (
    # The Huffman tables are optimized, chroma is halved: Pillow's default and common practice.
    _codec(
        "jpeg",
        ".jpg",
        _Format("JPEG", {"optimize": True, "subsampling": "4:2:0"}, 65500),
        (5, 15, 35, 60, 80, 90),
        range(1, 101),
    ),
    # Always 4:2:0. Method 6 is the slowest and smallest.
    _codec(
        "webp",
        ".webp",
        _Format("WEBP", {"method": 6}, 16383),
        (1, 15, 45, 75, 88, 95),
        range(0, 101),
    ),
    # The lossy path of JPEG 2000 Part 1 (9/7 wavelet) by OpenJPEG, in a .jp2 file.
    _codec(
        "jpeg2000",
        ".jp2",
        _Format("JPEG2000", {"irreversible": True, "quality_mode": "rates"}),
        (240, 120, 60, 30, 18, 12),
        range(1000, 0, -1),
        knob="ratio",
    ),
    # 4:4:4 is what avifenc takes for RGB sources; 4:2:0 is what cameras and web sites use.
    _avif("avif", "4:4:4", (10, 25, 45, 65, 78, 88)),
    _avif("avif-420", "4:2:0", (10, 25, 45, 65, 78, 88)),
    # VarDCT in XYB, effort 7 (the reference encoder's default). Butteraugli, not PSNR, is what
    # libjxl aims at, and it has no other aim.
    _codec(
        "jxl",
        ".jxl",
        _Format("JXL", {"effort": 7}),
        (5, 20, 45, 70, 85, 93),
        range(1, 100),  # 100 is lossless and works otherwise
        missing=_missing_jxl,
    ),
)
