"""Settings chosen per patch of a clip (C3, 3.3): patches as jobs, and their files as one.

The candidates of a patch are clips of their own, each with a file that decodes. What is chosen are
the sections in them, which say themselves what settings they have: the file of the whole clip is
the best patches behind its own head, and nothing else in it tells of the choice.
"""

import os
from collections.abc import Sequence
from typing import Any

from overfit.fitting.clips import joined, patch_size, size_of
from overfit.fitting.groups import Options
from overfit.io.clip import Clip
from overfit.io.patches import Patch, cut, patches
from overfit.jobs.job import Job
from overfit.jobs.measure import quality
from overfit.jobs.records import decode_file
from overfit.sweeping.rungs import Field, keep_best, taken
from overfit.sweeping.space import OBJECTIVES


def patch_jobs(job: Job, clip: Clip) -> list[tuple[Job, Clip]]:
    """(job, signal) of every patch, in the order of the file."""
    boxes = patches(size_of(clip), patch_size(Options(**job.options)))
    return [(_patch_job(job, patch), cut(clip, patch)) for patch in boxes]


def _patch_job(job: Job, patch: Patch) -> Job:
    stem, extension = os.path.splitext(job.file)
    return job._replace(
        patch=patch,
        file=f"{stem}{patch.label}{extension}",
        options=job.options | {"patch": patch.size},
    )


def result(
    field: Field, name: str, clip: Clip, best: list[str], runs: Sequence[Sequence[dict]]
) -> dict[str, Any]:
    """Puts the file of a clip into best/; a line of the summary: what it is, what finding it took.

    best: the winners, one per patch in the order of the file. runs: the records of the rungs of
    every candidate of all patches. Figures are those of the whole file, decoded again.
    """
    ends = [field.passed[key][-1] for key in best]
    options = field.candidates[best[0]].fit.options
    size = patch_size(options._replace(patch=field.plan.patch))
    files = [(field.folder / end["file"]["file"]).read_bytes() for end in ends]
    data, about = joined(clip, size, files)
    figures = quality(clip, decode_file(data, "overfit", clip.shape))
    return {
        "name": name,
        "lmbda": options.lmbda,
        "patches": [
            {
                "start": patch.start,
                "size": patch.size,
                "sweep_setting": end["sweep_setting"],
                "cost": end["cost"],
            }
            for patch, end in zip(patches(size_of(clip), size), ends, strict=True)
        ],
        "cost": OBJECTIVES[field.plan.sweep.objective](
            {"mse": figures["mse"], "bpp": about["bpp"], "setting": {"lmbda": options.lmbda}}
        ),
        "bytes": about["bytes"],
        "bpp": about["bpp"],
        "psnr": figures["psnr"],
        "ms_ssim": figures["ms_ssim"],
        "macs_per_pixel": about["macs_per_pixel"],
        "file": keep_best(field, name, options.lmbda, data),
        **taken(runs),
    }
