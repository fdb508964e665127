"""What an evaluation has found: its records, the pictures behind them, and their averages.

A record is one JSON object (one signal, one codec, one setting):

    key         of the job: input, codec, setting
    dataset, name, input (path), crop (px or null), kind ("image" or "video")
    label       name of the curve that it belongs to
    codec       "overfit" or the name of the classical codec
    setting     {knob: value}: what varies along the curve
    width, height, frames, channels, pixels, bytes, bpp
    psnr, mse, ms_ssim          RGB or grey, 8-bit; null where not defined
    psnr_y, psnr_u, psnr_v, psnr_yuv   of 4:2:0 clips
    seconds_encode, seconds_decode, seconds_compile, macs_per_pixel, bits, loss, steps, seed
    file        of the coded signal, relative to the folder
    device, versions
"""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from overfit.errors import UserError
from overfit.evaluation.datasets import LAYOUTS, Instance
from overfit.metrics.psnr import pooled_psnr
from overfit.report.curves import Curve

AVERAGING = {
    "mean": "bpp, PSNR and MS-SSIM per picture, then the mean over pictures",
    "pooled": "bits over pixels and PSNR of the mean squared error over all pixels; MS-SSIM: mean",
}


def central_crop(image: np.ndarray, size: int | None) -> np.ndarray:
    """The central size x size part of [H, W, C], or all of it for None.

    Raises:
      UserError: the image is smaller.
    """
    if size is None:
        return image
    if min(image.shape[:2]) < size:
        raise UserError(f"an image of {image.shape[1]}x{image.shape[0]} px has no crop of {size}")
    top, left = ((side - size) // 2 for side in image.shape[:2])
    return np.ascontiguousarray(image[top : top + size, left : left + size])


def load_signal(instance: Instance, crop: int | None, frames: int | None = None):
    """uint8 [H, W, 3] or [H, W, 1], or a Clip."""
    if instance.kind == "image":
        from overfit.io.images import load_image

        return central_crop(load_image(instance.path), crop)
    from overfit.io.clips import load_clip

    if crop is not None:
        raise UserError("--crop is for pictures; cut clips before")
    return load_clip(instance.path, frames)


def decode_file(data: bytes, codec: str, shape):
    """The signal in a coded file, as the codec named in a record decodes it; shape: `.shape`."""
    if codec == "overfit":
        from overfit.decoding import decode

        return np.reshape(decode(data), shape)
    from overfit.codecs import codec as codecs

    return codecs.load(codec).decode(data, shape)


def original(record: dict):
    """The signal that was coded: uint8 [H, W, 3] or [H, W, 1], or a Clip.

    Raises:
      UserError: it is not where it was.
    """
    instance = Instance(record["dataset"], record["name"], record["input"], record["kind"])
    return load_signal(instance, record["crop"], record["frames"])


def decoded(record: dict, folder: str | os.PathLike[str]) -> np.ndarray:
    """The picture in the coded file of a record: uint8 [H, W, 3] or [H, W, 1].

    Raises:
      UserError: the file is missing or damaged.
    """
    path = Path(folder) / record["file"]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror}") from error
    shape = (record["height"], record["width"], record["channels"])
    return decode_file(data, record["codec"], shape)


def _groups(records: Iterable[dict]) -> dict[str, dict[float, dict[str, dict]]]:
    """label -> value of its knob -> name -> record."""
    groups: dict[str, dict[float, dict[str, dict]]] = {}
    for record in records:
        (value,) = record["setting"].values()
        groups.setdefault(record["label"], {}).setdefault(value, {})[record["name"]] = record
    return groups


def common_names(records: Iterable[dict]) -> list[str]:
    """The names that every curve has at each of its settings, which alone can be averaged over.

    An average over other pictures would be another figure.
    """
    sets = [set(names) for label in _groups(records).values() for names in label.values()]
    return sorted(set.intersection(*sets)) if sets else []


def average_curves(records: list[dict], averaging: str = "mean") -> list[Curve]:
    """One curve per label, each point an average over `common_names`; [] where there are none.

    averaging: "mean" or "pooled", see `AVERAGING`. The two differ by several per cent of BD-rate.
    """
    names = common_names(records)
    if not names:
        return []
    curves = []
    for label, settings in _groups(records).items():
        points = [[settings[value][name] for name in names] for value in settings]
        points.sort(key=lambda point: _bpp(point, averaging))
        first = points[0][0]
        curves.append(
            Curve(
                name=label,
                bpp=tuple(_bpp(point, averaging) for point in points),
                psnr=tuple(_psnr(point, averaging) for point in points),
                ms_ssim=tuple(_mean(point, "ms_ssim") for point in points),
                description=f"{label} on {_members(first['dataset'], names)}",
                source=f"overfit evaluate; {AVERAGING[averaging]}",
                macs_per_pixel=_mean(points[0], "macs_per_pixel"),
                encoding_time=tuple(_mean(point, "seconds_encode") for point in points),
                decoding_time=tuple(_mean(point, "seconds_decode") for point in points),
            )
        )
    return curves


def _members(dataset: str, names: list[str]) -> str:
    """Names the members, and says how many a public set has."""
    total = LAYOUTS[dataset].count if dataset in LAYOUTS else None
    of = "" if total is None else f" of {total}"
    return f"{dataset}, {len(names)}{of}: {', '.join(names)}"


def _mean(point: list[dict], key: str) -> float | None:
    values = [record.get(key) for record in point]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _bpp(point: list[dict], averaging: str) -> float:
    if averaging == "pooled":
        return 8 * sum(r["bytes"] for r in point) / sum(r["pixels"] for r in point)
    return float(np.mean([record["bpp"] for record in point]))


def _psnr(point: list[dict], averaging: str) -> float | None:
    """None where a picture is lossless: it has no PSNR."""
    if averaging == "pooled":
        return pooled_psnr([r["mse"] for r in point], [r["pixels"] for r in point])
    return _mean(point, "psnr")
