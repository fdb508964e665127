"""What a folder of a sweep has so far, and what is best in it; of a running sweep as well."""

import os
from pathlib import Path
from typing import Any

from overfit.errors import UserError
from overfit.jobs.store import RESULTS, read_results
from overfit.sweeping.course import RUNGS
from overfit.sweeping.search import SEARCH


def status(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """A line per image and lambda, for a search per lambda: how many settings are where, and the
    leading one.

    `leader` is the setting of the least cost among those with a file, or among those furthest on
    where none has one yet: costs at different steps do not compare. A search has the mean of the
    images' costs.

    Raises:
      UserError: the folder has no sweep.
    """
    images = sorted(path.parent for path in (Path(folder) / RUNGS).glob(f"*/{RESULTS}"))
    found = [read_results(image)[0] for image in images]
    if (Path(folder) / SEARCH / RESULTS).exists():
        found.append(_averaged(read_results(Path(folder) / SEARCH)[0]))
    if not found:
        raise UserError(f"'{folder}' has no results of a sweep")
    lines = []
    for records in found:
        contests: dict[tuple, list[dict]] = {}
        for record in records:
            contests.setdefault((record["name"], record["lmbda"]), []).append(record)
        lines += [_line(name, lmbda, those) for (name, lmbda), those in contests.items()]
    return lines


def _line(name: str, lmbda: float, records: list[dict]) -> dict[str, Any]:
    done = [record for record in records if record["until"] is None]
    furthest = done or [r for r in records if r["step"] == max(r["step"] for r in records)]
    known = [record for record in furthest if record["cost"] is not None]
    best = min(known, key=lambda record: record["cost"], default=None)
    return {
        "name": name,
        "lmbda": lmbda,
        "settings": len({str(record["sweep_setting"]) for record in records}),
        "files": len([record for record in done if record["error"] is None]),
        "step": max(record["step"] for record in records),
        "leader": best and best["sweep_setting"],
        "cost": best and best["cost"],
    }


def _averaged(records: list[dict]) -> list[dict]:
    """Of every setting and rung that all images have, one record for all of them."""
    images = len({record["name"] for record in records})
    rungs: dict[tuple, list[dict]] = {}
    for record in records:
        key = record["lmbda"], str(record["sweep_setting"]), record["until"]
        rungs.setdefault(key, []).append(record)
    averaged = []
    for alike in rungs.values():
        costs = [record["cost"] for record in alike]
        if len(alike) == images:
            cost = None if None in costs else sum(costs) / images
            errors = [record["error"] for record in alike if record["error"] is not None]
            name = f"mean of {images}"
            averaged.append(
                alike[0] | {"name": name, "cost": cost, "error": errors[0] if errors else None}
            )
    return averaged
