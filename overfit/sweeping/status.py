"""What a folder of a sweep has so far, and what is best in it; of a running sweep as well."""

import os
from pathlib import Path
from typing import Any

from overfit.jobs.store import read_results
from overfit.sweeping.sweep import RUNGS


def status(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """A line per image and lambda: how many settings are where, and the leading one.

    `leader` is the setting of the least cost among those with a file, or among those furthest on
    where none has one yet: costs at different steps do not compare.

    Raises:
      UserError: the folder has no sweep.
    """
    contests: dict[tuple, list[dict]] = {}
    for record in read_results(Path(folder) / RUNGS)[0]:
        contests.setdefault((record["name"], record["lmbda"]), []).append(record)
    lines = []
    for (name, lmbda), records in contests.items():
        done = [record for record in records if record["until"] is None]
        furthest = done or [r for r in records if r["step"] == max(r["step"] for r in records)]
        known = [record for record in furthest if record["cost"] is not None]
        best = min(known, key=lambda record: record["cost"], default=None)
        lines.append(
            {
                "name": name,
                "lmbda": lmbda,
                "settings": len({str(record["sweep_setting"]) for record in records}),
                "files": len([record for record in done if record["error"] is None]),
                "step": max(record["step"] for record in records),
                "leader": best and best["sweep_setting"],
                "cost": best and best["cost"],
            }
        )
    return lines
