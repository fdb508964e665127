"""What a worker does with a batch of jobs: encode, write, decode again, measure, record."""

import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from overfit.codecs import codec as codecs
from overfit.errors import sentence
from overfit.io.atomic import atomic_write
from overfit.io.clip import Clip
from overfit.jobs.helpers import call, wake
from overfit.jobs.job import Emit, Event, Job, failure
from overfit.jobs.measure import quality
from overfit.jobs.records import decode_file, load_signal
from overfit.jobs.store import leave, left


def work(batch: Sequence[Job], folder: Path, emit: Emit) -> None:
    """Does a batch, whose fits share a program where their shapes agree.

    emit gets what happens, in the end a record or a failure for every job. One job's fault costs
    the others nothing. What an earlier worker has left in the folder is not done again.
    """
    todo = []
    for job in batch:
        record = left(job.key(), folder)
        if record is None:
            todo.append(job)
        else:
            emit(Event(job, record=record))
    _do(todo, folder, emit)


def _do(batch: Sequence[Job], folder: Path, emit: Emit) -> None:
    wake()
    signals = {}
    for i, job in enumerate(batch):
        emit(Event(job))
        try:
            signals[i] = load_signal(job.instance, job.crop, job.frames)
        except Exception as error:
            emit(Event(job, failure=failure(job, sentence(error))))
    made = _made_together([batch[i] for i in signals], list(signals.values()), folder, emit)
    for (i, signal), outcome in zip(signals.items(), made, strict=True):
        tell = functools.partial(_tell, batch[i], signal, folder, emit)
        if isinstance(outcome, Exception):
            tell(outcome)
        else:
            call(_recorded, (batch[i], signal, outcome, folder), tell)


def _recorded(job: Job, signal, outcome, folder: Path) -> dict[str, Any]:
    """The record of a job, left in the folder: what `_made_together` has is written and decoded."""
    data, known = _coded(outcome) if isinstance(outcome, _Ended) else outcome
    record = store_file(job, signal, data, known, folder)
    leave(record, folder)
    return record


def _tell(job: Job, signal, folder: Path, emit: Emit, outcome: dict[str, Any] | Exception) -> None:
    try:
        if isinstance(outcome, Exception):
            raise outcome
        if job.codec == "overfit":
            _forget(job, signal, folder)
        emit(Event(job, record=outcome))
    except Exception as error:
        emit(Event(job, failure=failure(job, sentence(error))))


def _made_together(jobs: list[Job], signals: list, folder: Path, emit) -> list:
    """For every job (bytes, what is known of their making), an `_Ended`, or the exception that
    prevented it."""
    if not jobs:
        return []
    try:
        if jobs[0].codec == "overfit":
            return _fitted(jobs, signals, folder, emit)
        return [_encoded(job, signal) for job, signal in zip(jobs, signals, strict=True)]
    except Exception as error:
        if len(jobs) == 1:
            return [error]
        pairs = zip(jobs, signals, strict=True)
        return [_made_together([job], [signal], folder, emit)[0] for job, signal in pairs]


def _encoded(job: Job, signal) -> tuple[bytes, dict[str, Any]]:
    (value,) = job.setting.values()
    start = time.perf_counter()
    data = codecs.load(job.codec).encode(signal, value)
    return data, {"seconds_encode": time.perf_counter() - start}


# Of what `fitting.files.Encoded` says about a file, beside what is measured here.
KEPT = (
    "bits", "base", "macs_per_pixel", "loss", "steps", "seed", "preset", "lmbda", "seconds_compile",
    "device", "versions",
)  # fmt: skip
OF_ADAPTED = ("adapted", "params")  # likewise, of codecs that are adapted to a signal


def _request(job: Job, signal, folder: Path):
    from overfit.fitting.groups import Options, Request

    return Request(signal, Options(**job.options, checkpoint=str(folder / "checkpoints")))


def _forget(job: Job, signal, folder: Path) -> None:
    """Removes the checkpoints of a fit whose record is safe."""
    from overfit.fitting.encode import forget

    forget(_request(job, signal, folder))


class _Ended(NamedTuple):
    """A fit without its file."""

    result: Any  # of `fitting.encode.fit`
    seconds: float  # of a batch: the mean
    together: int  # fits in the batch
    device: str  # that they ran on


def _fitted(jobs: list[Job], signals: list, folder: Path, emit) -> list[_Ended]:
    from overfit.fitting.encode import fit
    from overfit.fitting.origin import device

    requests = [_request(job, signal, folder) for job, signal in zip(jobs, signals, strict=True)]
    start = time.perf_counter()
    results = fit(requests, lambda step: emit(Event(jobs[0], step=step)))
    seconds = (time.perf_counter() - start) / len(jobs)
    return [_Ended(result, seconds, len(jobs), device()) for result in results]


def _coded(ended: _Ended) -> tuple[bytes, dict[str, Any]]:
    """The file of a fit that has ended, and what is known of its making."""
    from overfit.fitting.encode import finish

    start = time.perf_counter()
    result = finish(ended.result)
    seconds = ended.seconds + time.perf_counter() - start
    known = {key: result.about[key] for key in KEPT}
    known |= {key: result.about[key] for key in OF_ADAPTED if "adapted" in result.about}
    compiling = result.about["seconds_compile"] / ended.together
    return result.data, known | {"device": ended.device, "seconds_encode": seconds - compiling}


def store_file(
    job: Job, signal, data: bytes, known: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """Writes a coded signal below `folder`, decodes it from there and returns the record.

    known: what the record says of the making of the file.
    """
    path = folder / job.file
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(data)
    data = path.read_bytes()
    start = time.perf_counter()
    decoded = decode_file(data, job.codec, signal.shape)
    seconds_decode = time.perf_counter() - start
    frames, height, width = _size(signal)
    pixels = frames * height * width
    return {
        "key": job.key(),
        "dataset": job.instance.dataset,
        "name": job.name,
        "input": job.instance.path,
        "crop": job.crop,
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
