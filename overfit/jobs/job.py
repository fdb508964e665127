"""A job: one signal, one codec, one setting; everything that its result depends on.

Back ends know less of it. To them a job is a value that can be pickled and compared, with `name`,
`label`, `setting` and `key()`, so that a sweep may give them its own.
"""

import functools
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from overfit import __version__
from overfit.bases import library
from overfit.io.datasets import Instance
from overfit.io.patches import Patch


class Job(NamedTuple):
    """Plain values only: a job travels between processes and machines."""

    instance: Instance
    label: str  # name of the curve that the result belongs to
    codec: str  # "overfit" or the name of a classical codec
    setting: dict[str, float]  # {knob: value}: what varies along the curve
    file: str  # where the coded signal goes, relative to the folder of results
    options: dict[str, Any] = {}  # of overfit: fields of `fitting.groups.Options`
    crop: int | None = None  # px; the central part of a picture
    frames: int | None = None  # of a clip
    patch: Patch | None = None  # of a clip, where it alone is the signal

    @property
    def name(self) -> str:
        """Of the signal: a crop or a patch is another one."""
        crop = f"@{self.crop}" if self.crop is not None else ""
        return self.instance.name + crop + (self.patch.label if self.patch is not None else "")

    def key(self) -> str:
        """Hash of all that the result depends on: content of the input, codec and settings."""
        version = __version__ if self.codec == "overfit" else None
        options = sorted((key, str(value)) for key, value in self.options.items())
        signal = self.name, self.crop, self.frames
        parts = *signal, self.codec, self.setting, self.file, options, version
        digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=12)
        digest.update(_content(self.instance.path).encode())
        return digest.hexdigest()

    def __str__(self) -> str:
        return f"{self.name}, {self.label}, {setting_text(self.setting)}"


def setting_text(setting: dict[str, float]) -> str:
    """What a point of a curve is called: lmbda=0.001."""
    return " ".join(f"{knob}={value:g}" for knob, value in setting.items())


def fit_label(options: dict[str, Any]) -> str:
    """The name of the curve of fits with these options: all of them but lambda and seed."""
    changes = "".join(f", {key}={value}" for key, value in options["set"].items())
    if "patch" in options:
        changes += f", patches of {'x'.join(map(str, options['patch']))}"
    base = f", base {options['base']}" if "base" in options else ""
    return f"overfit {options['preset']}, {options['steps']} steps{changes}{base}"


def with_base(options: dict[str, Any], base: str) -> dict[str, Any]:
    """The options of a fit that starts from a base; as they were where there is none for it.

    The record of a job belongs to what a base contains, so that those of the user are named by it.

    Raises:
      UserError: there is no such base, or it is a file that is not kept here.
    """
    from overfit.fitting.groups import AUTO_BASE, NO_BASE, Options, shipped_base

    if base == AUTO_BASE:
        return options | ({"base": base} if shipped_base(Options(**options)) else {})
    if base == NO_BASE:
        return options
    found = [library.kept(name).identity[:12] for name in base.split(",")]
    return options | {"base": ",".join(found)}


class Failure(NamedTuple):
    """Why a job gave no result."""

    name: str
    label: str
    setting: dict[str, float]
    error: str  # one sentence

    def __str__(self) -> str:
        parts = self.name, self.label, setting_text(self.setting)
        return f"{', '.join(filter(None, parts))}: {self.error}"


def failure(job: Any, error: str) -> Failure:
    return Failure(job.name, job.label, job.setting, error)


def _content(path: str) -> str:
    """Hash of a file, of the files of a folder, or the path of what is not there (a sample)."""
    if not os.path.exists(path):
        return path
    paths = sorted(Path(path).iterdir()) if os.path.isdir(path) else [Path(path)]
    return "".join(_file_hash(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in paths)


@functools.lru_cache(maxsize=4096)
def _file_hash(path: str, size: int, changed: int) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()
    except OSError:
        return path  # the job itself will say why it cannot be read


class Event(NamedTuple):
    """What a worker says of a job: steps of its fit, a record, or a failure; or that it begins."""

    job: Any  # a Job, or other work with a name, a label and a setting
    step: Any = None  # `fitting.run.Progress`
    record: dict[str, Any] | None = None
    failure: Failure | None = None


Emit = Callable[[Event], None]

# What is done with a batch: (batch, folder, emit). A function of a module, so that other processes
# can import it. It tells of a record or a failure for every job, leaves the record in the folder
# before it does (`store.leave`) and does not do again what is there (`store.left`).
Work = Callable[[Sequence[Any], Path, Emit], None]

# Has every batch worked on, by whom and where it likes: (work, batches, folder, emit).
Backend = Callable[[Work, Sequence[Sequence[Any]], Path, Emit], None]


def in_batches(jobs: Sequence[Job], size: int) -> list[list[Job]]:
    """Jobs that can share a compiled program, at most `size` together and one after the other.

    Classical codecs come first, each job alone: they are fast. Then fits by architecture and shape,
    because each new one is a compilation; several together also by steps, because all wait for the
    longest, and with a base or without, because these are two programs.
    """
    classical = [[job] for job in jobs if job.codec != "overfit"]
    fits = [job for job in jobs if job.codec == "overfit"]
    alike: dict[tuple, list[Job]] = {}
    for job in fits:
        architecture = (job.options.get("preset"), sorted(map(str, job.options["set"].items())))
        key = (str(architecture), shape(job))
        if size > 1:
            key += (job.options.get("steps"), "base" in job.options)
        alike.setdefault(key, []).append(job)
    ordered = list(alike.values()) if size > 1 else [alike[key] for key in sorted(alike, key=str)]
    return classical + [
        group[start : start + size] for group in ordered for start in range(0, len(group), size)
    ]


def shape(job: Job) -> tuple[int, int]:
    """(width, height) by the header of a picture; (0, 0) where it cannot be told."""
    if job.crop is not None:
        return job.crop, job.crop
    from PIL import Image

    try:
        with Image.open(job.instance.path) as image:
            return image.size
    except Exception:  # a sample, a clip, or an input that will fail
        return 0, 0
