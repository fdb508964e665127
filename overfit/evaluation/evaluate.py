"""Runs codecs over a data set: one result a line, as it finishes; done ones are skipped.

Every rate is the size of a file that was written, read and decoded again.
"""

import difflib
import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from overfit import __version__, method
from overfit.codecs import codec as codecs
from overfit.errors import UserError, sentence
from overfit.evaluation import results
from overfit.evaluation.datasets import Instance
from overfit.evaluation.measure import quality
from overfit.io.atomic import atomic_write
from overfit.io.clips import Clip
from overfit.jobs.store import open_store


class Plan(NamedTuple):
    """What is run on every signal; the names are those of the command line."""

    methods: tuple[str, ...]  # presets of overfit's methods, and classical codecs
    lmbdas: tuple[float, ...] = (1e-3,)  # for the former
    ladders: dict[str, tuple[float, ...]] = {}  # for the latter; default: the codec's own
    steps: int = 1000
    seed: int = 0
    set: dict[str, Any] = {}
    crop: int | None = None  # px; the central part of each picture
    frames: int | None = None  # of each clip


class Job(NamedTuple):
    """One signal, one codec, one setting."""

    instance: Instance
    plan: Plan
    label: str  # name of the curve
    codec: str  # "overfit" or the name of a classical codec
    preset: str | None  # of overfit
    setting: dict[str, float]  # {knob: value}
    extension: str

    @property
    def name(self) -> str:
        """Of the signal: a crop is another one."""
        crop = self.plan.crop
        return self.instance.name + (f"@{crop}" if crop is not None else "")

    @property
    def file(self) -> str:
        """Of the coded signal, relative to the folder of results."""
        ((knob, value),) = self.setting.items()
        return f"files/{results.slug(self.label)}/{knob}={value:g}/{self.name}{self.extension}"

    def key(self) -> str:
        """Of what the result depends on; an input counts by its path, size and time of change."""
        plan, codec = self.plan, (self.codec, self.setting)
        if self.preset:
            codec += (self.preset, plan.steps, plan.seed, sorted(plan.set.items()), __version__)
        text = json.dumps((_identity(self.instance.path), plan.crop, plan.frames, codec))
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


class Failure(NamedTuple):
    """Why a job gave no result."""

    name: str
    label: str
    setting: dict[str, float]
    error: str  # one sentence

    def __str__(self) -> str:
        where = " ".join(f"{knob}={value:g}" for knob, value in self.setting.items())
        return f"{', '.join(filter(None, (self.name, self.label, where)))}: {self.error}"


def _identity(path: str) -> list:
    if not os.path.exists(path):  # a sample, or an input that will fail
        return [path]
    paths = sorted(Path(path).iterdir()) if os.path.isdir(path) else [Path(path)]
    return [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]


def presets() -> dict[str, str]:
    """preset -> method, over all methods."""
    return {preset: name for name in method.METHODS for preset in method.load(name).presets}


def jobs(instances: Sequence[Instance], plan: Plan) -> list[Job]:
    """All jobs of a plan, codec by codec in the order of the plan.

    Raises:
      UserError: an unknown method.
    """
    known = presets()
    curves = []
    for name in plan.methods:
        if name in known:
            changes = "".join(f", {key}={value}" for key, value in plan.set.items())
            label = f"overfit {name}, {plan.steps} steps{changes}"
            curves.append((label, "overfit", name, ".ovf", "lmbda", plan.lmbdas))
        else:
            codec = _anchor(name, known)
            ladder = plan.ladders.get(name, codec.ladder)
            curves.append((name, name, None, codec.extension, codec.knob, ladder))
    return [
        Job(instance, plan, label, codec, preset, {knob: float(value)}, extension)
        for label, codec, preset, extension, knob, values in curves
        for instance in instances
        for value in values
    ]


def _anchor(name: str, known: Mapping[str, str]) -> codecs.Codec:
    if name not in codecs.names():
        everything = [*known, *codecs.names()]
        near = difflib.get_close_matches(name, everything) or everything
        raise UserError(f"there is no preset or codec '{name}'; choose one of {', '.join(near)}")
    return codecs.load(name)


# -- One job ---------------------------------------------------------------------------------------


def options(job: Job, preset: str):
    """How a preset of overfit is fitted for a job: `fitting.groups.Options`."""
    from overfit.fitting.groups import Options

    plan, lmbda = job.plan, job.setting["lmbda"]
    return Options(presets()[preset], preset, lmbda, plan.steps, plan.seed, plan.set)


def _encode(job: Job, signal, folder: Path, on_step: Callable | None) -> tuple[bytes, dict]:
    """The coded signal, and what is known of its making."""
    if job.preset is None:
        codec, (value,) = codecs.load(job.codec), job.setting.values()
        start = time.perf_counter()
        data = codec.encode(signal, value)
        return data, {"seconds_encode": time.perf_counter() - start}
    from overfit.fitting.encode import encode
    from overfit.fitting.groups import Job as Fit

    if isinstance(signal, Clip):
        raise UserError(f"{job.preset} cannot encode clips yet")
    chosen = options(job, job.preset)._replace(checkpoint=str(folder / "checkpoints"))
    start = time.perf_counter()
    (encoded,) = encode([Fit(signal, chosen)], on_step)
    seconds = time.perf_counter() - start - encoded.about["seconds_compile"]
    known = {key: encoded.about[key] for key in KEPT}
    return encoded.data, known | {"seconds_encode": seconds}


# Of what `fitting.groups.Encoded` says about a file, beside what is measured here.
KEPT = (
    "bits", "macs_per_pixel", "loss", "steps", "seed", "preset", "seconds_compile", "device",
    "versions",
)  # fmt: skip


def run_job(job: Job, signal, folder: Path, on_step: Callable | None = None) -> dict[str, Any]:
    """Writes the coded signal below `folder`, decodes it from there and returns the record.

    Raises:
      UserError: the codec cannot take the signal or the setting, or is not installed.
    """
    return store_file(job, signal, folder, *_encode(job, signal, folder, on_step))


def store_file(job: Job, signal, folder: Path, data: bytes, known: dict) -> dict[str, Any]:
    """Writes a coded signal below `folder`, decodes it from there and returns the record.

    known: what the record says of the making of the file.
    """
    path = folder / job.file
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(data)
    data = path.read_bytes()
    start = time.perf_counter()
    decoded = results.decode_file(data, job.codec, signal.shape)
    seconds_decode = time.perf_counter() - start
    frames, height, width = _size(signal)
    pixels = frames * height * width
    return {
        "key": job.key(),
        "dataset": job.instance.dataset,
        "name": job.name,
        "input": job.instance.path,
        "crop": job.plan.crop,
        "kind": job.instance.kind,
        "label": job.label,
        "codec": job.codec,
        "setting": job.setting,
        "width": width,
        "height": height,
        "frames": frames,
        "channels": 3 if isinstance(signal, Clip) else signal.shape[2],
        "pixels": pixels,
        "bytes": len(data),
        "bpp": 8 * len(data) / pixels,
        **quality(signal, decoded),
        "macs_per_pixel": None,
        "bits": None,
        "seconds_decode": seconds_decode,
        "file": job.file,
        **known,
    }


def _size(signal) -> tuple[int, int, int]:
    """(frames, height, width) of an image or a clip."""
    if isinstance(signal, Clip):
        return signal.frames, signal.height, signal.width
    return 1, signal.shape[0], signal.shape[1]


# -- All jobs --------------------------------------------------------------------------------------


class Event(NamedTuple):
    """A job has begun, taken steps or ended."""

    job: Job
    number: int  # of this job, from 1
    count: int  # of all jobs
    step: Any = None  # `fitting.run.Progress` of a running fit
    record: dict[str, Any] | None = None  # of a finished job
    failure: Failure | None = None


def evaluate(
    instances: Sequence[Instance],
    plan: Plan,
    folder: str | os.PathLike[str],
    progress: Callable[[Event], None] = lambda event: None,
) -> list[Failure]:
    """Runs what the folder does not have yet and appends to its results.jsonl; the failures.

    Raises:
      UserError: an unknown method, or a folder that cannot be used.
    """
    todo = jobs(instances, plan)
    check_options(todo)
    load = functools.lru_cache(maxsize=1)(results.load_signal)  # jobs on a signal follow each other
    failures = []
    with open_store(folder) as store:
        for number, job in enumerate(todo, 1):
            key = job.key()
            if key in store.done and (store.folder / store.done[key]["file"]).exists():
                continue
            event = Event(job, number, len(todo))
            progress(event)
            try:
                on_step = functools.partial(_on_step, progress, event)
                signal = load(job.instance, plan.crop, plan.frames)
                record = run_job(job, signal, store.folder, on_step)
            except Exception as error:  # a damaged input must not cost the others their results
                failure = Failure(job.name, job.label, job.setting, sentence(error))
                failures.append(failure)
                progress(event._replace(failure=failure))
            else:
                store.append(record)
                progress(event._replace(record=record))
    return failures


def check_options(todo: Sequence[Job]) -> None:
    """Raises UserError for settings that no fit could have, before any has begun."""
    for job in todo:
        if job.preset:
            from overfit.fitting.groups import configuration

            configuration(options(job, job.preset))


def _on_step(progress: Callable[[Event], None], event: Event, step) -> None:
    progress(event._replace(step=step))
