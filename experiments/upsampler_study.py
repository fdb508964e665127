"""What the experiments on the upsampler share: files, their measures, records, BD-rates.

All are files on disk, decoded again; RGB clips are converted to 4:2:0 first. Quality is PSNR of Y,
U, V weighted 6:1:1, and MS-SSIM of Y. A record is kept for each file in the folder of -o, so that a
run that was stopped goes on, and experiments that have files in common share them.
"""

import argparse
import functools
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np

from overfit import decoding
from overfit.codecs import base_stream
from overfit.codecs.base_stream import BaseStream
from overfit.errors import UserError
from overfit.fitting.encode import encode, forget
from overfit.fitting.frame_groups import quality
from overfit.fitting.groups import Options, Request
from overfit.io.atomic import atomic_write
from overfit.io.clip import Clip
from overfit.io.clips import as_yuv420, load_clip
from overfit.io.json_file import write_json
from overfit.methods.upsampler import preparation
from overfit.methods.upsampler.config import PRESETS
from overfit.metrics.bd_rate import bd_psnr, bd_rate, overlap
from overfit.nn.resize import doubled
from overfit.settings import parse_assignments

FULL, HALF = "x265", "half x265"
ZERO = "x265, no B-frames"
FILTERS = ("bilinear", "bicubic", "lanczos3")
QPS = (22, 27, 32, 37)
COMMANDS = "commands.txt"  # in the folder of the records: what made them
METRICS = ("psnr_yuv", "psnr_y", "ms_ssim_y")
TUNE = "base.tune"


class Variant(NamedTuple):
    """One way to fit."""

    preset: str = "klopp21"
    steps: int = 1250
    set: dict[str, Any] = {}
    base: str | None = None

    @property
    def label(self) -> str:
        words = [self.preset, f"{self.steps} steps"]
        words += [f"{key}={value}" for key, value in self.set.items()]
        return ", ".join(words + ([f"base {self.base}"] if self.base else []))


def arguments_of(doc: str, steps: int = 1250) -> argparse.ArgumentParser:
    """The options that all have."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("clips", nargs="*", help="files or folders of frames; none: only collect")
    parser.add_argument("--frames", type=int, help="the first ones")
    parser.add_argument("--qps", type=int, nargs="+", default=list(QPS))
    parser.add_argument("--steps", type=int, default=steps, help=f"of each fit; default: {steps}")
    parser.add_argument("--set", action="append", default=[], help="as for encode")
    parser.add_argument("--no-anchors", action="store_true", help="the method only")
    parser.add_argument("-o", "--output", default="runs/upsampler", help="of files and records")
    return parser


def study(arguments, variants: Sequence[Variant], anchors: Sequence[str] = (FULL, HALF)) -> Path:
    """Makes all files of all clips that are not there yet; returns the folder of the records."""
    folder = Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.clips:
        with open(folder / COMMANDS, "a") as file:
            file.write(common.command() + "\n")
    extra = parse_assignments(arguments.set)
    for path in map(Path, arguments.clips):
        clip = as_yuv420(load_clip(path, arguments.frames))
        name = f"{path.name.split('.')[0]}_{clip.frames}f"
        for qp in arguments.qps:
            if not arguments.no_anchors:
                run_anchors(name, clip, qp, folder, anchors, tune_of(arguments))
            for variant in variants:
                own = variant._replace(set=variant.set | extra)
                keep(folder, name, own.label, qp, functools.partial(fitted, clip, own, qp))
    return folder


def tune_of(arguments) -> str:
    """What x265 is tuned for."""
    return parse_assignments(arguments.set).get(TUNE, "psnr")


def plain(label: str) -> bool:
    """Whether a label is of the usual schedule over x265 tuned for PSNR."""
    return "fit." not in label and TUNE not in label


def tuned(label: str, tune: str) -> str:
    """The label of an anchor that is tuned so."""
    return label if tune == "psnr" else f"{label}, {TUNE}={tune}"


def run_anchors(
    name: str, clip: Clip, qp: int, folder: Path, anchors: Sequence[str], tune: str
) -> None:
    for label, bframes in ((FULL, True), (ZERO, False)):
        if label in anchors:
            keep(
                folder, name, tuned(label, tune), qp,
                functools.partial(coded, clip, clip, qp, None, bframes, tune),
            )  # fmt: skip
    if HALF in anchors:
        config = PRESETS["klopp21"]
        small, below = preparation.smaller(clip, config), qp + config.base.qp_offset
        for method in FILTERS:
            keep(
                folder, name, tuned(f"{HALF}, {method}", tune), qp,
                functools.partial(coded, clip, small, below, method, True, tune),
            )  # fmt: skip


def keep(folder: Path, name: str, label: str, qp: int, make: Callable[[Path], dict]) -> None:
    """Makes and measures a file, whose path `make` gets, unless its record is there."""
    path = folder / f"{name}, {label}, {qp}.json".replace(" ", "_")
    if path.exists():
        return
    record = {"clip": name, "label": label, "qp": qp, **make(path.with_suffix(".coded"))}
    write_json(path, record)
    print(name, label, qp, record["bytes"], f"{record['psnr_yuv']:.3f} dB", flush=True)


def coded(
    clip: Clip, source: Clip, qp: int, method: str | None, bframes: bool, tune: str, path: Path
) -> dict:
    """A file of x265 alone, enlarged by that filter if it is of half the resolution."""
    start = time.perf_counter()
    stream = base_stream.encode(source, qp, tune=tune, bframes=bframes)
    seconds = time.perf_counter() - start
    with atomic_write(path) as file:
        file.write(stream.data)
    data = path.read_bytes()
    start = time.perf_counter()
    decoded = base_stream.decode(BaseStream(stream.codec, stream.checksum, data), source.shape)
    if method is not None:
        decoded = enlarged(decoded, clip, method)
    seconds_decode = time.perf_counter() - start
    return measured(clip, decoded, len(data)) | {
        "seconds_encode": seconds,
        "seconds_decode": seconds_decode,
    }


def enlarged(small: Clip, clip: Clip, method: str) -> Clip:
    """At twice the resolution, cropped to the size of the clip."""
    planes = []
    for plane, original in zip(small.planes, clip.planes, strict=True):
        frames = [np.rint(doubled(frame, method)).clip(0, 255).astype(np.uint8) for frame in plane]
        height, width = original.shape[1:]
        planes.append(np.stack(frames)[:, :height, :width])
    return Clip(tuple(planes), clip.fps)


def fitted(clip: Clip, variant: Variant, qp: int, path: Path) -> dict:
    """A file of the method."""
    options = Options(
        "upsampler", variant.preset, steps=variant.steps, set=variant.set, base=variant.base,
        checkpoint=str(path.parent / "checkpoints"), qp=qp,
    )  # fmt: skip
    request, last = Request(clip, options), [0.0]

    def show(step) -> None:
        if not step.doing and time.monotonic() - last[0] > 30:
            last[0] = time.monotonic()
            print(f"  step {step.step}/{step.total}, {step.psnr:.2f} dB", flush=True)

    start = time.perf_counter()
    (result,) = encode([request], show)
    seconds = time.perf_counter() - start
    with atomic_write(path) as file:
        file.write(result.data)
    data = path.read_bytes()
    start = time.perf_counter()
    decoded = decoding.decode(data)
    seconds_decode = time.perf_counter() - start
    kept = ("bits", "params", "blocks", "base_codec", "steps_per_second", "seconds_compile")
    record = measured(clip, decoded, len(data)) | {key: result.about[key] for key in kept}
    forget(request)
    return record | {
        "steps": variant.steps,
        "seconds_encode": seconds,
        "seconds_decode": seconds_decode,
    }


def measured(clip: Clip, decoded: Clip, size: int) -> dict:
    found = {k: v for k, v in quality(clip, decoded).items() if v is not None}
    pixels = clip.frames * clip.height * clip.width
    about = {"frames": clip.frames, "width": clip.width, "height": clip.height, "bytes": size}
    return about | {"bpp": 8 * size / pixels} | found


# -- From records to BD-rates ----------------------------------------------------------------------


def curves(folder: Path) -> Iterator[tuple[str, dict[str, list[dict]]]]:
    """(clip, {label: records by QP}) of all that are in the folder."""
    found: dict[str, dict[str, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text())
        found[record["clip"]][record["label"]].append(record)
    for clip, labels in found.items():
        yield clip, {k: sorted(v, key=lambda r: r["qp"]) for k, v in labels.items()}


def compared(anchor: list[dict], test: list[dict], metric: str) -> dict:
    """BD-rate in per cent and BD-PSNR, each over what both curves cover.

    The anchor has the QPs of the other only: a curve of two points is a straight line, which lies
    beside that of four even where the points are the same.

    overlap: share of the anchor's range of quality that the BD-rate is over; little says little.
    MS-SSIM is in dB, -10 log10 (1 - x), as in the paper.
    """

    def points(records):
        values = [(r["bpp"], r.get(metric)) for r in records]
        if metric == "ms_ssim_y":
            values = [(b, v and -10 * np.log10(1 - v)) for b, v in values]
        return [(b, float(v)) for b, v in values if v is not None]

    qps = {record["qp"] for record in test}
    a, b = points([record for record in anchor if record["qp"] in qps]), points(test)
    found: dict[str, Any] = {}
    for key, delta in (("bd_rate", bd_rate), ("bd_psnr", bd_psnr)):
        try:
            found[key] = delta(a, b)
        except UserError as error:
            found |= {key: None, f"{key}_error": str(error)}
    return found | {"overlap": overlap(a, b) if found["bd_rate"] is not None else 0.0}


def rates(labels: dict[str, list[dict]], anchors: Sequence[str]) -> dict:
    """{anchor: {label: {metric: BD-rate}}} of one clip, where there are two points or more."""
    return {
        anchor: {
            label: {metric: compared(labels[anchor], records, metric) for metric in METRICS}
            for label, records in labels.items()
            if label != anchor and len(records) > 1
        }
        for anchor in anchors
        if anchor in labels
    }


def collect(
    name: str,
    folder: Path,
    anchors: Sequence[str],
    wanted: Callable[[str], bool] = lambda _: True,
    metric: str = "psnr_yuv",
) -> None:
    """Writes experiments/results/NAME.json: points and BD-rates of the labels that are wanted.

    metric: whose BD-rates are printed.
    """
    clips = []
    for clip, labels in curves(folder):
        labels = {k: v for k, v in labels.items() if k in anchors or wanted(k)}
        found = rates(labels, anchors)
        clips.append({"clip": clip, "bd_rates": found, "points": labels})
        for anchor, own in found.items():
            for label, metrics in own.items():
                shown = metrics[metric]
                rate, gain = shown["bd_rate"], shown["bd_psnr"]
                print(f"{clip}: {label}, against {anchor}:", end=" ")
                print("no BD-rate" if rate is None else f"{rate:+.1f} %", end=", ")
                print("no BD-PSNR" if gain is None else f"{gain:+.2f} dB")
    made = folder / COMMANDS
    commands = sorted(set(made.read_text().splitlines())) if made.exists() else []
    common.save(name, clips, commands=commands)
