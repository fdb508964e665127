"""What a folder of `overfit evaluate` holds: the usable records, and all that is missing there."""

import datetime
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from overfit.errors import UserError
from overfit.jobs.store import RESULTS, read_results

# What the page needs of a record, and the type of each; see `overfit/jobs/records.py`.
_TEXTS = ("key", "dataset", "name", "input", "label", "codec", "kind", "file")
_COUNTS = ("width", "height", "frames", "channels", "pixels", "bytes")
_FIGURES = ("psnr", "ms_ssim", "mse", "seconds_encode", "seconds_decode", "macs_per_pixel")


class Found(NamedTuple):
    """The content of one folder of results."""

    records: list[dict[str, Any]]
    failures: list[dict[str, Any]]  # name, label, setting, error
    gaps: list[str]  # pictures that a curve lacks, one sentence per curve and setting
    problems: list[str]  # what is there and cannot be read, one sentence each
    date: str  # of the last result, ISO 8601


def find(folder: str | os.PathLike[str]) -> Found:
    """Reads the folder.

    Raises:
      UserError: it holds no usable result.
    """
    records, problems = read_results(folder)
    usable = []
    for record in records:
        reason = _damage(record)
        if reason is None:
            usable.append(record)
        else:
            problems.append(f"result '{record['key']}' is left out: {reason}")
    if not usable:
        raise UserError(
            f"'{folder}' has no usable result; run: overfit evaluate DATASET -o '{folder}'"
        )
    failures, problem = _failures(Path(folder) / "summary.json")
    changed = os.stat(Path(folder) / RESULTS).st_mtime
    date = datetime.datetime.fromtimestamp(changed, datetime.UTC).date().isoformat()
    return Found(usable, failures, _gaps(usable), problems + problem, date)


def setting_text(setting: dict[str, float]) -> str:
    """What a point of a curve is called: lmbda 0.001."""
    return ", ".join(f"{knob} {value:g}" for knob, value in setting.items())


def _damage(record: dict[str, Any]) -> str | None:
    """What is wrong with a record, or None."""
    for key in _TEXTS:
        if not isinstance(record.get(key), str) or not record[key].isprintable():
            return f"its '{key}' is no printable text"
    for key in _COUNTS:
        if not isinstance(record.get(key), int) or not 0 < record[key] < 1 << 53:
            return f"its '{key}' is no count above 0"
    if not _is_number(record.get("bpp")) or record["bpp"] <= 0:
        return "its 'bpp' is no number above 0"
    if not isinstance(record.get("crop"), int | None):
        return "its 'crop' is neither a number of pixels nor null"
    for key in _FIGURES:
        if key not in record or record[key] is not None and not _is_number(record[key]):
            return f"its '{key}' is neither a number nor null"
    setting = record.get("setting")
    if not isinstance(setting, dict) or len(setting) != 1 or not _is_number(*setting.values()):
        return "its 'setting' is not one name with a number"
    return None


def _is_number(value: Any) -> bool:
    """Whether it is a finite number; JSON as Python reads it has others, and endless integers."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _failures(path: Path) -> tuple[list[dict], list[str]]:
    """The failures in a summary, and what is wrong with it; an unfinished run has none yet."""
    if not path.exists():
        return [], []
    try:
        failures = json.loads(path.read_bytes())["failures"]
        return [
            {
                "name": str(failure["name"]),
                "label": str(failure["label"]),
                "setting": setting_text(failure["setting"]),
                "error": str(failure["error"]),
            }
            for failure in failures
        ], []
    except (OSError, ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        return [], [f"'{path}' cannot be read: {type(error).__name__}: {error}"]


def _gaps(records: list[dict]) -> list[str]:
    everything = dict.fromkeys(record["name"] for record in records)
    groups: dict[tuple[str, str], set[str]] = {}
    for record in records:
        point = record["label"], setting_text(record["setting"])
        groups.setdefault(point, set()).add(record["name"])
    return [
        f"{label}, {setting}: no result for {', '.join(n for n in everything if n not in names)}"
        for (label, setting), names in groups.items()
        if len(names) < len(everything)
    ]
