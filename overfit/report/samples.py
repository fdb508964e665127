"""What a page shows of the pictures themselves: crops side by side, and where the bits go.

A page has a budget of bytes; what does not fit is named. In each round the codecs are shown at
similar rates, the middle of the curve first, so that few samples still make fair comparisons.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from overfit import decoding
from overfit.errors import UserError
from overfit.jobs.records import decoded, original
from overfit.report import pictures
from overfit.report.found import setting_text

CROP = 256  # px, the central part of a picture that the viewer shows
OVERVIEW = 240  # px, the longer side of the whole picture beside it
MAP = 768  # px, the longest side of a map of latents or bits
CROPS_BUDGET, MAPS_BUDGET = 5_000_000, 1_500_000  # bytes of data URIs in one page


class Samples(NamedTuple):
    """JSON for the page, the records that did not fit, and what could not be shown."""

    shown: list[dict[str, Any]]
    left_out: list[dict]
    problems: list[str]
    budget: int  # bytes


def picture_of(record: dict) -> tuple:
    """What tells the pictures of a folder apart."""
    return record["dataset"], record["name"], record["width"], record["height"]


def _middle_out(records: list[dict]) -> list[dict]:
    """By rate, from the median to both ends."""
    ordered = sorted(records, key=lambda record: record["bpp"])
    middle = (len(ordered) - 1) / 2
    return [ordered[i] for i in sorted(range(len(ordered)), key=lambda i: abs(i - middle))]


def by_priority(records: Iterable[dict]) -> list[dict]:
    """All records, those first that are worth most beside each other."""
    groups: dict[tuple, dict[str, list[dict]]] = {}
    for record in records:
        groups.setdefault(picture_of(record), {}).setdefault(record["label"], []).append(record)
    ranked = []
    for place, labels in enumerate(groups.values()):
        rates = [r["bpp"] for r in _middle_out(max(labels.values(), key=len))]
        for number, rate in enumerate(rates):
            for left in labels.values():
                if left:
                    nearest = min(left, key=lambda r: abs(np.log(r["bpp"] / rate)))
                    left.remove(nearest)
                    ranked.append((number, place, nearest))
    return [record for *_, record in sorted(ranked, key=lambda item: item[:2])]


def _central(image: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """The crop, and [x, y, width, height] of it."""
    height, width = (min(side, CROP) for side in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width], [left, top, width, height]


def _figures(record: dict) -> str:
    """Rate and quality of a record, in a caption."""
    if record["mse"] == 0:
        quality = ", lossless"
    else:
        quality = "" if record["psnr"] is None else f", {record['psnr']:.2f} dB"
    return f"({record['bpp']:.3f} bpp{quality})"


def crops(records: list[dict], folder: str | os.PathLike[str], budget: int) -> Samples:
    """Crops of originals and decoded pictures, losslessly, within `budget` bytes."""
    shown: dict[tuple, dict] = {}
    left_out, problems, spent = [], [], 0
    labels = list(dict.fromkeys(record["label"] for record in records))
    for record in by_priority(records):
        if spent > budget:
            left_out.append(record)
            continue
        try:
            image = decoded(record, folder)
        except (UserError, ValueError) as error:  # the latter: of another size than it should be
            problems.append(f"{_name(record)}: {error}")
            continue
        crop, box = _central(image)
        key = picture_of(record)
        if key not in shown:
            shown[key], problem = _picture(record, box)
            problems += problem
            spent += len(str(shown[key]))
        uri = pictures.lossless(crop)
        spent += len(uri)
        shown[key]["choices"].append(
            {
                "key": record["key"],
                "place": [labels.index(record["label"]), record["bpp"]],
                "text": f"{record['label']}, {setting_text(record['setting'])}",
                "figures": _figures(record),
                "uri": uri,
            }
        )
    for about in shown.values():
        choices = about["choices"]
        first = choices[min(1, len(choices) - 1)]
        choices.sort(key=lambda choice: choice["place"])
        about["start"] = choices.index(first)
    return Samples(list(shown.values()), left_out, problems, budget)


def _picture(record: dict, box: list[int]) -> tuple[dict, list[str]]:
    about: dict[str, Any] = {
        "name": record["name"],
        "size": [record["width"], record["height"]],
        "box": box,
        "overview": None,
        "choices": [],
    }
    try:
        image = np.asarray(original(record))
    except UserError as error:
        return about, [f"{record['name']}: no original to compare with: {error}"]
    if image.shape[:2] != (record["height"], record["width"]):
        return about, [f"{record['name']}: '{record['input']}' has another size now"]
    about["overview"] = pictures.overview(image, OVERVIEW)
    uri = pictures.lossless(_central(image)[0])
    about["choices"].append(
        {"key": "", "place": [-1, 0], "text": "original", "figures": "", "uri": uri}
    )
    return about, []


def _name(record: dict) -> str:
    return f"{record['name']}, {record['label']}, {setting_text(record['setting'])}"


def maps(records: list[dict], folder: str | os.PathLike[str], budget: int) -> Samples:
    """Latents and bits of files whose method can tell them, within `budget` bytes."""
    shown: list[dict] = []
    left_out, problems, spent = [], [], 0
    for record in by_priority(record for record in records if record["codec"] == "overfit"):
        if spent > budget:
            left_out.append(record)
            continue
        try:
            about = _inspected(record, (Path(folder) / record["file"]).read_bytes())
        except (UserError, OSError) as error:
            problems.append(f"{_name(record)}: {error}")
            continue
        if about is not None:
            shown.append(about)
            spent += len(str(about))
    return Samples(shown, left_out, problems, budget)


def _inspected(record: dict, data: bytes) -> dict | None:
    codec, sections = decoding.open_sections(data)
    base = decoding.base_of(data)
    if codec.inspect is None:
        return None
    planes, bit_map = codec.inspect(codec.read(sections, base), base)
    total = sum(float(plane.bits.sum()) for plane in planes)
    return {
        "text": _name(record),
        "bits": decoding.info(data)["bits"],
        "total": 8 * len(data),
        "map": _heat(bit_map),
        "planes": [
            _signed(plane.values)
            | {
                "name": plane.name,
                "share": plane.bits.sum() / total if total else 0.0,
                "bpp": plane.bits.sum() / bit_map.size,
                "zeros": (plane.values == 0).mean(),
            }
            for plane in planes
        ],
    }


def _heat(plane: np.ndarray) -> dict:
    small, block = pictures.reduced(plane, MAP)
    top = float(np.quantile(small, 0.995))  # a few outliers would leave all else dark
    return {"uri": pictures.colored(small, 0, top, "magma"), "top": top, "block": block}


def _signed(plane: np.ndarray) -> dict:
    small, block = pictures.reduced(plane, MAP)
    reach = float(np.quantile(np.abs(small), 0.998)) or float(np.abs(small).max())
    return {"uri": pictures.colored(small, -reach, reach, "berlin"), "reach": reach, "block": block}
