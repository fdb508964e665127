"""Rate-distortion curves in files: the JSON of CompressAI, so that its plots read ours.

A file is {"name", "description", "results": {"bpp": [...], "psnr-rgb": [...], "ms-ssim-rgb": [...],
"encoding_time": [...], "decoding_time": [...]}} with lists in parallel, one place per point; `null`
stands for what is not known. Ours add "source" and "macs_per_pixel". Read as well: the keys "psnr"
and "ms-ssim", MS-SSIM in dB ("ms-ssim-db-rgb"), lists without "results" around them, and the
"bitrate" in kbit/s of CompressAI's files for video.
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from overfit.errors import UserError
from overfit.io.atomic import atomic_write
from overfit.metrics.ms_ssim import ms_ssim_db

Values = tuple[float | None, ...]
METRICS = ("psnr", "ms_ssim", "psnr_yuv")  # fields of a curve that are qualities


class Curve(NamedTuple):
    """Rate-distortion points of one codec on one image, clip or data set; fields in parallel."""

    name: str
    bpp: tuple[float, ...]
    psnr: Values  # dB; None where not known
    ms_ssim: Values  # 0..1
    description: str = ""
    source: str = ""  # where the figures come from, with data set and averaging
    macs_per_pixel: float | None = None  # of the decoder
    encoding_time: Values = ()  # seconds
    decoding_time: Values = ()
    psnr_yuv: Values = ()  # dB, of 4:2:0 clips: planes weighted 6:1:1; () or in parallel as well


def points(curve: Curve, metric: str) -> list[tuple[float, float]]:
    """The points (bpp, quality in dB) whose quality is known and finite, by rate.

    Args:
      metric: one of `METRICS`; MS-SSIM is turned into dB.
    """
    values = getattr(curve, metric) or (None,) * len(curve.bpp)
    if metric == "ms_ssim":
        values = [_to_db(value) for value in values]
    pairs = zip(curve.bpp, values, strict=True)
    return sorted((rate, v) for rate, v in pairs if v is not None and math.isfinite(v))


def _to_db(value: float | None) -> float | None:
    return None if value is None else ms_ssim_db(value)


# -- Reading ---------------------------------------------------------------------------------------


def read_curve(path, pixels_per_second: float | None = None) -> Curve:
    """The curve in a JSON file; its name is the file's where it has none.

    Args:
      path: of the file.
      pixels_per_second: width x height x frames per second, for a file that has kbit/s, not bpp.

    Raises:
      UserError: the file cannot be read or is no such curve; the message names the file.
    """
    try:
        document = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"'{path}' is not a JSON file: {error}") from error
    try:
        return _curve(document, Path(path).stem, pixels_per_second)
    except ValueError as error:
        raise UserError(f"'{path}' is not a rate-distortion curve: {error}") from error


def _curve(document: Any, name: str, pixels_per_second: float | None) -> Curve:
    """The curve of a parsed file; ValueError says what is wrong with it."""
    results = document.get("results", document) if isinstance(document, dict) else None
    if not isinstance(results, dict):
        raise ValueError("it has no object 'results'")
    bpp = _rates(results, pixels_per_second)

    def column(*keys: str) -> Values:
        key = next((key for key in keys if key in results), None)
        return _numbers(results, key, len(bpp)) if key else (None,) * len(bpp)

    ms_ssim = column("ms-ssim-rgb", "ms-ssim")
    if "ms-ssim-db-rgb" in results and ms_ssim.count(None) == len(bpp):
        ms_ssim = tuple(
            None if v is None else 1 - 10 ** (-v / 10) for v in column("ms-ssim-db-rgb")
        )
    if any(v is not None and not 0 <= v <= 1 for v in ms_ssim):
        raise ValueError("its MS-SSIM is not within 0..1 (key 'ms-ssim-db-rgb' is for dB)")
    macs = document.get("macs_per_pixel")
    return Curve(
        name=_text(document, "name") or name,
        bpp=bpp,
        psnr=column("psnr-rgb", "psnr"),
        ms_ssim=ms_ssim,
        description=_text(document, "description"),
        source=_text(document, "source"),
        macs_per_pixel=None if macs is None else _number(macs, "macs_per_pixel"),
        encoding_time=column("encoding_time") if "encoding_time" in results else (),
        decoding_time=column("decoding_time") if "decoding_time" in results else (),
        psnr_yuv=column("psnr-yuv") if "psnr-yuv" in results else (),
    )


def _rates(results: dict, pixels_per_second: float | None) -> tuple[float, ...]:
    """Bits per pixel of all points."""
    key, scale = "bpp", 1.0
    if "bpp" not in results and "bitrate" in results:
        if pixels_per_second is None:
            raise ValueError(
                "it has a 'bitrate' and no 'bpp'; say how many pixels a second has "
                "(--pixels-per-second, width x height x frames)"
            )
        key, scale = "bitrate", 1000 / pixels_per_second
    values = [v for v in _numbers(results, key, None) if v is not None and v > 0]
    if not values or len(values) < len(results[key]):
        raise ValueError(f"'{key}' is not a list of rates above 0")
    return tuple(scale * value for value in values)


def _numbers(results: dict, key: str, length: int | None) -> Values:
    """A list of numbers or nulls; what is not finite counts as not known."""
    values = results.get(key)
    if not isinstance(values, list):
        raise ValueError(f"it has no list '{key}'")
    if length not in (None, len(values)):
        raise ValueError(f"'{key}' has {len(values)} values and there are {length} rates")
    return tuple(_number(value, key) for value in values)


def _number(value: Any, key: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"'{key}' has a value that is no number")
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer beyond float64
        raise ValueError(f"'{key}' has a number that is too large") from None


def _text(document: dict, key: str) -> str:
    value = document.get(key, "")
    return value if isinstance(value, str) else ""


# -- Writing ---------------------------------------------------------------------------------------


def write_curve(path, curve: Curve) -> None:
    """Writes a curve so that `read_curve` and CompressAI read it; an infinite PSNR becomes null.

    A quality that is known for no point is left out.

    Raises:
      UserError: the file cannot be written.
      ValueError: the fields are not of one length.
    """
    columns: dict[str, Values] = {"bpp": curve.bpp}
    qualities = {
        "psnr-rgb": curve.psnr, "ms-ssim-rgb": curve.ms_ssim, "psnr-yuv": curve.psnr_yuv
    }  # fmt: skip
    for key, values in qualities.items():
        if any(value is not None for value in values):
            columns[key] = values
    for key in ("encoding_time", "decoding_time"):
        if getattr(curve, key):
            columns[key] = getattr(curve, key)
    for key, values in columns.items():
        if len(values) != len(curve.bpp):
            raise ValueError(f"{key} has {len(values)} values, bpp has {len(curve.bpp)}")
    document = {
        "name": curve.name,
        "description": curve.description,
        "source": curve.source,
        "macs_per_pixel": _finite(curve.macs_per_pixel),
        "results": {key: [_finite(value) for value in values] for key, values in columns.items()},
    }
    with atomic_write(path) as file:
        file.write(json.dumps(document, indent=1).encode() + b"\n")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
