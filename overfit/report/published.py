"""Published curves beside measured ones: which of them are of the same pictures.

A file of averages (see `curves.py`) is of a whole public set. A file of results per picture is
{"name", "source", "macs_per_pixel", "images": {picture: {"bpp": [...], "psnr-rgb": [...]}}}, and is
averaged over the pictures that were measured. Curves of other pictures are for the eye only: a
BD-rate between averages over different pictures says nothing about the codecs.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from overfit.errors import UserError
from overfit.io.datasets import LAYOUTS
from overfit.report.curves import Curve, read_curve
from overfit.report.summary import common_names


class Published(NamedTuple):
    """What was found in files."""

    same: list[Curve]  # over the pictures that were measured
    others: list[Curve]  # over others
    problems: list[str]  # one sentence per file that cannot be used


def is_whole(records: Sequence[dict]) -> bool:
    """Whether averages over these records are over a whole public set, uncropped."""
    datasets = {record["dataset"] for record in records}
    if len(datasets) != 1 or any(record["crop"] is not None for record in records):
        return False
    layout = LAYOUTS.get(datasets.pop())
    return layout is not None and len(common_names(records)) == layout.count


def read_published(paths: Iterable[str | os.PathLike[str]], records: Sequence[dict]) -> Published:
    """The curves in files and in the folders named, beside measured records (maybe none)."""
    found = Published([], [], [])
    whole = not records or is_whole(records)
    averages = found.same if whole else found.others
    names = [] if whole else common_names(records)  # whole sets have averages of their own
    for path in map(Path, paths):
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            found.problems.append(f"'{path}' has no published curve (*.json)")
        for file in files:
            try:
                images = _images(file)
                if images is None:
                    averages.append(read_curve(file))
                elif names and all(name in images["images"] for name in names):
                    found.same.append(_average(images, names, file))
            except UserError as error:
                found.problems.append(str(error))
    return found


def _images(path: Path) -> dict[str, Any] | None:
    """The document of a file of results per picture; None for any other file."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return None  # the reader of curves says what is wrong
    per_picture = isinstance(document, dict) and isinstance(document.get("images"), dict)
    return document if per_picture else None


def _average(document: dict[str, Any], names: Sequence[str], path: Path) -> Curve:
    """Means of bpp and PSNR over pictures, point by point."""
    try:
        bpp, psnr = (
            np.mean([document["images"][name][key] for name in names], axis=0, dtype=float)
            for key in ("bpp", "psnr-rgb")
        )
        if bpp.ndim != 1 or bpp.shape != psnr.shape:
            raise ValueError("lists of different lengths")
        return Curve(
            str(document["name"]),
            tuple(map(float, bpp)),
            tuple(map(float, psnr)),
            (None,) * len(bpp),
            description="means over the same pictures",
            source=str(document.get("source", "")),
            macs_per_pixel=document.get("macs_per_pixel"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"'{path}' has no lists of bpp and psnr-rgb of one length for every picture: {error}"
        ) from error
