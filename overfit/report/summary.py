"""Averages over the pictures of an evaluation, as curves, and the summary beside its records."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overfit.io.datasets import LAYOUTS
from overfit.io.json_file import write_json
from overfit.jobs.job import Failure
from overfit.jobs.records import slug
from overfit.jobs.store import read_results
from overfit.metrics.psnr import pooled_psnr
from overfit.report.curves import Curve, write_curve

AVERAGING = {
    "mean": "bpp, PSNR and MS-SSIM per picture, then the mean over pictures",
    "pooled": "bits over pixels and PSNR of the mean squared error over all pixels; MS-SSIM: mean",
}


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
                psnr_yuv=tuple(_mean(point, "psnr_yuv") for point in points),
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
    """None where a signal has none: a lossless one, or a 4:2:0 clip."""
    if averaging == "pooled" and all(record["mse"] is not None for record in point):
        return pooled_psnr([r["mse"] for r in point], [r["pixels"] for r in point])
    return _mean(point, "psnr")


def summarize(
    folder: str | os.PathLike[str], failures: Sequence[Failure], averaging: str = "mean"
) -> dict[str, Any]:
    """Writes FOLDER/curves/*.json, in CompressAI's schema, and FOLDER/summary.json; the latter.

    The summary is of all results in the folder, whenever they were made.
    """
    records, damaged = read_results(folder)
    path = Path(folder)
    curves = average_curves(records, averaging)
    (path / "curves").mkdir(exist_ok=True)
    for old in (path / "curves").glob("*.json"):
        old.unlink()
    for curve in curves:
        write_curve(path / "curves" / f"{slug(curve.name)}.json", curve)
    names = common_names(records)
    summary = {
        "averaging": averaging,
        "averaging_means": AVERAGING[averaging],
        "averaged_over": names,
        "left_out": sorted({record["name"] for record in records} - set(names)),
        "results": len(records),
        "curves": [curve._asdict() for curve in curves],
        "failures": [failure._asdict() for failure in failures],
        "damaged": damaged,
    }
    write_json(path / "summary.json", summary)
    return summary
